import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Sealed boxes, at two stages by name: `begun`, its certificate being ordered, and `ready`, to be fetched. */
export type BoxesTable = {
  name: string
  stage: 'begun' | 'ready'
  block: string
  recipient_spki_pem: string
  sealed_key_pem: string
  csr_pem: string
  chain_pem: string | null
  updated_at_ms: number
}

export const boxes: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('boxes')
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('stage', 'text', (column) => column.notNull())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('recipient_spki_pem', 'text', (column) => column.notNull())
      .addColumn('sealed_key_pem', 'text', (column) => column.notNull())
      .addColumn('csr_pem', 'text', (column) => column.notNull())
      .addColumn('chain_pem', 'text')
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('boxes_key', ['name', 'stage'])
      .execute()
  },
}
