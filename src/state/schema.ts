import type { Kysely } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'

/** Times are integers, milliseconds since 1970; texts that are JSON end in `_json`. The same on every database. */
export type Schema = {
  answers: { type: string; token: string; host: string; key_authorization: string; expires_at_ms: number }
  certificates: { csr_sha256: string; issuer_key: string; profile: string; chain_pem: string; kept_at_ms: number }
  orders: {
    need: string
    issuer_key: string
    block: string
    names_json: string
    progress_json: string | null
    attempts: number
    holder: string | null
    lease_until_ms: number
    updated_at_ms: number
  }
}

const first: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('answers')
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('token', 'text', (column) => column.notNull())
      .addColumn('host', 'text', (column) => column.notNull())
      .addColumn('key_authorization', 'text', (column) => column.notNull())
      .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('answers_key', ['type', 'token', 'host'])
      .execute()
    await db.schema
      .createTable('certificates')
      .addColumn('csr_sha256', 'text', (column) => column.notNull())
      .addColumn('issuer_key', 'text', (column) => column.notNull())
      .addColumn('profile', 'text', (column) => column.notNull())
      .addColumn('chain_pem', 'text', (column) => column.notNull())
      .addColumn('kept_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('certificates_key', ['csr_sha256', 'issuer_key', 'profile'])
      .execute()
    await db.schema
      .createTable('orders')
      .addColumn('need', 'text', (column) => column.notNull().primaryKey())
      .addColumn('issuer_key', 'text', (column) => column.notNull())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('names_json', 'text', (column) => column.notNull())
      .addColumn('progress_json', 'text')
      .addColumn('attempts', 'integer', (column) => column.notNull())
      .addColumn('holder', 'text')
      .addColumn('lease_until_ms', 'bigint', (column) => column.notNull())
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .execute()
  },
}

/** Every change of the schema, in order; what was released is never edited, only followed. */
export const migrations: MigrationProvider = {
  async getMigrations() {
    return { '2026-11-21 first': first }
  },
}
