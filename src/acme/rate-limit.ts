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

/** How long it takes until one more is there. */
export function intervalMs({ capacity, periodMs }: RateBucket): number {
  return Math.ceil(periodMs / capacity)
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
  return nowMs + fullAfterOne(bucket, fullAtMs, nowMs) - latestFullAtMs(bucket, nowMs, reserve)
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
