import type { Kysely } from 'kysely'
import type { Schema } from './schema.ts'

/** An account of the update API, in acme-dns' sense: it may change the TXT records of one name. */
export type DnsAccount = {
  readonly username: string
  readonly passwordHash: string
  /** The owner name of its TXT records. */
  readonly fullName: string
  /** The auth block whose caller made it; without that block it is worth nothing. */
  readonly block: string
  /** Addresses and ranges it may be used from; empty for everywhere. */
  readonly allowFrom: readonly string[]
  readonly createdAtMs: number
}

export interface DnsAccounts {
  add(account: DnsAccount): Promise<void>
  find(username: string): Promise<DnsAccount | undefined>
  countOf(block: string): Promise<number>
}

export function dnsAccounts(db: Kysely<Schema>): DnsAccounts {
  return {
    async add({ username, passwordHash, fullName, block, allowFrom, createdAtMs }) {
      await db
        .insertInto('dns_accounts')
        .values({
          username,
          password_hash: passwordHash,
          full_name: fullName,
          block,
          allow_from_json: JSON.stringify(allowFrom),
          created_at_ms: createdAtMs,
        })
        .execute()
    },
    async find(username) {
      const row = await db.selectFrom('dns_accounts').selectAll().where('username', '=', username).executeTakeFirst()
      if (row === undefined) return undefined
      return {
        username: row.username,
        passwordHash: row.password_hash,
        fullName: row.full_name,
        block: row.block,
        allowFrom: JSON.parse(row.allow_from_json) as string[],
        createdAtMs: row.created_at_ms,
      }
    },
    async countOf(block) {
      const { count } = await db
        .selectFrom('dns_accounts')
        .select(({ fn }) => fn.countAll().as('count'))
        .where('block', '=', block)
        .executeTakeFirstOrThrow()
      return Number(count)
    },
  }
}
