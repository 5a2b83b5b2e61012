import type { Kysely } from 'kysely'
import {
  availableAtMs,
  type FullAtMs,
  fullAfterOne,
  fullIfEmptyUntil,
  intervalMs,
  latestFullAtMs,
  type RateBucket,
} from '../acme/rate-limit.ts'
import type { RateLedger } from '../plugin-api.ts'
import type { Schema } from './schema.ts'

/** What is known of one bucket. */
export type StoredBucket = { readonly bucket: RateBucket; readonly fullAtMs: FullAtMs }

export type StoredRateLedger = RateLedger & {
  /** Those that are not full. */
  list(nowMs: number): Promise<StoredBucket[]>
  removeFull(nowMs: number): Promise<void>
  /** As another bucket is, unless it is known. */
  restore(bucket: RateBucket, fullAtMs: FullAtMs): Promise<void>
}

/**
 * One number a bucket, each changed by one statement, so that several servers take from the same: no transaction,
 * which on SQLite would hold up every other connection of this process.
 */
export function rateLedger(quick: Kysely<Schema>, nowMs: () => number): StoredRateLedger {
  const rowOf = ({ issuerKey, limit, subject, capacity, periodMs }: RateBucket, fullAtMs: FullAtMs) => ({
    issuer_key: issuerKey,
    limit_name: limit,
    subject,
    capacity,
    period_ms: periodMs,
    full_at_ms: fullAtMs,
  })
  const key = ['issuer_key', 'limit_name', 'subject'] as const

  /** @param latestMs taken only if the bucket is full again by then at the latest */
  async function takeOne(bucket: RateBucket, now: number, latestMs: number): Promise<boolean> {
    const interval = intervalMs(bucket)
    const taken = await quick
      .insertInto('rate_buckets')
      .values(rowOf(bucket, fullAfterOne(bucket, 0, now)))
      .onConflict((conflict) =>
        conflict
          .columns(key)
          .doUpdateSet((eb) => ({
            capacity: bucket.capacity,
            period_ms: bucket.periodMs,
            full_at_ms: eb
              .case()
              .when('rate_buckets.full_at_ms', '>', now)
              .then(eb('rate_buckets.full_at_ms', '+', interval))
              .else(now + interval)
              .end(),
          }))
          .where('rate_buckets.full_at_ms', '<=', latestMs - interval),
      )
      .returning('full_at_ms')
      .executeTakeFirst()
    return taken !== undefined
  }

  async function read({ issuerKey, limit, subject }: RateBucket): Promise<FullAtMs> {
    const row = await quick
      .selectFrom('rate_buckets')
      .select('full_at_ms')
      .where('issuer_key', '=', issuerKey)
      .where('limit_name', '=', limit)
      .where('subject', '=', subject)
      .executeTakeFirst()
    return row?.full_at_ms ?? 0
  }

  async function write({ issuerKey, limit, subject }: RateBucket, fullAtMs: FullAtMs): Promise<void> {
    await quick
      .updateTable('rate_buckets')
      .set({ full_at_ms: fullAtMs })
      .where('issuer_key', '=', issuerKey)
      .where('limit_name', '=', limit)
      .where('subject', '=', subject)
      .execute()
  }

  async function giveBack(buckets: readonly RateBucket[]): Promise<void> {
    for (const bucket of buckets)
      await quick
        .updateTable('rate_buckets')
        .set((eb) => ({ full_at_ms: eb('full_at_ms', '-', intervalMs(bucket)) }))
        .where('issuer_key', '=', bucket.issuerKey)
        .where('limit_name', '=', bucket.limit)
        .where('subject', '=', bucket.subject)
        .execute()
  }

  return {
    async take(buckets, reserve) {
      const now = nowMs()
      const taken: RateBucket[] = []
      for (const bucket of buckets) {
        if (await takeOne(bucket, now, latestFullAtMs(bucket, now, reserve))) {
          taken.push(bucket)
          continue
        }
        await giveBack(taken)
        const known = await read(bucket)
        // Only a clock that ran ahead can have taken so much: it counts as empty from now on.
        const fullAtMs = known > now + 3 * bucket.periodMs ? now + bucket.periodMs : known
        if (fullAtMs !== known) await write(bucket, fullAtMs)
        const retryAtMs = availableAtMs(bucket, fullAtMs, now, reserve)
        return { bucket, retryAtMs: Math.max(retryAtMs, now + 1) }
      }
      return undefined
    },
    async charge(buckets) {
      for (const bucket of buckets) await takeOne(bucket, nowMs(), Number.MAX_SAFE_INTEGER)
    },
    giveBack,
    async refill(buckets) {
      for (const bucket of buckets) await write(bucket, 0)
    },
    async emptyUntil({ issuerKey, limit, subject }) {
      const row = await quick
        .selectFrom('rate_buckets')
        .select('full_at_ms')
        .where('issuer_key', '=', issuerKey)
        .where('limit_name', '=', limit)
        .where('subject', '=', subject)
        .where('full_at_ms', '>', nowMs())
        .executeTakeFirst()
      return row?.full_at_ms
    },
    async empty(bucket, untilMs) {
      const row = rowOf(bucket, fullIfEmptyUntil(bucket, untilMs))
      await quick
        .insertInto('rate_buckets')
        .values(row)
        .onConflict((conflict) =>
          conflict.columns(key).doUpdateSet(row).where('rate_buckets.full_at_ms', '<', row.full_at_ms),
        )
        .execute()
    },
    async list(now) {
      const rows = await quick
        .selectFrom('rate_buckets')
        .selectAll()
        .where('full_at_ms', '>', now)
        .orderBy('issuer_key')
        .orderBy('limit_name')
        .orderBy('subject')
        .execute()
      return rows.map((row) => ({
        bucket: {
          issuerKey: row.issuer_key,
          limit: row.limit_name,
          subject: row.subject,
          capacity: row.capacity,
          periodMs: row.period_ms,
        },
        fullAtMs: row.full_at_ms,
      }))
    },
    async restore(bucket, fullAtMs) {
      await quick
        .insertInto('rate_buckets')
        .values(rowOf(bucket, fullAtMs))
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    },
    async removeFull(now) {
      await quick.deleteFrom('rate_buckets').where('full_at_ms', '<=', now).execute()
    },
  }
}
