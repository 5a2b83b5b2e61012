import { createHmac } from 'node:crypto'
import type { Kysely } from 'kysely'
import { type AliasOf, unknownAlias } from '../issuance/discretion.ts'
import type { Schema } from './schema.ts'

/** What stands for texts that must not be written down: HMAC-SHA-256 under a key that is made once for the state. */
export interface Aliases {
  /** undefined as long as nobody needed the key. */
  readonly current: AliasOf | undefined
  /** The same, for what is only said: without a key it says nothing. */
  readonly of: AliasOf
  /** Makes the key, unless there is one. @returns true when it was made just now */
  ensure(makeKey: () => Uint8Array, nowMs: number): Promise<boolean>
  /** Another server may have made it. */
  refresh(): Promise<void>
}

export const aliasPrefix = 'hmac:'

/** Enough that no two of a server's names ever meet. */
const aliasBytes = 15

export async function openAliases(db: Kysely<Schema>): Promise<Aliases> {
  let current: AliasOf | undefined

  async function refresh(): Promise<void> {
    if (current !== undefined) return
    const row = await db.selectFrom('alias_keys').select('key_base64').where('id', '=', 1).executeTakeFirst()
    if (row !== undefined) current = aliasesUnder(Buffer.from(row.key_base64, 'base64'))
  }

  await refresh()
  return {
    get current() {
      return current
    },
    of: (text) => (current ?? unknownAlias)(text),
    refresh,
    async ensure(makeKey, nowMs) {
      await refresh()
      if (current !== undefined) return false
      const row = { id: 1, key_base64: Buffer.from(makeKey()).toString('base64'), made_at_ms: Math.round(nowMs) }
      // Of several servers that start at once, one makes it.
      const made = await db
        .insertInto('alias_keys')
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst()
      await refresh()
      return made !== undefined
    },
  }
}

function aliasesUnder(key: Uint8Array): AliasOf {
  return (text) => {
    const digest = createHmac('sha256', key).update(text).digest()
    return `${aliasPrefix}${digest.subarray(0, aliasBytes).toString('base64url')}`
  }
}
