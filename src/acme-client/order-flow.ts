import type { Authorization } from '../acme/authorization.ts'
import type { Challenge } from '../acme/challenge.ts'
import { type Identifier, isWildcard, sameIdentifiers } from '../acme/identifier.ts'
import type { Order } from '../acme/order.ts'
import { describeProblem, type ProblemCode, problemCode, type Retry } from '../acme/problem.ts'
import type { RateBucket } from '../acme/rate-limit.ts'

/** What is known about one issuance; saved after every step. */
export type OrderProgress = {
  readonly order?: Order
  /** As last read from the CA; empty until loaded. */
  readonly authorizations: readonly Authorization[]
  /**
   * Chosen once, because a CA shuffles challenges at every read, and saved before presenting: with all that is needed
   * to clean up, whatever the CA says about the authorization by then.
   */
  readonly chosen: readonly ChosenChallenge[]
  readonly presented: readonly string[]
  readonly visible: boolean
  readonly answered: readonly string[]
  /** How often the order was looked at since something of ours last changed it. */
  readonly polls: number
  readonly chainPem?: string
  readonly alternatesPem?: readonly string[]
  /** The authorizations were read again after the order failed. */
  readonly inspected: boolean
  readonly cleaned: boolean
  /** The CA forgot our account once already, and this is the new beginning after it. */
  readonly accountLost: boolean
  /** What the order took from the CA's limits, to be given back where it did not use it. */
  readonly taken?: { readonly certificates: readonly RateBucket[]; readonly failures: readonly RateBucket[] }
}

export const noProgress: OrderProgress = {
  authorizations: [],
  chosen: [],
  presented: [],
  visible: false,
  answered: [],
  polls: 0,
  inspected: false,
  cleaned: false,
  accountLost: false,
}

export type ChosenChallenge = Pick<Authorization, 'identifier' | 'wildcard'> & {
  readonly authorizationUrl: string
  readonly challenge: Challenge
}

/** The single next effect. */
export type Step =
  | { readonly do: 'createOrder' }
  | { readonly do: 'loadAuthorizations'; readonly urls: readonly string[] }
  | { readonly do: 'choose'; readonly chosen: readonly ChosenChallenge[] }
  | { readonly do: 'present'; readonly challenges: readonly ChosenChallenge[] }
  | { readonly do: 'waitUntilVisible'; readonly challenges: readonly ChosenChallenge[] }
  | { readonly do: 'answer'; readonly challenges: readonly Challenge[] }
  | { readonly do: 'poll'; readonly order: Order }
  | { readonly do: 'inspect'; readonly urls: readonly string[] }
  | { readonly do: 'finalize'; readonly order: Order }
  | { readonly do: 'download'; readonly url: string }
  | { readonly do: 'cleanUp'; readonly challenges: readonly ChosenChallenge[] }
  | { readonly do: 'succeed'; readonly chainPem: string }
  | { readonly do: 'fail'; readonly code: ProblemCode; readonly reason: string; readonly retry: Retry }

const forgottenAfterMs = 3_600_000

/**
 * Which single thing happens next? RFC 8555 §7.1.6 as one switch; no I/O, no clock of its own.
 * @param solvable challenge types that a configured solver can answer, the preferred first
 */
export function nextStep(
  progress: OrderProgress,
  asked: readonly Identifier[],
  solvable: readonly string[],
  nowMs: number,
): Step {
  const { order, chainPem } = progress
  if (chainPem !== undefined) return cleanUpBefore(progress, { do: 'succeed', chainPem })
  if (order === undefined) return refuseUnprovable(asked, solvable) ?? { do: 'createOrder' }
  if (!sameIdentifiers(order.identifiers, asked)) {
    // RFC 8555 §7.1.3: an order's identifiers never change. These are not ours.
    return cleanUpBefore(
      progress,
      failure('serverInternal', 'the CA made an order for other names than asked for', 'newOrder'),
    )
  }
  if (isForgotten(order, nowMs)) {
    return cleanUpBefore(
      progress,
      failure('serverInternal', `the order expired, and the CA still calls it ${order.status}`, 'newOrder'),
    )
  }
  switch (order.status) {
    case 'pending':
      return nextForPending(progress, order, solvable, nowMs)
    case 'ready':
      return { do: 'finalize', order }
    case 'processing':
      return { do: 'poll', order }
    case 'valid':
      return { do: 'download', url: order.certificateUrl }
    case 'invalid':
      return nextForInvalid(progress, order)
    default:
      return order satisfies never
  }
}

/** RFC 8555 §7.1.6: an order that expires becomes invalid. A CA that does not say so for an hour never will. */
function isForgotten({ status, expiresAtMs }: Order, nowMs: number): boolean {
  const isOpen = status === 'processing' || status === 'ready'
  return isOpen && expiresAtMs !== undefined && expiresAtMs + forgottenAfterMs <= nowMs
}

/** What no configured challenge can ever prove costs no order: wildcards need dns-01, addresses cannot have it (RFC 8738 §7). */
function refuseUnprovable(asked: readonly Identifier[], solvable: readonly string[]): Step | undefined {
  const needed = (identifier: Identifier) =>
    identifier.type === 'ip' ? ['http-01', 'tls-alpn-01'] : isWildcard(identifier) ? ['dns-01'] : []
  const unprovable = asked.find(
    (identifier) => needed(identifier).length > 0 && !needed(identifier).some((type) => solvable.includes(type)),
  )
  if (unprovable === undefined) return undefined
  const have = solvable.length === 0 ? 'none is configured' : `the configured verification is ${solvable.join(', ')}`
  return failure(
    'rejectedIdentifier',
    `${unprovable.value} can be validated only by ${needed(unprovable).join(' or ')}; ${have}`,
    'never',
  )
}

