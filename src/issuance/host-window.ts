import type { RenewalInfo } from '../acme/renewal-info.ts'
import type { RegisterEntry } from './records.ts'
import { dueAtMs, plannedAtMs } from './renewal-plan.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
/** Hosts come so long before we would renew by ourselves, and spread over so much time. */
const leadShare = 1 / 200
const spreadShare = 1 / 50
const shortestWindowMs = 1000
/** Asked again so often: what the CA says of a sudden is with the hosts soon. */
const askShare = 1 / 100
/** We wait for a host that asks, but not for much of the lifetime. */
const longestGraceShare = 1 / 20

type Known = Pick<RegisterEntry, 'plan' | 'notBeforeMs' | 'notAfterMs' | 'revokedAtMs' | 'watchedAtMs'>

/** What hosts are told (RFC 9773 §4.2), and when they may ask again. */
export type HostWindow = { readonly info: RenewalInfo; readonly retryAfterMs: number }

/**
 * When a host should replace its certificate: before we do it for the request that we know, since it comes with
 * another key and another request. In the past where it is to be replaced at once.
 */
export function windowForHost({ plan, revokedAtMs, ...validity }: Known, nowMs: number): HostWindow {
  const lifetimeMs = validity.notAfterMs - validity.notBeforeMs
  const retryAfterMs = askAfterMs(lifetimeMs)
  const explanation = plan.info?.explanationUrl === undefined ? {} : { explanationUrl: plan.info.explanationUrl }
  const isNow = revokedAtMs !== undefined || plan.asked === true
  const plannedMs = isNow ? Math.min(revokedAtMs ?? nowMs, nowMs - minuteMs) : plannedAtMs(plan)
  const latestMs = Math.round(plannedMs - lifetimeMs * leadShare)
  // Not before the CA's own window, in which renewals count against no limit; unless that is later than is good.
  const caStartMs = plan.info === undefined || plan.info.startMs > plannedMs ? 0 : plan.info.startMs
  const startMs = Math.max(Math.round(latestMs - lifetimeMs * spreadShare), caStartMs)
  const endMs = Math.max(latestMs, startMs + Math.max(Math.round((plannedMs - startMs) / 2), shortestWindowMs))
  return { info: { startMs, endMs, ...explanation }, retryAfterMs }
}

/**
 * When we renew by ourselves: where a host asks for the window we leave it the time to come. One that has stopped
 * asking is not waited for.
 */
export function ownTurnAtMs({ plan, watchedAtMs, notBeforeMs, notAfterMs }: Known): number {
  const dueMs = dueAtMs(plan)
  if (watchedAtMs === undefined || plan.asked === true) return dueMs
  // Of a window that was moved the hosts know only after they have asked once more.
  const turnMs = Math.max(plannedAtMs(plan), plan.learnedAtMs ?? 0)
  if (watchedAtMs < turnMs - dayMs) return dueMs
  const lifetimeMs = notAfterMs - notBeforeMs
  const graceMs = Math.min(2 * askAfterMs(lifetimeMs), lifetimeMs * longestGraceShare)
  return Math.max(dueMs, Math.min(turnMs + graceMs, plan.backstopAtMs))
}

function askAfterMs(lifetimeMs: number): number {
  return Math.round(Math.min(Math.max(lifetimeMs * askShare, minuteMs), hourMs))
}
