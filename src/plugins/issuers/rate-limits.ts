import type { Identifier } from '../../acme/identifier.ts'
import type { RateBucket } from '../../acme/rate-limit.ts'
import type { Option } from '../../plugin-api.ts'
import { registeredDomain } from './registered-domain.ts'

export type RateLimit = { readonly capacity: number; readonly periodMs: number }

/** What a CA lets one account have; a limit that is not there is not counted. */
export type RateLimits = {
  /** New orders of the account. */
  readonly orders?: RateLimit
  /** Certificates for a registered domain. */
  readonly domain?: RateLimit
  /** Certificates for exactly the same set of names. */
  readonly sameNames?: RateLimit
  /** Failed validations of a name. */
  readonly failures?: RateLimit
}

/** Of each limit, so much is left to needs that cannot wait. */
export const reserveForUrgent = 0.2

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const limit = (capacity: number, periodMs: number): RateLimit => ({ capacity, periodMs })

/** As published at https://letsencrypt.org/docs/rate-limits/; by the host of the directory. */
const knownLimits: Readonly<Record<string, RateLimits>> = {
  'acme-v02.api.letsencrypt.org': {
    orders: limit(300, 3 * hourMs),
    domain: limit(50, 7 * dayMs),
    sameNames: limit(5, 7 * dayMs),
    failures: limit(5, hourMs),
  },
  'acme-staging-v02.api.letsencrypt.org': {
    orders: limit(1500, 3 * hourMs),
    domain: limit(30_000, 7 * dayMs),
    sameNames: limit(30_000, 7 * dayMs),
    failures: limit(200, hourMs),
  },
}

/**
 * Let's Encrypt pauses a name for good after very many failures in a row, and lets it have one more a day. Long before
 * that a name whose validation does not work is tried once a day; one success makes it as new.
 */
const failuresInARow = limit(20, 20 * dayMs)

const limitOption = (what: string, letsEncrypt: string): Option<RateLimit | 'none'> => ({
  meaning: `how many ${what} the CA allows, as 300/3h or none (default: Let's Encrypt's ${letsEncrypt} there, none elsewhere)`,
  type: 'count/span',
  parse: parseRateLimit,
})

export const rateLimitOptions = {
  'limit-orders': limitOption('orders of the account', '300/3h'),
  'limit-domain': limitOption('certificates for a registered domain', '50/7d'),
  'limit-same-names': limitOption('certificates for the same set of names', '5/7d'),
  'limit-failures': limitOption('failed validations of a name', '5/1h'),
} as const satisfies Record<string, Option<unknown>>

type RateLimitValues = { readonly [K in keyof typeof rateLimitOptions]?: RateLimit | 'none' | undefined }

export function rateLimitsOf(values: RateLimitValues, directoryUrl: string): RateLimits {
  const known = knownLimits[new URL(directoryUrl).hostname] ?? {}
  const pick = (given: RateLimit | 'none' | undefined, usual: RateLimit | undefined) =>
    given === 'none' ? undefined : (given ?? usual)
  const chosen = {
    orders: pick(values['limit-orders'], known.orders),
    domain: pick(values['limit-domain'], known.domain),
    sameNames: pick(values['limit-same-names'], known.sameNames),
    failures: pick(values['limit-failures'], known.failures),
  }
  return Object.fromEntries(Object.entries(chosen).filter(([, one]) => one !== undefined))
}

/** `300/3h`, `5/7d`, `none`. */
export function parseRateLimit(text: string): RateLimit | 'none' {
  if (text.toLowerCase() === 'none') return 'none'
  const match = /^([1-9]\d{0,6})\s*\/\s*([1-9]\d{0,4})\s*([mhd])$/i.exec(text)
  if (match === null) throw new Error(`${JSON.stringify(text)} is no limit; write 300/3h, 50/7d or none`)
  const unitMs = { m: 60_000, h: hourMs, d: dayMs }[(match[3] ?? '').toLowerCase()] ?? hourMs
  return limit(Number(match[1]), Number(match[2]) * unitMs)
}

/** What an order takes from where. */
export type OrderBuckets = {
  /** Once an order is made, whatever becomes of it. */
  readonly orders: readonly RateBucket[]
  /** Only if a certificate comes of it. */
  readonly certificates: readonly RateBucket[]
  /** Only if the name cannot be validated: those of one hour, and those in a row. */
  readonly failures: readonly RateBucket[]
}

/**
 * @param exempt what Let's Encrypt leaves out: for a renewal that its renewal information asked for everything, for
 *   one with the same names the limits of the account and of the domain
 */
export function bucketsOf(
  limits: RateLimits,
  issuerKey: string,
  accountUrl: string,
  identifiers: readonly Identifier[],
  exempt: 'nothing' | 'same names' | 'asked by the CA',
): OrderBuckets {
  const bucket = (name: string, subject: string, one: RateLimit | undefined): RateBucket[] =>
    one === undefined ? [] : [{ issuerKey, limit: name, subject, ...one }]
  const names = [...new Set(identifiers.map(({ value }) => value))].sort()
  const domains = [...new Set(identifiers.map(registeredDomain))].sort()
  const bases = [...new Set(names.map((name) => name.replace(/^\*\./, '')))]
  const inARow = limits.failures === undefined ? undefined : failuresInARow
  return {
    orders: exempt === 'nothing' ? bucket('orders', accountUrl, limits.orders) : [],
    certificates: [
      ...(exempt === 'nothing' ? domains.flatMap((domain) => bucket('domain', domain, limits.domain)) : []),
      ...(exempt === 'asked by the CA' ? [] : bucket('same-names', names.join(' '), limits.sameNames)),
    ],
    failures: bases.flatMap((name) => [
      ...bucket('failures', name, limits.failures),
      ...bucket('failures-in-a-row', name, inARow),
    ]),
  }
}

/** For people. */
export const limitMeanings: Readonly<Record<string, string>> = {
  orders: 'orders of the account',
  domain: 'certificates for the registered domain',
  'same-names': 'certificates for exactly these names',
  failures: 'failed validations of the name',
  'failures-in-a-row': 'failed validations of the name in a row',
  told: 'orders for these names, as the CA itself says',
}