function nextForPending(progress: OrderProgress, order: Order, solvable: readonly string[], nowMs: number): Step {
  if (order.expiresAtMs !== undefined && order.expiresAtMs <= nowMs) {
    return cleanUpBefore(
      progress,
      failure('serverInternal', 'the order expired before the CA had validated the names', 'newOrder'),
    )
  }
  if (progress.authorizations.length < order.authorizationUrls.length) {
    return { do: 'loadAuthorizations', urls: order.authorizationUrls }
  }
  const dead = progress.authorizations.filter(({ status }) => status !== 'pending' && status !== 'valid')
  if (dead.length > 0) return cleanUpBefore(progress, validationFailure(dead))
  const open = progress.authorizations.filter(({ status }) => status === 'pending')
  const unchosen = open.filter((authorization) => chosenFor(progress, authorization) === undefined)
  if (unchosen.length > 0) return choose(progress, unchosen, solvable)
  // All are presented before any is answered: slow propagation then overlaps. RFC 8555 does not order challenges.
  const challenges = open.flatMap((authorization) => chosenFor(progress, authorization) ?? [])
  const unpresented = challenges.filter(({ challenge }) => !progress.presented.includes(challenge.url))
  if (unpresented.length > 0) return { do: 'present', challenges: unpresented }
  const unanswered = challenges.filter(
    ({ challenge }) => challenge.status === 'pending' && !progress.answered.includes(challenge.url),
  )
  if (unanswered.length === 0) return { do: 'poll', order }
  if (!progress.visible) return { do: 'waitUntilVisible', challenges: unanswered }
  return { do: 'answer', challenges: unanswered.map(({ challenge }) => challenge) }
}

function choose(progress: OrderProgress, unchosen: readonly Authorization[], solvable: readonly string[]): Step {
  const chosen = [...progress.chosen]
  for (const authorization of unchosen) {
    const type = solvable.find((candidate) =>
      authorization.challenges.some((challenge) => challenge.type === candidate),
    )
    const challenge = authorization.challenges.find((candidate) => candidate.type === type)
    if (challenge === undefined) return cleanUpBefore(progress, unsolvable(authorization, solvable))
    const { url, identifier, wildcard } = authorization
    chosen.push({ authorizationUrl: url, identifier, wildcard, challenge })
  }
  return { do: 'choose', chosen }
}

function unsolvable(authorization: Authorization, solvable: readonly string[]): Step {
  const offered = authorization.challenges.map((challenge) => challenge.type).join(', ')
  const name = `${authorization.wildcard ? '*.' : ''}${authorization.identifier.value}`
  const have =
    solvable.length === 0 ? 'no verification is configured' : `the configured verification is ${solvable.join(', ')}`
  return failure('rejectedIdentifier', `${name} cannot be validated: the CA offers ${offered}, ${have}`, 'never')
}

function nextForInvalid(progress: OrderProgress, order: Order & { status: 'invalid' }): Step {
  // The order says that it failed, its authorizations say why; those we know were read before it happened.
  if (!progress.inspected) return { do: 'inspect', urls: order.authorizationUrls }
  const dead = progress.authorizations.filter(({ status }) => status !== 'pending' && status !== 'valid')
  if (dead.length > 0) return cleanUpBefore(progress, validationFailure(dead))
  const problem = order.problem
  const reason = problem === undefined ? 'the CA gave no reason' : describeProblem(problem)
  const code = problem === undefined ? 'serverInternal' : problemCode(problem)
  return cleanUpBefore(progress, failure(code, reason, 'newOrder'))
}

function validationFailure(dead: readonly Authorization[]): Step {
  const findings = dead.map((authorization) => {
    const problem = authorization.challenges.find((challenge) => challenge.problem !== undefined)?.problem
    const name = `${authorization.wildcard ? '*.' : ''}${authorization.identifier.value}`
    const words = problem === undefined ? `the authorization is ${authorization.status}` : describeProblem(problem)
    return { code: problem === undefined ? 'incorrectResponse' : problemCode(problem), words: `${name}: ${words}` }
  })
  // A validator's `unauthorized` (RFC 8555 §8.3) is about the answer it got, not about who we are: RFC 8555 §6.7
  // has a token for exactly that, and our callers must be able to tell the two apart.
  const code = findings[0]?.code ?? 'incorrectResponse'
  const told = code === 'unauthorized' || code === 'malformed' || code === 'serverInternal' ? 'incorrectResponse' : code
  return failure(told, findings.map(({ words }) => words).join('; '), 'newOrder')
}

function failure(code: ProblemCode, reason: string, when: 'never' | 'newOrder'): Step {
  return { do: 'fail', code, reason, retry: { when } }
}

/** Nothing ends before what was presented, or might have been, is gone again. */
function cleanUpBefore(progress: OrderProgress, last: Step): Step {
  return progress.cleaned || progress.chosen.length === 0 ? last : { do: 'cleanUp', challenges: progress.chosen }
}

/** The choice for an authorization, with what the CA last said about the challenge. */
function chosenFor(progress: OrderProgress, authorization: Authorization): ChosenChallenge | undefined {
  for (const chosen of progress.chosen) {
    if (chosen.authorizationUrl !== authorization.url) continue
    const challenge = authorization.challenges.find(({ url }) => url === chosen.challenge.url)
    if (challenge !== undefined) return { ...chosen, challenge }
  }
  return undefined
}
