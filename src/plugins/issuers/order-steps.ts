import { calculateJwkThumbprint, exportJWK } from 'jose'
import type { Authorization } from '../../acme/authorization.ts'
import { keyAuthorization } from '../../acme/key-authorization.ts'
import { ProblemError } from '../../acme/problem.ts'
import { fetchAuthorization } from '../../acme-client/authorizations.ts'
import { downloadChain } from '../../acme-client/certificates.ts'
import { answerChallenge } from '../../acme-client/challenges.ts'
import { type ChosenChallenge, noProgress, type OrderProgress, type Step } from '../../acme-client/order-flow.ts'
import { fetchOrder, finalizeOrder, type OrderReply } from '../../acme-client/orders.ts'
import type { AcmeTransport } from '../../acme-client/transport.ts'
import type { ChallengeSolver, ChallengeTask, Grant, IssuerContext } from '../../plugin-api.ts'
import { ChainError, parseChain } from '../../x509/chain.ts'
import type { UsableAccount } from './acme-account.ts'
import { type OrderPlace, placeOrder } from './new-order.ts'
import { judgeFindings, lookAtAnswer } from './visibility.ts'

const firstPollMs = 30
const longestPollMs = 30_000
const answerLifetimeMs = 24 * 3_600_000

/** One grant's way through one CA. */
export type Run = {
  readonly grant: Grant
  readonly account: UsableAccount
  readonly transport: AcmeTransport
  readonly context: IssuerContext
  readonly place: OrderPlace
  /** The CA's time, as far as it is known. */
  readonly caNowMs: number
}

/** What came of a step. */
export type Performed = { readonly progress: OrderProgress; readonly notBeforeMs?: number; readonly note?: string }

/** Does what `nextStep` said. @throws ProblemError */
export async function perform(run: Run, progress: OrderProgress, step: Step, resumed: boolean): Promise<Performed> {
  const { grant, account, transport, context } = run
  switch (step.do) {
    case 'createOrder': {
      await refuseOwnKey(run)
      const { order, taken, note } = await placeOrder(run, resumed)
      return again({ ...progress, order, taken }, note)
    }
    case 'loadAuthorizations':
      return again({ ...progress, authorizations: await loadAuthorizations(run, step.urls) })
    case 'inspect': {
      // Why the order failed is worth one look; when even that fails, the order's own words must do.
      const authorizations = await loadAuthorizations(run, step.urls).catch(() => progress.authorizations)
      return again({ ...progress, authorizations, inspected: true })
    }
    case 'choose':
      return again({ ...progress, chosen: step.chosen })
    case 'present':
      await Promise.all(
        step.challenges.map((chosen) =>
          withSolver(run, progress, chosen, (solver, task) => solver.present(task, context)),
        ),
      )
      return again(
        { ...progress, presented: [...progress.presented, ...step.challenges.map(({ challenge }) => challenge.url)] },
        `presented: ${step.challenges.map(describeChosen).join(', ')}`,
      )
    case 'waitUntilVisible': {
      const findings = await Promise.all(
        step.challenges.map(async (chosen) => ({
          name: chosen.identifier.value,
          finding: await withSolver(run, progress, chosen, (solver, task) => lookAtAnswer(solver, task, context)),
        })),
      )
      return again({ ...progress, visible: true }, judgeFindings(findings))
    }
    case 'answer': {
      await Promise.all(step.challenges.map((challenge) => answerChallenge(transport, account, challenge, context)))
      const answered = [...progress.answered, ...step.challenges.map(({ url }) => url)]
      return again({ ...progress, answered, polls: 0 }, 'the CA was told', context.clock.nowMs() + firstPollMs)
    }
    case 'poll':
      return afterLooking(run, progress, await fetchOrder(transport, account, step.order.url, context))
    case 'finalize':
      return afterLooking(
        run,
        progress,
        await finalizeOrder(transport, account, step.order, grant.csr.der, context),
        true,
      )
    case 'download': {
      const chain = await downloadChain(transport, account, step.url, context)
      refuseGarbage(chain.chainPem)
      return again({ ...progress, ...chain }, `certificate downloaded from ${step.url}`)
    }
    case 'cleanUp':
      await cleanUp(run, progress, step.challenges)
      return again({ ...progress, cleaned: true }, 'the answers are removed')
    case 'succeed':
      return again(progress)
    case 'fail':
      throw new ProblemError(step.code, step.reason, { retry: step.retry })
    default:
      return step satisfies never
  }
}

