import type { Kysely } from 'kysely'
import { readNames } from './order-records.ts'
import type { Schema } from './schema.ts'

/** A sealed box that a host asked for: its certificate is kept up like one of the configuration. */
export type BoxRegistration = {
  readonly name: string
  /** The auth block whose caller asked, and whose callers may fetch it. */
  readonly block: string
  readonly recipientPem: string
  /** As they are written in a configuration: names and addresses. */
  readonly names: readonly string[]
  readonly keyType: string
}

export interface BoxRegistrations {
  /**
   * Registers it, or changes what the same block registered before. Durable when resolved.
   * @returns `taken`: the name is another block's; `full`: the block has as many as it may
   */
  save(registration: BoxRegistration, maxOfBlock: number): Promise<'saved' | 'taken' | 'full'>
  list(): Promise<BoxRegistration[]>
  /** @returns whether there was one */
  remove(name: string): Promise<boolean>
}

export function boxRegistrations(db: Kysely<Schema>, nowMs: () => number): BoxRegistrations {
  return {
    async save(registration, maxOfBlock) {
      const row = { ...rowOf(registration), updated_at_ms: nowMs() }
      const { count } = await db
        .selectFrom('box_registrations')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .where('block', '=', registration.block)
        .where('name', '!=', registration.name)
        .executeTakeFirstOrThrow()
      if (Number(count) >= maxOfBlock) return 'full'
      const saved = await db
        .insertInto('box_registrations')
        .values(row)
        .onConflict((conflict) =>
          conflict.column('name').doUpdateSet(row).where('box_registrations.block', '=', registration.block),
        )
        .returning('name')
        .execute()
      return saved.length === 0 ? 'taken' : 'saved'
    },
    async list() {
      const rows = await db.selectFrom('box_registrations').selectAll().orderBy('name').execute()
      return rows.map((row) => ({
        name: row.name,
        block: row.block,
        recipientPem: row.recipient_pem,
        names: readNames(row.names_json),
        keyType: row.key_type,
      }))
    },
    async remove(name) {
      const removed = await db.deleteFrom('box_registrations').where('name', '=', name).returning('name').execute()
      return removed.length > 0
    },
  }
}

function rowOf({ name, block, recipientPem, names, keyType }: BoxRegistration) {
  return { name, block, recipient_pem: recipientPem, names_json: JSON.stringify(names), key_type: keyType }
}
