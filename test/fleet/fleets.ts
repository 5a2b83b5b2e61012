// The fleets that the year's test and the bench run.
import { type RateLimits, rateLimitsOf } from '../../src/plugins/issuers/rate-limits.ts'
import { createCa, type Span } from './ca.ts'
import { simulateFleet } from './fleet.ts'
import type { FleetGroup } from './members.ts'
import type { FleetReport } from './tally.ts'

const hourMs = 3_600_000
export const dayMs = 24 * hourMs
const startMs = Date.UTC(2027, 0, 1)

export const letsEncryptLimits = rateLimitsOf({}, 'https://acme-v02.api.letsencrypt.org/directory')
/** What Let's Encrypt's short-lived profile makes of "six days". */
export const shortLivedMs = 160 * hourMs

export type Outage = { readonly day: number; readonly days: number }

export type FleetWish = {
  readonly days: number
  /** How many certificates of 45 days, and how many short-lived ones. */
  readonly ordinary: number
  readonly shortLived: number
  readonly shortLivedMs?: number
  /** May the short-lived ones be had from a second CA? */
  readonly fallback?: boolean
  readonly outages?: readonly Outage[]
  /** On this day the CA takes back every twentieth certificate. */
  readonly revocationDay?: number
  readonly start?: 'ordered' | 'preloaded'
  /** 37 s: Let's Encrypt allows 300 in three hours. */
  readonly firstOrderEveryMs?: number
  /** How long it takes to find that a CA does not answer: 10 s is the client's own time for a connection. */
  readonly awayMs?: number
  readonly pollMs?: number
  readonly seed?: number
  readonly namesPerDomain?: number
  /** What we believe that the CA allows. */
  readonly limits?: RateLimits
}

export function runFleet(wish: FleetWish): FleetReport {
  const random = seededRandom(wish.seed ?? 1)
  const outages = (wish.outages ?? []).map(
    ({ day, days }): Span => ({ fromMs: startMs + day * dayMs, untilMs: startMs + (day + days) * dayMs }),
  )
  const { revocationDay } = wish
  const revocation = revocationDay === undefined ? undefined : { atMs: startMs + revocationDay * dayMs, share: 0.05 }
  const first = createCa({ outages, ...(revocation === undefined ? {} : { revocation }), random })
  const second = createCa({ random })
  const groups: FleetGroup[] = [
    {
      name: '45 days',
      count: wish.ordinary,
      lifetimeMs: 45 * dayMs,
      namesPerDomain: wish.namesPerDomain ?? 50,
      cas: [0],
    },
    {
      name: 'short-lived',
      count: wish.shortLived,
      lifetimeMs: wish.shortLivedMs ?? shortLivedMs,
      namesPerDomain: wish.namesPerDomain ?? 50,
      cas: wish.fallback === true ? [0, 1] : [0],
    },
  ]
  // Errors are values here, a million of them; nobody looks at where they were made.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return simulateFleet({
      startMs,
      days: wish.days,
      groups,
      cas: [first, second],
      limits: wish.limits ?? letsEncryptLimits,
      start: wish.start ?? 'ordered',
      firstOrderEveryMs: wish.firstOrderEveryMs ?? 37_000,
      random,
      pollMs: wish.pollMs ?? 150,
      awayMs: wish.awayMs ?? 10_000,
    })
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** mulberry32: the same numbers for the same seed, from 0 up to 1. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
