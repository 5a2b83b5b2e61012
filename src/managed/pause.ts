import type { ProblemError } from '../acme/problem.ts'
import { nextTryAtMs, randomShareOf } from '../issuance/renewal-plan.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Pause } from './memory.ts'

const hourMs = 3_600_000
const longestMs = 24 * hourMs

/** No pause is longer than a day: one that is was made by a clock that ran ahead, and is over. */
export function isPausing({ retryAtMs }: Pause, nowMs: number): boolean {
  return retryAtMs > nowMs && retryAtMs <= nowMs + longestMs + hourMs
}

/**
 * After a failure: again after 1, 10 and 100 minutes, then daily; not before the CA's word, where it gave one. An issuer
 * that is away is no failure of the certificate's: it is tried again when the issuer is.
 */
export function pauseAfter(
  former: Pause | undefined,
  { code, retry }: Pick<ProblemError, 'code' | 'retry'>,
  context: Pick<PluginContext, 'clock' | 'randomBytes'>,
): Pause {
  const nowMs = context.clock.nowMs()
  if (retry.when === 'notBefore' && code === 'serverInternal')
    return { failures: former?.failures ?? 0, retryAtMs: Math.round(Math.min(retry.atMs, nowMs + longestMs)) }
  const failures = former?.failures ?? 0
  const notBeforeMs = retry.when === 'notBefore' ? retry.atMs : 0
  const retryAtMs = nextTryAtMs(failures, nowMs, randomShareOf(context), notBeforeMs)
  return { failures: failures + 1, retryAtMs }
}
