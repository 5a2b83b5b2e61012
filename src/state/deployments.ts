import type { Kysely, Selectable } from 'kysely'
import { namesKey } from './certificate-register.ts'
import type { PickUpsTable, SightingsTable } from './deployments-table.ts'
import { readNames } from './order-records.ts'
import type { Schema } from './schema.ts'

/** What a deployment is of: a block's certificate for these names, whichever that is at the moment. */
export type Subject = { readonly block: string; readonly names: readonly string[] }

/** A host fetched this certificate. */
export type PickUp = Subject & {
  /** The address that it came from. */
  readonly client: string
  readonly serial: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** The first time. */
  readonly atMs: number
}

/** It is to be looked whether what was picked up is served; so often it was not. */
export type DuePickUp = PickUp & { readonly failures: number }

/** What was seen at a place last. */
export type Sighting = {
  readonly place: string
  /** Of the certificate that ought to be served. */
  readonly serial: string
  readonly verdict: string
  readonly servedSerial?: string
  readonly servedUntilMs?: number
  readonly reason?: string
  /** It has been so since. */
  readonly sinceMs: number
  readonly seenAtMs: number
  readonly failures: number
  /** That it is wrong was told. */
  readonly told: boolean
}

/** Who picked up what, and what is served. All of it may be lost: it is seen again. */
export interface Deployments {
  /** The first time of a host and a serial counts. What the host had before is not looked at any more. */
  notePickUp(pickUp: PickUp, lookAtMs: number | undefined): Promise<void>
  /** The latest first. */
  pickUpsOf(subject: Subject): Promise<PickUp[]>
  /** Of several servers one gets it; the others see it at `untilMs` again. */
  takeDue(nowMs: number, untilMs: number, max: number): Promise<DuePickUp[]>
  /** What was picked up before it was looked at: whichever is good still. */
  wakePickUps(blocks: ReadonlySet<string>, nowMs: number): Promise<void>
  lookAgain(pickUp: PickUp, lookAtMs: number | undefined, failures: number): Promise<void>
  findSighting(subject: Subject, place: string): Promise<Sighting | undefined>
  saveSighting(subject: Subject, sighting: Sighting): Promise<void>
  sightingsOf(subject: Subject): Promise<Sighting[]>
  /** By `subjectKey`. */
  allSightings(): Promise<Map<string, Sighting[]>>
  /** Forgets what was seen for blocks that nobody looks at any more. */
  keepSightingsOf(blocks: ReadonlySet<string>): Promise<void>
  removeOld(nowMs: number): Promise<void>
}

const dayMs = 24 * 3_600_000
const endedKeptMs = 30 * dayMs
const sightingsKeptMs = 60 * dayMs
const maxClients = 1000
const maxPickUps = 200_000

export function subjectKey({ block, names }: Subject): string {
  return `${block}\n${namesKey(names)}`
}

