import { type ProblemCode, ProblemError } from '../acme/problem.ts'
import type { Clock } from '../plugin-api.ts'
import type { Outage, Outages } from './records.ts'

const firstPauseMs = 1000
const longestPauseMs = 30 * 60_000
const readLifetimeMs = 5000
const maxPauseMs = 25 * 3_600_000

/** What another CA may well do: this one is away, full, or has something against our account. */
const curable: ReadonlySet<ProblemCode> = new Set([
  'accountDoesNotExist',
  'alreadyReplaced',
  'badNonce',
  'badSignatureAlgorithm',
  'compound',
  'externalAccountRequired',
  'invalidContact',
  'invalidProfile',
  'orderNotReady',
  'rateLimited',
  'serverInternal',
  'unsupportedContact',
  'userActionRequired',
])

/**
 * Is it of use to ask another CA? Never after a refusal (`rejectedIdentifier`, `caa`), and not when the names could
 * not be validated: that is not the CA's fault.
 */
export function isCurableElsewhere({ code }: ProblemError): boolean {
  return curable.has(code)
}

/** @param hadBegun the attempt had come somewhere: then it is this order's trouble, not the CA's */
export function isOutage(problem: ProblemError, hadBegun: boolean): boolean {
  if (hadBegun) return false
  if (problem.code === 'userActionRequired') return true
  const temporary = problem.retry.when === 'backoff' || problem.retry.when === 'notBefore'
  return temporary && (problem.code === 'serverInternal' || problem.code === 'badNonce')
}

/** @param share random, from 0 up to 1 */
export function nextOutage(
  known: Outage | undefined,
  issuerKey: string,
  problem: ProblemError,
  nowMs: number,
  share: number,
): Outage {
  const failures = (known?.failures ?? 0) + 1
  const ownMs = Math.min(firstPauseMs * 2 ** Math.min(failures - 1, 20), longestPauseMs) * (0.75 + share / 4)
  const toldMs = problem.retry.when === 'notBefore' ? problem.retry.atMs : 0
  return {
    issuerKey,
    sinceMs: known?.sinceMs ?? nowMs,
    failures,
    untilMs: Math.max(nowMs + ownMs, toldMs),
    reason: problem.message,
  }
}

/** What is said instead of asking a CA that is away. */
export function outageProblem({ reason, untilMs }: Outage): ProblemError {
  return new ProblemError('serverInternal', `${reason} (it is tried again later)`, {
    retry: { when: 'notBefore', atMs: untilMs },
  })
}

/** The outages as a process sees them. */
export type OutageView = Outages & {
  /** Somebody may have cured them. */
  clearAll(): Promise<void>
}

/** Read now and then, because other servers and operators change them, too. */
export function createOutageView(outages: Outages, clock: Clock): OutageView {
  const known = new Map<string, { readonly outage: Outage | undefined; readonly atMs: number }>()
  const remember = (issuerKey: string, outage: Outage | undefined) =>
    known.set(issuerKey, { outage, atMs: clock.nowMs() })
  return {
    async find(issuerKey) {
      const entry = known.get(issuerKey)
      if (entry !== undefined && Math.abs(clock.nowMs() - entry.atMs) < readLifetimeMs) return entry.outage
      const stored = await outages.find(issuerKey)
      // No pause is longer than a day: one that is was made by a clock that ran ahead.
      const outage = stored !== undefined && stored.untilMs > clock.nowMs() + maxPauseMs ? undefined : stored
      remember(issuerKey, outage)
      return outage
    },
    async save(outage) {
      remember(outage.issuerKey, outage)
      await outages.save(outage)
    },
    async clear(issuerKey) {
      remember(issuerKey, undefined)
      await outages.clear(issuerKey)
    },
    async clearAll() {
      for (const issuerKey of known.keys()) await outages.clear(issuerKey)
      known.clear()
    },
  }
}
