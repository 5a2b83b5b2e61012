// A CA that does nothing but count: Let's Encrypt's limits and exemptions as Boulder has them, by an arithmetic that
// shares nothing with ours (tokens that come back, not a time at which the bucket is full), and windows of RFC 9773.
import type { RenewalInfoReply } from '../../src/acme/renewal-info.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const shortLivedMs = 10 * dayMs

export type Span = { readonly fromMs: number; readonly untilMs: number }

/** What the CA knows of a certificate. */
export type CaCertificate = {
  readonly issuedAtMs: number
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly window: Extract<RenewalInfoReply, { outcome: 'window' }>['info']
}

export type CaOrder = {
  readonly names: number
  readonly domain: number
  /** What it says that it replaces. */
  readonly replaces: CaCertificate | undefined
}

export type CaOptions = {
  readonly outages?: readonly Span[]
  /** At this moment it takes back so many (0 to 1) of the certificates that it issued. */
  readonly revocation?: { readonly atMs: number; readonly share: number }
  /** From 0 up to 1. */
  readonly random: () => number
}

export type CaCounts = {
  polls: number
  pollsWhileAway: number
  orders: number
  ordersWhileAway: number
  /** By what the CA let pass uncounted. */
  ordersInWindow: number
  ordersOfSameNames: number
  /** Orders that a client which knows the limits would not have sent, by limit. */
  readonly violations: Record<'orders' | 'domain' | 'sameNames', number>
}

export type SimulatedCa = {
  readonly counts: CaCounts
  isAway(atMs: number): boolean
  renewalInfo(certificate: CaCertificate, atMs: number): RenewalInfoReply
  /** @returns undefined when taken, else when it may be tried again */
  order(order: CaOrder, atMs: number): number | undefined
  /** The order was fulfilled. */
  issue(order: CaOrder, lifetimeMs: number, atMs: number): CaCertificate
  isRevoked(certificate: CaCertificate, atMs: number): boolean
}

/** https://letsencrypt.org/docs/rate-limits/ */
const limits = {
  orders: { capacity: 300, periodMs: 3 * hourMs },
  domain: { capacity: 50, periodMs: 7 * dayMs },
  sameNames: { capacity: 5, periodMs: 7 * dayMs },
} as const

const away: RenewalInfoReply = { outcome: 'temporary failure', reason: 'the CA cannot be reached' }
/** Certificates begin an hour before they are made. */
const backdateMs = hourMs

export function createCa({ outages = [], revocation, random }: CaOptions): SimulatedCa {
  const counts: CaCounts = {
    polls: 0,
    pollsWhileAway: 0,
    orders: 0,
    ordersWhileAway: 0,
    ordersInWindow: 0,
    ordersOfSameNames: 0,
    violations: { orders: 0, domain: 0, sameNames: 0 },
  }
  const account = createTokens(limits.orders)
  const domains = new Map<number, Tokens>()
  const nameSets = new Map<number, Tokens>()
  const issuedNames = new Set<number>()
  /** What will be taken back, or was. */
  const revoked = new Set<CaCertificate>()
  const tokensOf = (all: Map<number, Tokens>, id: number, limit: (typeof limits)[keyof typeof limits]) => {
    const tokens = all.get(id) ?? createTokens(limit)
    all.set(id, tokens)
    return tokens
  }
  function isAway(atMs: number): boolean {
    for (const { fromMs, untilMs } of outages) if (fromMs <= atMs && atMs < untilMs) return true
    return false
  }

  function renewalInfo(certificate: CaCertificate, atMs: number): RenewalInfoReply {
    counts.polls += 1
    if (isAway(atMs)) {
      counts.pollsWhileAway += 1
      return away
    }
    const info = isRevoked(certificate, atMs)
      ? { startMs: atMs - hourMs, endMs: atMs - hourMs / 2, explanationUrl: 'https://ca.example/incident' }
      : certificate.window
    return { outcome: 'window', info, retryAfterMs: 6 * hourMs * (0.8 + 0.4 * random()) }
  }

  /** Nothing of it: the order falls into the window that the CA itself suggests. */
  const isInWindow = ({ replaces }: CaOrder, atMs: number) =>
    replaces !== undefined &&
    !isRevoked(replaces, atMs) &&
    replaces.window.startMs <= atMs &&
    atMs < replaces.window.endMs

  function order(wanted: CaOrder, atMs: number): number | undefined {
    counts.orders += 1
    if (isInWindow(wanted, atMs)) {
      counts.ordersInWindow += 1
      return undefined
    }
    const isRenewal = issuedNames.has(wanted.names)
    if (isRenewal) counts.ordersOfSameNames += 1
    const checked: (readonly [keyof CaCounts['violations'], Tokens])[] = [
      ['sameNames', tokensOf(nameSets, wanted.names, limits.sameNames)],
    ]
    if (!isRenewal) checked.push(['domain', tokensOf(domains, wanted.domain, limits.domain)], ['orders', account])
    for (const [limit, tokens] of checked) {
      if (tokens.at(atMs) >= 1) continue
      counts.violations[limit] += 1
      return tokens.oneAtMs(atMs)
    }
    // Only this one is spent by the order; the others by the certificate.
    if (!isRenewal) account.spend(atMs)
    return undefined
  }

  function issue(wanted: CaOrder, lifetimeMs: number, atMs: number): CaCertificate {
    if (!isInWindow(wanted, atMs) && !issuedNames.has(wanted.names))
      tokensOf(domains, wanted.domain, limits.domain).spend(atMs)
    const names = tokensOf(nameSets, wanted.names, limits.sameNames)
    if (names.at(atMs) >= 1) names.spend(atMs)
    issuedNames.add(wanted.names)
    const notBeforeMs = atMs - backdateMs
    const notAfterMs = notBeforeMs + lifetimeMs
    const middleMs = notAfterMs - lifetimeMs / (lifetimeMs < shortLivedMs ? 2 : 3)
    const window = { startMs: middleMs - lifetimeMs / 100, endMs: middleMs + lifetimeMs / 100 }
    const certificate: CaCertificate = { issuedAtMs: atMs, notBeforeMs, notAfterMs, window }
    if (
      revocation !== undefined &&
      atMs < revocation.atMs &&
      notAfterMs > revocation.atMs &&
      random() < revocation.share
    )
      revoked.add(certificate)
    return certificate
  }

  function isRevoked(certificate: CaCertificate, atMs: number): boolean {
    return revocation !== undefined && atMs >= revocation.atMs && revoked.has(certificate)
  }

  return { counts, isAway, renewalInfo, order, issue, isRevoked }
}

type Tokens = {
  /** How many are there. */
  at(nowMs: number): number
  spend(nowMs: number): void
  oneAtMs(nowMs: number): number
}

function createTokens({ capacity, periodMs }: { readonly capacity: number; readonly periodMs: number }): Tokens {
  let left: number = capacity
  let lastMs = 0
  /** So little that only the rounding of floating point is in it. */
  const grain = 1e-6
  const at = (nowMs: number) => {
    left = Math.min(capacity, left + (Math.max(0, nowMs - lastMs) / periodMs) * capacity)
    lastMs = Math.max(lastMs, nowMs)
    return left + grain
  }
  return {
    at,
    spend(nowMs) {
      at(nowMs)
      left -= 1
    },
    oneAtMs: (nowMs) => nowMs + ((1 - at(nowMs)) * periodMs) / capacity,
  }
}
