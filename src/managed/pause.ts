import type { ProblemError } from '../acme/problem.ts'
import { randomShareOf } from '../issuance/renewal-plan.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Pause } from './memory.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
const delaysMs = [minuteMs, 10 * minuteMs, 100 * minuteMs]

/**
 * After a failure: again after 1, 10 and 100 minutes, then daily; not before the CA's word, where it gave one. An issuer
 * that is away is no failure of the certificate's: it is tried again when the issuer is.
 */
export function pauseAfter(
  former: Pause | undefined,
  { code, retry }: Pick<ProblemError, 'code' | 'retry'>,
  context: Pick<PluginContext, 'clock' | 'randomBytes'>,
): Pause {
  if (retry.when === 'notBefore' && code === 'serverInternal')
    return { failures: former?.failures ?? 0, retryAtMs: Math.round(retry.atMs) }
  const failures = (former?.failures ?? 0) + 1
  const nowMs = context.clock.nowMs()
  const delayMs = (delaysMs[failures - 1] ?? dayMs) * (0.5 + randomShareOf(context) / 2)
  const notBeforeMs = retry.when === 'notBefore' ? Math.min(retry.atMs, nowMs + dayMs) : 0
  return { failures, retryAtMs: Math.round(Math.max(nowMs + delayMs, notBeforeMs)) }
}
