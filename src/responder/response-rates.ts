import { isIPv4 } from 'node:net'

export type ResponseRateLimits = {
  /** Answers a second to one network, by UDP. */
  readonly perSecond: number
  /** So many at once after a silence. */
  readonly burst: number
  /** Networks that are remembered; of more, the ones longest unheard of are forgotten. */
  readonly maxNetworks: number
}

/** What becomes of an answer: every other one too many is truncated, so that a real asker comes back by TCP. */
export type ResponseFate = 'send' | 'truncate' | 'drop'

export interface ResponseRates {
  decide(remoteAddress: string): ResponseFate
  readonly size: number
}

export const usualRateLimits: ResponseRateLimits = { perSecond: 200, burst: 400, maxNetworks: 10_000 }

type Bucket = { tokens: number; filledAtMs: number; tooMany: number }

/**
 * Response-rate limiting: who forges a sender's address must not be able to make us flood it. Networks are /24 and
 * /56, as one asker is easily several addresses. From our own machine nobody can forge.
 */
export function createResponseRates(limits: ResponseRateLimits, monotonicMs: () => number): ResponseRates {
  const buckets = new Map<string, Bucket>()
  return {
    get size() {
      return buckets.size
    },
    decide(remoteAddress) {
      const network = networkOf(remoteAddress)
      if (network === undefined) return 'send'
      const nowMs = monotonicMs()
      const bucket = buckets.get(network) ?? { tokens: limits.burst, filledAtMs: nowMs, tooMany: 0 }
      bucket.tokens = Math.min(limits.burst, bucket.tokens + ((nowMs - bucket.filledAtMs) * limits.perSecond) / 1000)
      bucket.filledAtMs = nowMs
      // Moves to the end: what is forgotten is what was not heard of for longest.
      buckets.delete(network)
      buckets.set(network, bucket)
      if (buckets.size > limits.maxNetworks) {
        const [oldest] = buckets.keys()
        if (oldest !== undefined) buckets.delete(oldest)
      }
      if (bucket.tokens >= 1) {
        bucket.tokens -= 1
        return 'send'
      }
      bucket.tooMany += 1
      return bucket.tooMany % 2 === 1 ? 'truncate' : 'drop'
    },
  }
}

/** The /24 or /56 of an address; undefined for this machine's own. */
export function networkOf(remoteAddress: string): string | undefined {
  const address = remoteAddress.startsWith('::ffff:') ? remoteAddress.slice('::ffff:'.length) : remoteAddress
  if (isIPv4(address)) return address.startsWith('127.') ? undefined : address.slice(0, address.lastIndexOf('.'))
  if (address === '::1') return undefined
  // `2001:db8:1:2ff:…`: three groups and the first half of the fourth; what `::` leaves out is nought.
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
  const [a = '0', b = '0', c = '0', d = '0'] = groups
  return [a, b, c, (Number.parseInt(d, 16) >> 8).toString(16)].join(':')
}