export function again(progress: OrderProgress, note?: string, notBeforeMs?: number): Performed {
  return {
    progress,
    ...(note === undefined ? {} : { note }),
    ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
  }
}

function describeChosen({ identifier, wildcard, challenge }: ChosenChallenge): string {
  return `${wildcard ? '*.' : ''}${identifier.value} by ${challenge.type}`
}

/** RFC 8555 §11.1: an account's key certifies nothing else. Found here, it costs no order. */
async function refuseOwnKey({ grant, account }: Run): Promise<void> {
  const jwk = await exportJWK(grant.csr.publicKey)
  if ((await calculateJwkThumbprint(jwk)) === account.thumbprint)
    throw new ProblemError('badPublicKey', 'this is the key of the ACME account; a host needs a key of its own')
}

/** An answer that is no chain at all can be fetched again; one that is the wrong chain stays so. */
function refuseGarbage(chainPem: string): void {
  try {
    parseChain(chainPem)
  } catch (cause) {
    const reason = cause instanceof ChainError ? cause.message : 'unreadable'
    throw new ProblemError('serverInternal', `what the CA sent as the certificate is none: ${reason}`, {
      retry: { when: 'backoff' },
      cause,
    })
  }
}

/** RFC 8555 §7.5.1: never before the CA's Retry-After, and ever more rarely by ourselves. */
function afterLooking(
  run: Run,
  progress: OrderProgress,
  { order, retryAfterMs }: OrderReply,
  finalized = false,
): Performed {
  // Some CAs still say `ready` right after finalize: that is a wait, too.
  const waits = order.status === 'pending' || order.status === 'processing' || (finalized && order.status === 'ready')
  const looked = { ...progress, order, polls: waits ? progress.polls + 1 : 0 }
  const changed = order.status !== progress.order?.status || finalized
  const note = changed ? `${finalized ? 'finalized; ' : ''}the order is ${order.status}` : undefined
  if (!waits) return again(looked, note)
  const ownPaceMs = Math.min(firstPollMs * 2 ** progress.polls, longestPollMs)
  return again(looked, note, run.context.clock.nowMs() + Math.max(retryAfterMs ?? 0, ownPaceMs))
}

/** After a crash or a lost answer the CA's view counts: what it has not seen is done again, nothing else. */
export async function refresh(run: Run, progress: OrderProgress): Promise<Performed> {
  if (progress.order === undefined) return again(progress)
  const { order } = await fetchOrder(run.transport, run.account, progress.order.url, run.context)
  const fresh = { ...noProgress, accountLost: progress.accountLost, chosen: progress.chosen }
  const kept = progress.taken === undefined ? fresh : { ...fresh, taken: progress.taken }
  return again({ ...kept, order }, `looked at again: the order is ${order.status}`)
}

function loadAuthorizations(run: Run, urls: readonly string[]): Promise<Authorization[]> {
  return Promise.all(urls.map((url) => fetchAuthorization(run.transport, run.account, url, run.context)))
}

/** @returns undefined where no solver is for it any more */
async function withSolver<T>(
  run: Pick<Run, 'context' | 'account' | 'caNowMs'>,
  progress: OrderProgress,
  { identifier, wildcard, challenge }: ChosenChallenge,
  act: (solver: ChallengeSolver, task: ChallengeTask) => Promise<T>,
): Promise<T | undefined> {
  const solver = run.context.solvers.find(({ type }) => type === challenge.type)
  if (solver === undefined) return undefined
  const lastsMs = (progress.order?.expiresAtMs ?? Number.POSITIVE_INFINITY) - run.caNowMs
  const expiresAtMs = run.context.clock.nowMs() + Math.min(lastsMs, answerLifetimeMs)
  return await act(solver, {
    identifier,
    wildcard,
    challenge,
    keyAuthorization: keyAuthorization(challenge.token, run.account.thumbprint),
    expiresAtMs,
  })
}

/** Never fails an issuance: what could not be removed is logged, and expires by itself where it can. */
export async function cleanUp(
  run: Pick<Run, 'context' | 'account' | 'caNowMs'>,
  progress: OrderProgress,
  challenges: readonly ChosenChallenge[],
): Promise<void> {
  const results = await Promise.allSettled(
    challenges.map((chosen) => withSolver(run, progress, chosen, (solver, task) => solver.cleanUp(task, run.context))),
  )
  for (const [index, result] of results.entries()) {
    if (result.status === 'rejected') {
      run.context.log.warn('a challenge answer could not be removed', {
        name: challenges[index]?.identifier.value,
        error: result.reason,
      })
    }
  }
}
