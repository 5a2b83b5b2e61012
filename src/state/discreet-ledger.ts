import type { RateBucket, RateLedger } from '../plugin-api.ts'
import { type Aliases, aliasPrefix } from './aliases.ts'
import type { StoredRateLedger } from './rate-ledger.ts'

type BucketName = Pick<RateBucket, 'issuerKey' | 'limit' | 'subject'>

export type DiscreetLedger = StoredRateLedger & {
  /** From now on requests that are not recorded are counted: what was taken until now is known to them, too. */
  beginAliases(nowMs: number): Promise<void>
}

/**
 * A CA counts all requests together, whoever made them. So the bucket that is named by an alias has them all, and the
 * one that is named by its subject those that are recorded. Without an alias key there is only the latter.
 */
export function discreetLedger(ledger: StoredRateLedger, aliases: Pick<Aliases, 'current'>): DiscreetLedger {
  /** undefined: there is none, or none is needed: the address of our own account is nobody's secret. */
  const aliasOf = <Named extends { readonly subject: string }>(bucket: Named): Named | undefined =>
    aliases.current === undefined || bucket.subject === '' || bucket.subject.includes('://')
      ? undefined
      : { ...bucket, subject: aliases.current(bucket.subject) }
  const hidden = (bucket: RateBucket): RateBucket[] => [aliasOf(bucket) ?? bucket]
  const both = (bucket: RateBucket): RateBucket[] => [bucket, aliasOf(bucket) ?? []].flat()

  return {
    ...ledger,
    ...ledgerOver(ledger, both, (bucket) => aliasOf(bucket) ?? bucket),
    unrecorded: ledgerOver(ledger, hidden, (bucket) => aliasOf(bucket) ?? bucket),
    async beginAliases(nowMs) {
      for (const { bucket, fullAtMs } of await ledger.list(nowMs)) {
        const alias = bucket.subject.startsWith(aliasPrefix) ? undefined : aliasOf(bucket)
        if (alias !== undefined) await ledger.restore(alias, fullAtMs)
      }
    },
  }
}

/** @param expand which buckets stand for one; @param judge the one of them that has everything */
function ledgerOver(
  ledger: StoredRateLedger,
  expand: (bucket: RateBucket) => RateBucket[],
  judge: (bucket: BucketName) => BucketName,
): RateLedger {
  const all = (buckets: readonly RateBucket[]) => buckets.flatMap(expand)
  return {
    async take(buckets, reserve) {
      const asked = buckets.flatMap((bucket) => expand(bucket).map((stored) => ({ bucket, stored })))
      const short = await ledger.take(
        asked.map(({ stored }) => stored),
        reserve,
      )
      if (short === undefined) return undefined
      // Whoever asked knows its name.
      const told = asked.find(
        ({ stored }) => stored.limit === short.bucket.limit && stored.subject === short.bucket.subject,
      )
      return { ...short, bucket: told?.bucket ?? short.bucket }
    },
    charge: (buckets) => ledger.charge(all(buckets)),
    giveBack: (buckets) => ledger.giveBack(all(buckets)),
    refill: (buckets) => ledger.refill(all(buckets)),
    async empty(bucket, untilMs) {
      for (const stored of expand(bucket)) await ledger.empty(stored, untilMs)
    },
    emptyUntil: (bucket) => ledger.emptyUntil(judge(bucket)),
  }
}
