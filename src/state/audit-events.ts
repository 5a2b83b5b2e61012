import type { Kysely } from 'kysely'
import { likeName, readNames } from './order-records.ts'
import type { Schema } from './schema.ts'

/** What happened, who asked for it, and what there is to know about it: never a secret. */
export type AuditEvent = {
  readonly atMs: number
  /** Like `certificate.issued`. */
  readonly kind: string
  readonly names: readonly string[]
  readonly block: string | undefined
  /** Where it was asked; undefined for what this machine did by itself, or a person at it. */
  readonly remoteAddress: string | undefined
  readonly facts: Readonly<Record<string, string | number>>
}

/** Which events; all that is given must hold. */
export type AuditWish = { readonly sinceMs?: number; readonly kind?: string; readonly name?: string }

export interface AuditEvents {
  add(events: readonly AuditEvent[]): Promise<void>
  /** The newest first. */
  list(max: number, wish?: AuditWish): Promise<AuditEvent[]>
  removeOlder(beforeMs: number): Promise<void>
}

export function auditEvents(quick: Kysely<Schema>): AuditEvents {
  return {
    async add(events) {
      if (events.length === 0) return
      const rows = events.map(({ atMs, kind, names, block, remoteAddress, facts }) => ({
        at_ms: Math.round(atMs),
        kind,
        names_json: JSON.stringify(names),
        block: block ?? null,
        remote_address: remoteAddress ?? null,
        facts_json: JSON.stringify(facts),
      }))
      await quick.insertInto('audit_events').values(rows).execute()
    },
    async list(max, wish = {}) {
      let query = quick.selectFrom('audit_events').selectAll().orderBy('at_ms', 'desc').limit(max)
      if (wish.sinceMs !== undefined) query = query.where('at_ms', '>=', Math.round(wish.sinceMs))
      if (wish.kind !== undefined) query = query.where('kind', '=', wish.kind)
      if (wish.name !== undefined) query = query.where('names_json', 'like', likeName(wish.name))
      return (await query.execute()).map((row) => ({
        atMs: row.at_ms,
        kind: row.kind,
        names: readNames(row.names_json),
        block: row.block ?? undefined,
        remoteAddress: row.remote_address ?? undefined,
        facts: readFacts(row.facts_json),
      }))
    },
    async removeOlder(beforeMs) {
      await quick.deleteFrom('audit_events').where('at_ms', '<', beforeMs).execute()
    },
  }
}

function readFacts(json: string): Record<string, string | number> {
  const value: unknown = JSON.parse(json)
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return Object.fromEntries(entries.filter(([, fact]) => typeof fact === 'string' || typeof fact === 'number'))
}
