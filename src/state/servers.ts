import type { Kysely } from 'kysely'
import type { Schema } from './schema.ts'

/** Which servers run on this state: the command line leaves work to them where there is one. */
export type Servers = {
  note(holder: string, startedAtMs: number, nowMs: number): Promise<void>
  remove(holder: string): Promise<void>
  seenSince(sinceMs: number): Promise<string[]>
  removeUnseen(beforeMs: number): Promise<void>
}

export function storedServers(quick: Kysely<Schema>): Servers {
  return {
    async note(holder, startedAtMs, nowMs) {
      const row = { holder, started_at_ms: startedAtMs, seen_at_ms: nowMs }
      await quick
        .insertInto('servers')
        .values(row)
        .onConflict((conflict) => conflict.column('holder').doUpdateSet({ seen_at_ms: nowMs }))
        .execute()
    },
    async remove(holder) {
      await quick.deleteFrom('servers').where('holder', '=', holder).execute()
    },
    async seenSince(sinceMs) {
      const rows = await quick.selectFrom('servers').select('holder').where('seen_at_ms', '>=', sinceMs).execute()
      return rows.map(({ holder }) => holder)
    },
    async removeUnseen(beforeMs) {
      await quick.deleteFrom('servers').where('seen_at_ms', '<', beforeMs).execute()
    },
  }
}