/** @param quick a power failure may take what was written last */
export function storedDeployments(quick: Kysely<Schema>): Deployments {
  const pickUpsWhere = ({ block, names }: Subject) =>
    quick.selectFrom('pick_ups').selectAll().where('block', '=', block).where('names_key', '=', namesKey(names))
  const sightingsWhere = ({ block, names }: Subject) =>
    quick.selectFrom('sightings').selectAll().where('block', '=', block).where('names_key', '=', namesKey(names))
  const updatePickUp = (key: Pick<PickUpsTable, 'block' | 'names_key' | 'client' | 'serial'>) =>
    quick
      .updateTable('pick_ups')
      .where('block', '=', key.block)
      .where('names_key', '=', key.names_key)
      .where('client', '=', key.client)
      .where('serial', '=', key.serial)

  return {
    async notePickUp(pickUp, lookAtMs) {
      const row = rowOf(pickUp, lookAtMs)
      const { n } = await quick
        .selectFrom('pick_ups')
        .select((eb) => eb.fn.countAll().as('n'))
        .where('block', '=', row.block)
        .where('names_key', '=', row.names_key)
        .where('serial', '=', row.serial)
        .executeTakeFirstOrThrow()
      if (Number(n) >= maxClients) return
      const result = await quick
        .insertInto('pick_ups')
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst()
      if ((result.numInsertedOrUpdatedRows ?? 0n) === 0n) return
      await quick
        .updateTable('pick_ups')
        .set({ look_at_ms: null })
        .where('block', '=', row.block)
        .where('names_key', '=', row.names_key)
        .where('client', '=', row.client)
        .where('serial', '<>', row.serial)
        .where('not_before_ms', '<=', row.not_before_ms)
        .execute()
    },
    async pickUpsOf(subject) {
      const rows = await pickUpsWhere(subject).orderBy('picked_up_at_ms', 'desc').limit(maxClients).execute()
      return rows.map(pickUpOf)
    },
    async takeDue(nowMs, untilMs, max) {
      const rows = await quick
        .selectFrom('pick_ups')
        .selectAll()
        .where('look_at_ms', '<=', nowMs)
        .orderBy('look_at_ms')
        .limit(max)
        .execute()
      const taken: DuePickUp[] = []
      for (const row of rows) {
        const result = await updatePickUp(row)
          .set({ look_at_ms: untilMs })
          .where('look_at_ms', '=', row.look_at_ms)
          .executeTakeFirst()
        if (result.numUpdatedRows > 0n) taken.push({ ...pickUpOf(row), failures: row.failures })
      }
      return taken
    },
    async wakePickUps(blocks, nowMs) {
      for (const block of blocks)
        await quick
          .updateTable('pick_ups')
          .set({ look_at_ms: nowMs })
          .where('block', '=', block)
          .where('look_at_ms', 'is', null)
          .where('not_after_ms', '>', nowMs)
          .execute()
    },
    async lookAgain(pickUp, lookAtMs, failures) {
      await updatePickUp({ ...pickUp, names_key: namesKey(pickUp.names) })
        .set({ look_at_ms: lookAtMs ?? null, failures })
        // A newer one was picked up meanwhile: this one is not looked at any more.
        .where('look_at_ms', 'is not', null)
        .execute()
    },
    async findSighting(subject, place) {
      const row = await sightingsWhere(subject).where('place', '=', place).executeTakeFirst()
      return row === undefined ? undefined : sightingOf(row)
    },
    async saveSighting({ block, names }, sighting) {
      const row: SightingsTable = {
        block,
        names_key: namesKey(names),
        place: sighting.place,
        serial: sighting.serial,
        verdict: sighting.verdict,
        served_serial: sighting.servedSerial ?? null,
        served_until_ms: sighting.servedUntilMs ?? null,
        reason: sighting.reason ?? null,
        since_ms: sighting.sinceMs,
        seen_at_ms: sighting.seenAtMs,
        failures: sighting.failures,
        told: sighting.told ? 1 : 0,
      }
      await quick
        .insertInto('sightings')
        .values(row)
        .onConflict((conflict) => conflict.columns(['block', 'names_key', 'place']).doUpdateSet(row))
        .execute()
    },
    async sightingsOf(subject) {
      return (await sightingsWhere(subject).orderBy('place').execute()).map(sightingOf)
    },
    async allSightings() {
      const rows = await quick.selectFrom('sightings').selectAll().orderBy('place').execute()
      const groups = Map.groupBy(rows, ({ block, names_key }) => `${block}\n${names_key}`)
      return new Map([...groups].map(([key, list]) => [key, list.map(sightingOf)]))
    },
    async keepSightingsOf(blocks) {
      const rows = await quick.selectFrom('sightings').select('block').distinct().execute()
      for (const { block } of rows)
        if (!blocks.has(block)) await quick.deleteFrom('sightings').where('block', '=', block).execute()
    },
    async removeOld(nowMs) {
      await quick
        .deleteFrom('pick_ups')
        .where('not_after_ms', '<', nowMs - endedKeptMs)
        .execute()
      await quick
        .deleteFrom('sightings')
        .where('seen_at_ms', '<', nowMs - sightingsKeptMs)
        .execute()
      const { n } = await quick
        .selectFrom('pick_ups')
        .select((eb) => eb.fn.countAll().as('n'))
        .executeTakeFirstOrThrow()
      if (Number(n) <= maxPickUps) return
      const last = await quick
        .selectFrom('pick_ups')
        .select('picked_up_at_ms')
        .orderBy('picked_up_at_ms', 'desc')
        .offset(maxPickUps)
        .limit(1)
        .executeTakeFirst()
      if (last !== undefined)
        await quick.deleteFrom('pick_ups').where('picked_up_at_ms', '<=', last.picked_up_at_ms).execute()
    },
  }
}

function rowOf(pickUp: PickUp, lookAtMs: number | undefined): PickUpsTable {
  return {
    block: pickUp.block,
    names_key: namesKey(pickUp.names),
    client: pickUp.client,
    serial: pickUp.serial,
    names_json: JSON.stringify(pickUp.names),
    not_before_ms: pickUp.notBeforeMs,
    not_after_ms: pickUp.notAfterMs,
    picked_up_at_ms: pickUp.atMs,
    look_at_ms: lookAtMs ?? null,
    failures: 0,
  }
}

function pickUpOf(row: Selectable<PickUpsTable>): PickUp {
  return {
    block: row.block,
    names: readNames(row.names_json),
    client: row.client,
    serial: row.serial,
    notBeforeMs: row.not_before_ms,
    notAfterMs: row.not_after_ms,
    atMs: row.picked_up_at_ms,
  }
}

function sightingOf(row: Selectable<SightingsTable>): Sighting {
  return {
    place: row.place,
    serial: row.serial,
    verdict: row.verdict,
    ...(row.served_serial === null ? {} : { servedSerial: row.served_serial }),
    ...(row.served_until_ms === null ? {} : { servedUntilMs: row.served_until_ms }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    sinceMs: row.since_ms,
    seenAtMs: row.seen_at_ms,
    failures: row.failures,
    told: row.told === 1,
  }
}
