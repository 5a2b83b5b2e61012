import type { Kysely } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'
import { boxes } from './boxes-table.ts'
import { deployments } from './deployments-table.ts'

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

const renewals: Migration = {
  async up(db: Kysely<unknown>) {
    // One column a statement: SQLite adds no more at once.
    const texts = ['posted', 'remote_address', 'steps_json'] as const
    for (const column of texts)
      await db.schema
        .alterTable('orders')
        .addColumn(column, 'text', (definition) => definition.notNull().defaultTo(column === 'steps_json' ? '[]' : ''))
        .execute()
    for (const column of ['order_url', 'replaced_serial'])
      await db.schema.alterTable('orders').addColumn(column, 'text').execute()
    for (const column of ['began_at_ms', 'resume_at_ms'] as const)
      await db.schema
        .alterTable('orders')
        .addColumn(column, 'bigint', (definition) => definition.notNull().defaultTo(0))
        .execute()
    await db.schema
      .createTable('order_stories')
      .addColumn('need', 'text', (column) => column.notNull())
      .addColumn('began_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('finished_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('issuer_key', 'text', (column) => column.notNull())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('names_json', 'text', (column) => column.notNull())
      .addColumn('order_url', 'text')
      .addColumn('outcome', 'text', (column) => column.notNull())
      .addColumn('serial', 'text')
      .addColumn('reason', 'text')
      .addColumn('steps_json', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('order_stories_key', ['need', 'began_at_ms'])
      .execute()
    await db.schema.createIndex('order_stories_url').on('order_stories').column('order_url').execute()
    await db.schema.createIndex('order_stories_finished').on('order_stories').column('finished_at_ms').execute()
    await db.schema
      .createTable('register')
      .addColumn('id', 'text', (column) => column.notNull().primaryKey())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('issuer', 'text', (column) => column.notNull())
      .addColumn('storage', 'text', (column) => column.notNull())
      .addColumn('profile', 'text')
      .addColumn('names_json', 'text', (column) => column.notNull())
      .addColumn('names_key', 'text', (column) => column.notNull())
      .addColumn('posted', 'text', (column) => column.notNull())
      .addColumn('remote_address', 'text', (column) => column.notNull())
      .addColumn('issued_by', 'text', (column) => column.notNull())
      .addColumn('serial', 'text', (column) => column.notNull())
      .addColumn('not_before_ms', 'bigint', (column) => column.notNull())
      .addColumn('not_after_ms', 'bigint', (column) => column.notNull())
      .addColumn('issued_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('asked_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('superseded_at_ms', 'bigint')
      .addColumn('revoked_at_ms', 'bigint')
      .addColumn('plan_json', 'text', (column) => column.notNull())
      .addColumn('wake_at_ms', 'bigint')
      .addColumn('last_error', 'text')
      .execute()
    await db.schema.createIndex('register_wake').on('register').column('wake_at_ms').execute()
    await db.schema.createIndex('register_end').on('register').columns(['not_after_ms', 'wake_at_ms']).execute()
    await db.schema.createIndex('register_names').on('register').columns(['names_key', 'block']).execute()
    await db.schema
      .createTable('outages')
      .addColumn('issuer_key', 'text', (column) => column.notNull().primaryKey())
      .addColumn('since_ms', 'bigint', (column) => column.notNull())
      .addColumn('failures', 'integer', (column) => column.notNull())
      .addColumn('until_ms', 'bigint', (column) => column.notNull())
      .addColumn('reason', 'text', (column) => column.notNull())
      .execute()
    await db.schema
      .createTable('rate_buckets')
      .addColumn('issuer_key', 'text', (column) => column.notNull())
      .addColumn('limit_name', 'text', (column) => column.notNull())
      .addColumn('subject', 'text', (column) => column.notNull())
      .addColumn('full_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('capacity', 'integer', (column) => column.notNull())
      .addColumn('period_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('rate_buckets_key', ['issuer_key', 'limit_name', 'subject'])
      .execute()
    await db.schema
      .createTable('blocked_keys')
      .addColumn('public_key_sha256', 'text', (column) => column.notNull().primaryKey())
      .addColumn('reason', 'text', (column) => column.notNull())
      .addColumn('blocked_at_ms', 'bigint', (column) => column.notNull())
      .execute()
    await db.schema
      .createTable('servers')
      .addColumn('holder', 'text', (column) => column.notNull().primaryKey())
      .addColumn('started_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('seen_at_ms', 'bigint', (column) => column.notNull())
      .execute()
  },
}

const zones: Migration = {
  async up(db: Kysely<unknown>) {
    for (const column of ['place', 'publisher'] as const)
      await db.schema.alterTable('answers').addColumn(column, 'text').execute()
    for (const column of ['place', 'publisher'] as const)
      await db.schema.createIndex(`answers_${column}`).on('answers').column(column).execute()
    await db.schema
      .createTable('dns_accounts')
      .addColumn('username', 'text', (column) => column.notNull().primaryKey())
      .addColumn('password_hash', 'text', (column) => column.notNull())
      .addColumn('full_name', 'text', (column) => column.notNull().unique())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('allow_from_json', 'text', (column) => column.notNull())
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .execute()
    await db.schema.createIndex('dns_accounts_block').on('dns_accounts').column('block').execute()
  },
}

const audit: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('audit_events')
      .addColumn('at_ms', 'bigint', (column) => column.notNull())
      .addColumn('kind', 'text', (column) => column.notNull())
      .addColumn('names_json', 'text', (column) => column.notNull())
      .addColumn('block', 'text')
      .addColumn('remote_address', 'text')
      .addColumn('facts_json', 'text', (column) => column.notNull())
      .execute()
    await db.schema.createIndex('audit_events_at').on('audit_events').column('at_ms').execute()
  },
}

const signatures: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('signature_nonces')
      .addColumn('key_id', 'text', (column) => column.notNull())
      .addColumn('nonce', 'text', (column) => column.notNull())
      .addColumn('forget_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('signature_nonces_key', ['key_id', 'nonce'])
      .execute()
    await db.schema.createIndex('signature_nonces_forget').on('signature_nonces').column('forget_at_ms').execute()
    await db.schema
      .createTable('enrolment_tokens')
      .addColumn('token_hash', 'text', (column) => column.notNull().primaryKey())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('label', 'text')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('used_by', 'text')
      .execute()
    await db.schema
      .createTable('enrolled_keys')
      .addColumn('key_id', 'text', (column) => column.notNull())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('spki_pem', 'text', (column) => column.notNull())
      .addColumn('label', 'text')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('revoked_at_ms', 'bigint')
      .addPrimaryKeyConstraint('enrolled_keys_key', ['key_id', 'block'])
      .execute()
  },
}

const boxRegistrations: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('box_registrations')
      .addColumn('name', 'text', (column) => column.notNull().primaryKey())
      .addColumn('block', 'text', (column) => column.notNull())
      .addColumn('recipient_pem', 'text', (column) => column.notNull())
      .addColumn('names_json', 'text', (column) => column.notNull())
      .addColumn('key_type', 'text', (column) => column.notNull())
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .execute()
  },
}

const gateway: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .alterTable('orders')
      .addColumn('unrecorded', 'integer', (column) => column.notNull().defaultTo(0))
      .execute()
    await db.schema
      .createTable('alias_keys')
      .addColumn('id', 'integer', (column) => column.notNull().primaryKey())
      .addColumn('key_base64', 'text', (column) => column.notNull())
      .addColumn('made_at_ms', 'bigint', (column) => column.notNull())
      .execute()
  },
}

const watched: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('register').addColumn('watched_at_ms', 'bigint').execute()
    await db.schema.createIndex('register_serial').on('register').column('serial').execute()
  },
}

/**
 * Every change of the schema; what was released is never edited, only followed. They are made in the order of their
 * names, so a new one's name must come after all others.
 */
export const migrations: MigrationProvider = {
  async getMigrations() {
    return {
      '2026-11-21 first': first,
      '2026-11-22 renewals': renewals,
      '2026-11-22 zones': zones,
      '2026-11-22.1 audit': audit,
      '2026-11-22.3 boxes': boxes,
      '2026-11-22.4 signatures': signatures,
      '2026-11-22.5 box registrations': boxRegistrations,
      '2026-11-22.6 gateway': gateway,
      '2026-11-22.7 deployments': deployments,
      '2026-11-22.8 watched': watched,
    }
  },
}
