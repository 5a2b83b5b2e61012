import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Who picked up which certificate; the names' key as in the register. */
export type PickUpsTable = {
  block: string
  names_key: string
  client: string
  serial: string
  names_json: string
  not_before_ms: number
  not_after_ms: number
  picked_up_at_ms: number
  /** When it is looked whether it is served; null: not at all. */
  look_at_ms: number | null
  failures: number
}

/** What was seen where it ought to be served. */
export type SightingsTable = {
  block: string
  names_key: string
  place: string
  /** Of the certificate that ought to be served. */
  serial: string
  verdict: string
  served_serial: string | null
  served_until_ms: number | null
  reason: string | null
  since_ms: number
  seen_at_ms: number
  failures: number
  /** 1: whoever is to know was told that it is wrong. */
  told: number
}

export const deployments: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('pick_ups')
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('names_key', 'text', (column) => column.notNull())
      .addColumn('client', 'text', (column) => column.notNull())
      .addColumn('serial', 'text', (column) => column.notNull())
      .addColumn('names_json', 'text', (column) => column.notNull())
      .addColumn('not_before_ms', 'bigint', (column) => column.notNull())
      .addColumn('not_after_ms', 'bigint', (column) => column.notNull())
      .addColumn('picked_up_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('look_at_ms', 'bigint')
      .addColumn('failures', 'integer', (column) => column.notNull())
      .addPrimaryKeyConstraint('pick_ups_key', ['block', 'names_key', 'client', 'serial'])
      .execute()
    await db.schema.createIndex('pick_ups_look').on('pick_ups').column('look_at_ms').execute()
    await db.schema.createIndex('pick_ups_end').on('pick_ups').column('not_after_ms').execute()
    await db.schema
      .createTable('sightings')
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('names_key', 'text', (column) => column.notNull())
      .addColumn('place', 'text', (column) => column.notNull())
      .addColumn('serial', 'text', (column) => column.notNull())
      .addColumn('verdict', 'text', (column) => column.notNull())
      .addColumn('served_serial', 'text')
      .addColumn('served_until_ms', 'bigint')
      .addColumn('reason', 'text')
      .addColumn('since_ms', 'bigint', (column) => column.notNull())
      .addColumn('seen_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('failures', 'integer', (column) => column.notNull())
      .addColumn('told', 'integer', (column) => column.notNull())
      .addPrimaryKeyConstraint('sightings_key', ['block', 'names_key', 'place'])
      .execute()
  },
}
