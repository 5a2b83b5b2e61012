import type { Kysely } from 'kysely'
import { isJsonObject } from '../acme/json-object.ts'
import { LeaseLostError, type Need, type OrderRecords, type OrderStep, unclaimedMs } from '../issuance/records.ts'
import type { Progress } from '../plugin-api.ts'
import type { Schema } from './schema.ts'

/** The same records, with what only a start needs: to let go of what a dead process holds. */
export type StoredOrders = OrderRecords & {
  holders(): Promise<string[]>
  releaseHolder(holder: string): Promise<void>
}

/**
 * @param quick for what a power failure may take back: an end that is forgotten is found again at the next claim
 * @param unrecordedEnded what is deleted is to be overwritten, too
 */
export function orderRecords(db: Kysely<Schema>, quick: Kysely<Schema>, unrecordedEnded: () => void): StoredOrders {
  // Nine times for each certificate: compiled once, as building it takes longer than running it.
  const save = quick
    .updateTable('orders')
    .set({ progress_json: '', order_url: '', steps_json: '', lease_until_ms: 0, updated_at_ms: 0 })
    .where('need', '=', '')
    .where('holder', '=', '')
    .compile()

  return {
    async claim(need, holder, nowMs, leaseUntilMs) {
      // Who is not recorded and not coming back is forgotten, not gone on with.
      const resumeAtMs = need.unrecorded === true ? nowMs + unclaimedMs : undefined
      const row = {
        need: need.id,
        issuer_key: need.issuerKey,
        block: need.block,
        names_json: JSON.stringify(need.names),
        posted: encodePosted(need.postedBytes),
        remote_address: need.remoteAddress,
        progress_json: null,
        replaced_serial: need.replacedSerial ?? null,
        order_url: null,
        steps_json: '[]',
        attempts: 1,
        holder,
        lease_until_ms: leaseUntilMs,
        updated_at_ms: nowMs,
        began_at_ms: nowMs,
        resume_at_ms: resumeAtMs ?? 0,
        unrecorded: need.unrecorded === true ? 1 : 0,
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
              ...(resumeAtMs === undefined ? {} : { resume_at_ms: resumeAtMs }),
            }))
            .where('orders.lease_until_ms', '<=', nowMs),
        )
        .returning(['progress_json', 'order_url', 'steps_json', 'attempts', 'began_at_ms'])
        .executeTakeFirst()
      if (claimed === undefined) return undefined
      return {
        need,
        progress: readProgress(claimed.progress_json),
        orderUrl: claimed.order_url ?? undefined,
        steps: readSteps(claimed.steps_json),
        attempts: claimed.attempts,
        beganAtMs: claimed.began_at_ms,
      }
    },
    async save(needId, holder, { progress, orderUrl, steps, recoverable }, nowMs, leaseUntilMs) {
      const values = [JSON.stringify(progress), orderUrl ?? null, JSON.stringify(steps), leaseUntilMs, nowMs]
      const { numAffectedRows } = await (recoverable ? quick : db).executeQuery({
        ...save,
        parameters: [...values, needId, holder],
      })
      if (numAffectedRows === 0n) throw new LeaseLostError('the lease on the order was lost')
    },
    async lengthen(needId, holder, leaseUntilMs) {
      const result = await quick
        .updateTable('orders')
        .set({ lease_until_ms: leaseUntilMs })
        .where('need', '=', needId)
        .where('holder', '=', holder)
        .executeTakeFirst()
      if (result.numUpdatedRows === 0n) throw new LeaseLostError('the lease on the order was lost')
    },
    async finish({ need, orderUrl, steps, beganAtMs }, holder, { outcome, serial, reason }, nowMs) {
      if (need.unrecorded === true) {
        await quick.deleteFrom('orders').where('need', '=', need.id).where('holder', '=', holder).execute()
        return unrecordedEnded()
      }
      const row = {
        need: need.id,
        began_at_ms: beganAtMs,
        finished_at_ms: nowMs,
        issuer_key: need.issuerKey,
        block: need.block,
        names_json: JSON.stringify(need.names),
        order_url: orderUrl ?? null,
        outcome,
        serial: serial ?? null,
        reason: reason ?? null,
        steps_json: JSON.stringify(steps),
      }
      // The story first: after a crash between the two it is written once more, under the same key.
      await quick
        .insertInto('order_stories')
        .values(row)
        .onConflict((conflict) => conflict.columns(['need', 'began_at_ms']).doUpdateSet(row))
        .execute()
      await quick.deleteFrom('orders').where('need', '=', need.id).where('holder', '=', holder).execute()
    },
    async release(needId, holder, steps, nowMs, resumeAtMs) {
      await quick
        .updateTable('orders')
        .set({
          holder: null,
          lease_until_ms: 0,
          updated_at_ms: nowMs,
          resume_at_ms: Math.round(resumeAtMs),
          steps_json: JSON.stringify(steps),
        })
        .where('need', '=', needId)
        .where('holder', '=', holder)
        .execute()
    },
    async postpone(needId, nowMs, resumeAtMs) {
      await quick
        .updateTable('orders')
        .set({ resume_at_ms: Math.round(resumeAtMs) })
        .where('need', '=', needId)
        .where('lease_until_ms', '<=', nowMs)
        .execute()
    },
    async isOrderInUse(orderUrl, needId) {
      const row = await quick
        .selectFrom('orders')
        .select('need')
        .where('order_url', '=', orderUrl)
        .where('need', '<>', needId)
        .executeTakeFirst()
      if (row !== undefined) return true
      // What is over cannot be the one that was lost: asking the CA about each would make the search ever longer.
      const story = await quick
        .selectFrom('order_stories')
        .select('need')
        .where('order_url', '=', orderUrl)
        .executeTakeFirst()
      return story !== undefined
    },
    async unattended(nowMs, max) {
      const rows = await quick
        .selectFrom('orders')
        .selectAll()
        .where('lease_until_ms', '<=', nowMs)
        .where((eb) =>
          eb.or([
            eb('resume_at_ms', '<=', nowMs),
            // Only a clock that ran ahead can have made it so late.
            eb.and([eb('unrecorded', '=', 1), eb('resume_at_ms', '>', nowMs + 2 * unclaimedMs)]),
          ]),
        )
        .orderBy('updated_at_ms')
        .limit(max)
        .execute()
      return rows.map(
        (row): Need => ({
          id: row.need,
          issuerKey: row.issuer_key,
          names: readNames(row.names_json),
          block: row.block,
          postedBytes: decodePosted(row.posted),
          remoteAddress: row.remote_address,
          ...(row.replaced_serial === null ? {} : { replacedSerial: row.replaced_serial }),
          ...(row.unrecorded === 1 ? { unrecorded: true } : {}),
        }),
      )
    },
    async isUnattended(needId, nowMs) {
      const row = await quick
        .selectFrom('orders')
        .select('need')
        .where('need', '=', needId)
        .where('lease_until_ms', '<=', nowMs)
        .where('resume_at_ms', '<=', nowMs)
        .executeTakeFirst()
      return row !== undefined
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

export function encodePosted(postedBytes: Uint8Array): string {
  return Buffer.from(postedBytes.buffer, postedBytes.byteOffset, postedBytes.byteLength).toString('base64')
}

export function decodePosted(text: string): Uint8Array {
  return Buffer.from(text, 'base64')
}

export function readNames(text: string): string[] {
  const value: unknown = JSON.parse(text)
  return Array.isArray(value) ? value.filter((name) => typeof name === 'string') : []
}

/** For `like` on a column of names; finds a little too much, because `_` and `%` match others. */
export function likeName(name: string): string {
  return `%${JSON.stringify(name)}%`
}

export function readSteps(text: string): OrderStep[] {
  const value: unknown = JSON.parse(text)
  if (!Array.isArray(value)) return []
  return value.flatMap((step: unknown) =>
    isJsonObject(step) && typeof step.atMs === 'number' && typeof step.note === 'string'
      ? [{ atMs: step.atMs, note: step.note }]
      : [],
  )
}

function readProgress(text: string | null): Progress | undefined {
  if (text === null) return undefined
  const value: unknown = JSON.parse(text)
  return isJsonObject(value) ? value : undefined
}
