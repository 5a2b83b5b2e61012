import { availableAtMs, type FullAtMs, fullAfterOne, intervalMs, type RateBucket } from '../../src/acme/rate-limit.ts'

export type MemoryLedger = {
  /** As RateLedger's: all or nothing. @returns undefined when taken, else when the short one is there again */
  take(buckets: readonly RateBucket[], reserve: number, nowMs: number): number | undefined
  giveBack(buckets: readonly RateBucket[]): void
}

/** The state's ledger without its database: the same arithmetic, from the same file. */
export function createMemoryLedger(): MemoryLedger {
  const fullAt = new Map<string, FullAtMs>()
  const keyOf = ({ issuerKey, limit, subject }: RateBucket) => `${issuerKey} ${limit} ${subject}`
  return {
    take(buckets, reserve, nowMs) {
      for (const bucket of buckets) {
        const untilMs = availableAtMs(bucket, fullAt.get(keyOf(bucket)) ?? 0, nowMs, reserve)
        if (untilMs > nowMs) return untilMs
      }
      for (const bucket of buckets) {
        const key = keyOf(bucket)
        fullAt.set(key, fullAfterOne(bucket, fullAt.get(key) ?? 0, nowMs))
      }
      return undefined
    },
    giveBack(buckets) {
      for (const bucket of buckets) {
        const key = keyOf(bucket)
        fullAt.set(key, (fullAt.get(key) ?? 0) - intervalMs(bucket))
      }
    },
  }
}
