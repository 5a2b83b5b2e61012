import type { Kysely } from 'kysely'
import type { Outage, Outages } from '../issuance/records.ts'
import type { Schema } from './schema.ts'

export type StoredOutages = Outages & { list(): Promise<Outage[]> }

export function storedOutages(quick: Kysely<Schema>): StoredOutages {
  return {
    async find(issuerKey) {
      const row = await quick.selectFrom('outages').selectAll().where('issuer_key', '=', issuerKey).executeTakeFirst()
      return row === undefined ? undefined : outageOf(row)
    },
    async save({ issuerKey, sinceMs, failures, untilMs, reason }) {
      const row = {
        issuer_key: issuerKey,
        since_ms: Math.round(sinceMs),
        failures,
        until_ms: Math.round(untilMs),
        reason,
      }
      await quick
        .insertInto('outages')
        .values(row)
        .onConflict((conflict) => conflict.column('issuer_key').doUpdateSet(row))
        .execute()
    },
    async clear(issuerKey) {
      await quick.deleteFrom('outages').where('issuer_key', '=', issuerKey).execute()
    },
    async list() {
      return (await quick.selectFrom('outages').selectAll().execute()).map(outageOf)
    },
  }
}

function outageOf(row: Schema['outages']): Outage {
  return {
    issuerKey: row.issuer_key,
    sinceMs: row.since_ms,
    failures: row.failures,
    untilMs: row.until_ms,
    reason: row.reason,
  }
}
