import type { RenewalInfo, RenewalInfoReply } from '../acme/renewal-info.ts'
import type { Validity } from './renewal.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const shortLivedMs = 10 * dayMs

/** RFC 9773 §4.3.3: after a failure that will not pass soon, and where the CA does not say when to ask again. */
const unguidedCheckMs = 6 * hourMs
const shortestCheckMs = minuteMs
const longestCheckMs = dayMs
const maxQuickChecks = 5
/** So many renewals that were begun together do not stay together. */
const spreadShare = 0.02
/** Whatever the CA suggests: with a tenth of the lifetime left it is time. */
const backstopShare = 0.1
const retryDelaysMs = [minuteMs, 10 * minuteMs, 100 * minuteMs]
const longestRetryShare = 0.1

/** When a certificate will be replaced, and why then. All times are milliseconds since 1970. */
export type RenewalPlan = {
  /** By the lifetime, or by `renew-within`. */
  readonly ownAtMs: number
  /** Not later than this, whatever the CA suggests. */
  readonly backstopAtMs: number
  /** The CA's window (RFC 9773), and the instant chosen in it: kept for as long as the window stays the same. */
  readonly info?: RenewalInfo
  readonly chosenAtMs?: number
  /** When the CA first said this window. */
  readonly learnedAtMs?: number
  /** When the CA is asked for its window again. */
  readonly checkAtMs: number
  readonly checkFailures: number
  /** The operator wants it now. */
  readonly asked?: true
  readonly failures: number
  /** After a failure: not before this. */
  readonly retryAtMs: number
}

/**
 * The plan for a certificate that was just issued: a third of its lifetime before its end, a half where it lives less
 * than ten days, or where the operator said; a little earlier by chance, so that not all come at once.
 * @param share random, from 0 up to 1
 */
export function planRenewal(
  { notBeforeMs, notAfterMs }: Validity,
  renewWithinMs: number | undefined,
  nowMs: number,
  share: number,
): RenewalPlan {
  const lifetimeMs = notAfterMs - notBeforeMs
  const ownLeftMs = lifetimeMs < shortLivedMs ? lifetimeMs / 2 : lifetimeMs / 3
  const asked = renewWithinMs !== undefined && renewWithinMs < lifetimeMs ? renewWithinMs : undefined
  const leftMs = (asked ?? ownLeftMs) + share * spreadShare * lifetimeMs
  return {
    ownAtMs: Math.round(notAfterMs - Math.min(leftMs, lifetimeMs)),
    backstopAtMs: Math.round(notAfterMs - Math.max(backstopShare * lifetimeMs, asked ?? 0)),
    checkAtMs: nowMs,
    checkFailures: 0,
    failures: 0,
    retryAtMs: 0,
  }
}

/** When the certificate is to be replaced. */
export function dueAtMs(plan: RenewalPlan): number {
  return Math.max(plan.asked === true ? 0 : plannedAtMs(plan), plan.retryAtMs)
}

/** The same without what somebody asked for, and without failures. */
export function plannedAtMs({ chosenAtMs, ownAtMs, backstopAtMs }: RenewalPlan): number {
  return Math.min(chosenAtMs ?? ownAtMs, backstopAtMs)
}

/** When there is something to do next: ask the CA for its window, or replace the certificate. */
export function wakeAtMs(plan: RenewalPlan, notAfterMs: number, due = dueAtMs(plan)): number {
  // RFC 9773 §4.3.3: not asked about after its end.
  return plan.checkAtMs < notAfterMs ? Math.min(due, plan.checkAtMs) : due
}

/**
 * The plan after the CA was asked (RFC 9773 §4.2, §4.3).
 * @param reply undefined: this CA says no such things, and may be asked again tomorrow
 * @param share random, from 0 up to 1
 */
