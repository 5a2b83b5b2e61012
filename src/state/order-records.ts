import type { Kysely } from 'kysely'
import { isJsonObject } from '../acme/json-object.ts'
import { LeaseLostError, type OrderRecords } from '../issuance/records.ts'
import type { Progress } from '../plugin-api.ts'
import type { Schema } from './schema.ts'

/** The same records, with what only a start needs: to let go of what a dead process holds. */
export type StoredOrders = OrderRecords & {
  holders(): Promise<string[]>
  releaseHolder(holder: string): Promise<void>
}

/** @param quick for what a power failure may take back: an end that is forgotten is found again at the next claim */
export function orderRecords(db: Kysely<Schema>, quick: Kysely<Schema>): StoredOrders {
  return {
    async claim(need, holder, nowMs, leaseUntilMs) {
      const row = {
        need: need.id,
        issuer_key: need.issuerKey,
        block: need.block,
        names_json: JSON.stringify(need.names),
        progress_json: null,
        attempts: 1,
        holder,
        lease_until_ms: leaseUntilMs,
        updated_at_ms: nowMs,
      }
      // One statement, so that of two claims at once one finds the other's lease.
      const claimed = await quick
        .insertInto('orders')
        .values(row)
        .onConflict((conflict) =>
          conflict
            .column('need')
            .doUpdateSet((eb) => ({
              holder,
              lease_until_ms: leaseUntilMs,
              updated_at_ms: nowMs,
              attempts: eb('orders.attempts', '+', 1),
            }))
            .where('orders.lease_until_ms', '<=', nowMs),
        )
        .returning(['progress_json', 'attempts'])
        .executeTakeFirst()
      if (claimed === undefined) return undefined
      return { need, progress: readProgress(claimed.progress_json), attempts: claimed.attempts }
    },
    async save(needId, holder, progress, nowMs, leaseUntilMs, recoverable = false) {
      const result = await (recoverable ? quick : db)
        .updateTable('orders')
        .set({ progress_json: JSON.stringify(progress), lease_until_ms: leaseUntilMs, updated_at_ms: nowMs })
        .where('need', '=', needId)
        .where('holder', '=', holder)
        .executeTakeFirst()
      if (result.numUpdatedRows === 0n) throw new LeaseLostError('the lease on the order was lost')
    },
    async finish(needId, holder) {
      await quick.deleteFrom('orders').where('need', '=', needId).where('holder', '=', holder).execute()
    },
    async release(needId, holder, nowMs) {
      await quick
        .updateTable('orders')
        .set({ holder: null, lease_until_ms: 0, updated_at_ms: nowMs })
        .where('need', '=', needId)
        .where('holder', '=', holder)
        .execute()
    },
    async holders() {
      const rows = await db.selectFrom('orders').select('holder').distinct().where('holder', 'is not', null).execute()
      return rows.map(({ holder }) => holder ?? '')
    },
    async releaseHolder(holder) {
      await db.updateTable('orders').set({ holder: null, lease_until_ms: 0 }).where('holder', '=', holder).execute()
    },
  }
}

function readProgress(text: string | null): Progress | undefined {
  if (text === null) return undefined
  const value: unknown = JSON.parse(text)
  return isJsonObject(value) ? value : undefined
}
