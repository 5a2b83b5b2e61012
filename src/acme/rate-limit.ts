/**
 * One of a CA's limits, for one subject: `capacity` at once, and as many again spread evenly over `periodMs`. CAs
 * count with such buckets (RFC 8555 §6.6 leaves it to them); one number is all that must be remembered of it.
 */
export type RateBucket = {
  /** Which CA and account. */
  readonly issuerKey: string
  readonly limit: string
  /** What is counted: a registered domain, a set of names, a name; empty for the account as a whole. */
  readonly subject: string
  readonly capacity: number
  readonly periodMs: number
}

/** When a bucket will be full again, as milliseconds since 1970; one in the past is full. */
export type FullAtMs = number

const longestSlackMs = 2000

/**
 * How long it takes until one more is there: a little longer than at the CA. It counts when a request arrives and we
 * before it leaves, so that two that we took one after the other may arrive closer together.
 */
export function intervalMs({ capacity, periodMs }: RateBucket): number {
  const theirsMs = Math.ceil(periodMs / capacity)
  return theirsMs + Math.min(longestSlackMs, Math.floor(theirsMs / 4))
}

/** @returns when the bucket will be full after one more was taken */
export function fullAfterOne(bucket: RateBucket, fullAtMs: FullAtMs, nowMs: number): FullAtMs {
  return Math.max(fullAtMs, nowMs) + intervalMs(bucket)
}

/**
 * One can be taken when the bucket is then full again not later than this.
 * @param reserve the share (0 to 1) that must be left afterwards; a bucket of one has nothing to leave
 */
export function latestFullAtMs(bucket: RateBucket, nowMs: number, reserve: number): FullAtMs {
  return nowMs + Math.max(1, Math.floor(bucket.capacity * (1 - reserve))) * intervalMs(bucket)
}

/** When can one be taken? Not after `nowMs`: at once. */
export function availableAtMs(bucket: RateBucket, fullAtMs: FullAtMs, nowMs: number, reserve: number): number {
  return nowMs + fullAtMs + intervalMs(bucket) - latestFullAtMs(bucket, nowMs, reserve)
}

/** How many could be taken now. */
export function remainingIn(bucket: RateBucket, fullAtMs: FullAtMs, nowMs: number): number {
  const used = Math.ceil(Math.max(0, fullAtMs - nowMs) / intervalMs(bucket))
  return Math.max(0, bucket.capacity - used)
}

/** @returns such that nothing is there before `untilMs` */
export function fullIfEmptyUntil(bucket: RateBucket, untilMs: number): FullAtMs {
  return Math.round(untilMs) + (bucket.capacity - 1) * intervalMs(bucket)
}

/** What was taken from a CA's rate limits, over restarts and by all servers on this state. */
export interface RateLedger {
  /**
   * Takes one from every bucket, or nothing from any.
   * @param reserve the share (0 to 1) of each bucket that must be left
   * @returns undefined when taken, else which bucket is short, and when it will have one
   */
  take(
    buckets: readonly RateBucket[],
    reserve: number,
  ): Promise<{ readonly bucket: RateBucket; readonly retryAtMs: number } | undefined>
  /** Takes one from each, be it there or not: what happened, happened. */
  charge(buckets: readonly RateBucket[]): Promise<void>
  /** What was taken was not used after all. */
  giveBack(buckets: readonly RateBucket[]): Promise<void>
  /** As if nothing had ever been taken. */
  refill(buckets: readonly RateBucket[]): Promise<void>
  /** The CA itself says that there is nothing before this moment. */
  empty(bucket: RateBucket, untilMs: number): Promise<void>
  /** Until when there is nothing in a bucket; undefined: there is something. */
  emptyUntil(bucket: Pick<RateBucket, 'issuerKey' | 'limit' | 'subject'>): Promise<number | undefined>
  /** The same limits, for requests whose names may not be written down. */
  readonly unrecorded?: RateLedger
}