export function afterRenewalInfo(
  plan: RenewalPlan,
  reply: RenewalInfoReply | undefined,
  nowMs: number,
  share: number,
): RenewalPlan {
  if (reply === undefined) {
    const { info: _, chosenAtMs: __, learnedAtMs: ___, ...rest } = plan
    return { ...rest, checkAtMs: nowMs + longestCheckMs, checkFailures: 0 }
  }
  switch (reply.outcome) {
    case 'window': {
      const { info } = reply
      const same = plan.info?.startMs === info.startMs && plan.info.endMs === info.endMs
      const chosenAtMs =
        same && plan.chosenAtMs !== undefined
          ? plan.chosenAtMs
          : Math.round(info.startMs + share * (info.endMs - info.startMs))
      const checkAtMs = nowMs + clampCheck(reply.retryAfterMs ?? unguidedCheckMs)
      const learnedAtMs = same ? (plan.learnedAtMs ?? nowMs) : nowMs
      return { ...plan, info, chosenAtMs, learnedAtMs, checkAtMs, checkFailures: 0 }
    }
    case 'temporary failure': {
      const checkFailures = plan.checkFailures + 1
      if (checkFailures > maxQuickChecks) return { ...plan, checkAtMs: nowMs + unguidedCheckMs, checkFailures: 0 }
      const ownMs = minuteMs * 2 ** (checkFailures - 1) * (1 + share)
      return { ...plan, checkAtMs: nowMs + clampCheck(Math.max(ownMs, reply.retryAfterMs ?? 0)), checkFailures }
    }
    case 'long-term failure':
      return { ...plan, checkAtMs: nowMs + unguidedCheckMs, checkFailures: 0 }
    default:
      return reply satisfies never
  }
}

/** RFC 9773 §4.3.2: the CA's Retry-After is the shortest and the longest wait, within reason. */
function clampCheck(ms: number): number {
  return Math.min(Math.max(ms, shortestCheckMs), longestCheckMs)
}

/**
 * The plan after a renewal failed: again after 1, 10 and 100 minutes, then daily; more often where the certificate
 * lives shortly.
 * @param notBeforeMs the CA's word, where it gave one
 */
export function afterFailure(
  plan: RenewalPlan,
  { notBeforeMs, notAfterMs }: Validity,
  nowMs: number,
  share: number,
  retryNotBeforeMs = 0,
): RenewalPlan {
  const longestMs = Math.max(longestRetryShare * (notAfterMs - notBeforeMs), minuteMs)
  const retryAtMs = nextTryAtMs(plan.failures, nowMs, share, retryNotBeforeMs, longestMs)
  return { ...plan, failures: plan.failures + 1, retryAtMs }
}

/**
 * When to try again: after 1, 10 and 100 minutes, then daily, or as often as `longestMs` says; not before the CA's word
 * for it, up to a day.
 * @param failures how many there were before this one
 * @param share random, from 0 up to 1
 */
export function nextTryAtMs(
  failures: number,
  nowMs: number,
  share: number,
  notBeforeMs: number,
  longestMs = dayMs,
): number {
  const delayMs = Math.min(retryDelaysMs[failures] ?? dayMs, longestMs) * (0.5 + share / 2)
  return Math.round(Math.max(nowMs + delayMs, Math.min(notBeforeMs, nowMs + dayMs)))
}

/** The CA itself is away: that is no failure of this certificate's, and it comes back with the CA. */
export function afterOutage(plan: RenewalPlan, untilMs: number, share: number): RenewalPlan {
  return { ...plan, retryAtMs: Math.round(untilMs + share * minuteMs) }
}

/** No pause is longer than a day: one that is was made by a clock that ran ahead, and is over. */
export function forgetFuture(plan: RenewalPlan, nowMs: number): RenewalPlan {
  const isPlausible = (atMs: number) => atMs <= nowMs + dayMs + hourMs
  return {
    ...plan,
    checkAtMs: isPlausible(plan.checkAtMs) ? plan.checkAtMs : nowMs,
    retryAtMs: isPlausible(plan.retryAtMs) ? plan.retryAtMs : 0,
  }
}

/** Does it have to be replaced soon, or may it leave room for others? */
export function isUrgent(validity: Validity, nowMs: number): boolean {
  return nowMs > urgentAtMs(validity)
}

/** With a sixth of the lifetime left. */
export function urgentAtMs({ notBeforeMs, notAfterMs }: Validity): number {
  return notAfterMs - (notAfterMs - notBeforeMs) / 6
}

/** From 0 up to 1. */
export function randomShareOf(context: { randomBytes(length: number): Uint8Array }): number {
  const [high = 0, low = 0] = context.randomBytes(2)
  return (high * 256 + low) / 65_536
}
