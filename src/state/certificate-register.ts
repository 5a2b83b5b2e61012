import { createHash } from 'node:crypto'
import type { Kysely, Selectable } from 'kysely'
import type { CertificateRegister, RegisterEntry, WatchedCertificates } from '../issuance/records.ts'
import { type RenewalPlan, wakeAtMs } from '../issuance/renewal-plan.ts'
import { decodePosted, encodePosted, readNames } from './order-records.ts'
import type { Schema } from './schema.ts'

/** An entry with when it is looked at next; undefined: nothing is to be done for it. */
export type StoredEntry = RegisterEntry & { readonly wakeAtMs: number | undefined }

/** The register, with what the command line asks of it. */
export type StoredRegister = CertificateRegister &
  WatchedCertificates & {
    /** The nearest end first. */
    list(max: number): Promise<RegisterEntry[]>
    /** What is good of this block for these names, the newest first. */
    findCurrent(block: string, names: readonly string[], nowMs: number): Promise<RegisterEntry[]>
    /** The same in parts: what comes after this one. */
    page(after: Pick<RegisterEntry, 'id' | 'notAfterMs'> | undefined, max: number): Promise<StoredEntry[]>
    /** By one of the names, or by how the id or the serial begins (hexadecimal). */
    search(wish: { readonly name: string } | { readonly hexPrefix: string }, max: number): Promise<StoredEntry[]>
    /** The operator wants it renewed now, whatever failed before. false: it is not in the register. */
    askRenewal(id: string, nowMs: number): Promise<boolean>
    revoke(id: string, nowMs: number): Promise<void>
    blockKey(publicKeyHash: string, reason: string, nowMs: number): Promise<void>
    isKeyBlocked(publicKeyHash: string): Promise<boolean>
    /** Nothing sleeps for longer than a day; what does was put to sleep by a clock that ran ahead. */
    wakeOversleepers(nowMs: number): Promise<void>
    /** Forgets what ended before and nobody asks for. @returns how many */
    removeEnded(beforeMs: number): Promise<number>
  }

const longestSleepMs = 25 * 3_600_000
const maxSortedHere = 1000

/** @param quick a power failure may take entries: they come back when a host asks again */
export function certificateRegister(quick: Kysely<Schema>): StoredRegister {
  /**
   * What is due, the nearest end first. Little is mostly due, and is sorted here; after a long pause everything is,
   * and is read in the order of its ends. Either way the database looks at few rows: it holds up everybody meanwhile.
   */
  async function nearestEnds(nowMs: number, max: number): Promise<Selectable<Schema['register']>[]> {
    const few = await quick
      .selectFrom('register')
      .select(['id', 'not_after_ms'])
      .where('wake_at_ms', '<=', nowMs)
      .orderBy('wake_at_ms')
      .limit(maxSortedHere + 1)
      .execute()
    if (few.length === 0 || max <= 0) return []
    const all = quick.selectFrom('register').selectAll()
    if (few.length > maxSortedHere)
      return await all.where('wake_at_ms', '<=', nowMs).orderBy('not_after_ms').limit(max).execute()
    const ids = few
      .sort((left, right) => left.not_after_ms - right.not_after_ms)
      .slice(0, max)
      .map(({ id }) => id)
    // Another server may have taken some of them since.
    return await all.where('id', 'in', ids).where('wake_at_ms', '<=', nowMs).orderBy('not_after_ms').execute()
  }

  return {
    async record(entry, supersedes) {
      const row = rowOf(entry)
      await quick
        .insertInto('register')
        .values(row)
        .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
        .execute()
      if (!supersedes) return
      await quick
        .updateTable('register')
        .set({ superseded_at_ms: entry.issuedAtMs })
        .where('names_key', '=', row.names_key)
        .where('block', '=', entry.block)
        .where('id', '<>', entry.id)
        .where('superseded_at_ms', 'is', null)
        .execute()
    },
    async noteAsked(id, nowMs) {
      // What nobody used was put to sleep; it is looked at again now.
      const result = await quick
        .updateTable('register')
        .set((eb) => ({
          // A clock that ran ahead when it was issued must not make it look unused.
          asked_at_ms: eb.case().when('issued_at_ms', '>', nowMs).then(eb.ref('issued_at_ms')).else(nowMs).end(),
          wake_at_ms: eb.fn.coalesce('wake_at_ms', eb.val(0)),
        }))
        .where('id', '=', id)
        .executeTakeFirst()
      return result.numUpdatedRows > 0n
    },
    async find(id) {
      const row = await quick.selectFrom('register').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : entryOf(row)
    },
    async findBySerial(serial) {
      // The same one can be there for two requests, one of them the issuer's own idea of it: the newest says most.
      const row = await quick
        .selectFrom('register')
        .selectAll()
        .where('serial', '=', serial)
        .orderBy('issued_at_ms', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row === undefined ? undefined : entryOf(row)
    },
    async noteWatched(id, nowMs) {
      await quick.updateTable('register').set({ watched_at_ms: nowMs }).where('id', '=', id).execute()
    },
    async savePlan(id, plan, wakeMs, lastError) {
      await quick
        .updateTable('register')
        .set({
          ...(plan === undefined ? {} : { plan_json: JSON.stringify(plan) }),
          wake_at_ms: wakeMs === undefined ? null : Math.round(wakeMs),
          ...(lastError === undefined ? {} : { last_error: lastError }),
        })
        .where('id', '=', id)
        .execute()
    },
    async takeDue(nowMs, untilMs, max) {
      const rows = await nearestEnds(nowMs, max)
      const taken: RegisterEntry[] = []
      for (const row of rows) {
        // Of several servers that saw it one changes it, and has it.
        const result = await quick
          .updateTable('register')
          .set({ wake_at_ms: untilMs })
          .where('id', '=', row.id)
          .where('wake_at_ms', '=', row.wake_at_ms)
          .executeTakeFirst()
        if (result.numUpdatedRows > 0n) taken.push(entryOf(row))
      }
      return taken
    },
    async list(max) {
      const rows = await quick
        .selectFrom('register')
        .selectAll()
        .orderBy('not_after_ms')
        .orderBy('id')
        .limit(max)
        .execute()
      return rows.map(entryOf)
    },
    async findCurrent(block, names, nowMs) {
      const rows = await quick
        .selectFrom('register')
        .selectAll()
        .where('names_key', '=', namesKey(names))
        .where('block', '=', block)
        .where('revoked_at_ms', 'is', null)
        .where('not_after_ms', '>', nowMs)
        .orderBy('issued_at_ms', 'desc')
        .execute()
      return rows.map(entryOf)
    },
    async page(after, max) {
      let query = quick.selectFrom('register').selectAll()
      if (after !== undefined) {
        query = query.where((eb) =>
          eb.or([
            eb('not_after_ms', '>', after.notAfterMs),
            eb.and([eb('not_after_ms', '=', after.notAfterMs), eb('id', '>', after.id)]),
          ]),
        )
      }
      return (await query.orderBy('not_after_ms').orderBy('id').limit(max).execute()).map(storedEntryOf)
    },
    async search(wish, max) {
      const query = quick.selectFrom('register').selectAll().orderBy('not_after_ms').orderBy('id')
      if ('name' in wish) {
        // `_` and `%` match too much here: what is left is compared below.
        const rows = await query.where('names_json', 'like', `%${JSON.stringify(wish.name)}%`).execute()
        return rows
          .map(storedEntryOf)
          .filter(({ names }) => names.includes(wish.name))
          .slice(0, max)
      }
      if (!/^[0-9a-f]+$/i.test(wish.hexPrefix)) return []
      const [id, serial] = [wish.hexPrefix.toLowerCase(), wish.hexPrefix.toUpperCase()]
      const rows = await query
        .where((eb) => eb.or([eb('id', 'like', `${id}%`), eb('serial', 'like', `${serial}%`)]))
        .limit(max)
        .execute()
      return rows.map(storedEntryOf)
    },
    async askRenewal(id, nowMs) {
      const row = await quick.selectFrom('register').select('plan_json').where('id', '=', id).executeTakeFirst()
      if (row === undefined) return false
      const plan: RenewalPlan = { ...(JSON.parse(row.plan_json) as RenewalPlan), asked: true, retryAtMs: 0 }
      await quick
        .updateTable('register')
        .set({ plan_json: JSON.stringify(plan), wake_at_ms: nowMs, last_error: null })
        .where('id', '=', id)
        .execute()
      return true
    },
    async revoke(id, nowMs) {
      await quick.updateTable('register').set({ revoked_at_ms: nowMs, wake_at_ms: null }).where('id', '=', id).execute()
    },
    async blockKey(publicKeyHash, reason, nowMs) {
      const row = { public_key_sha256: publicKeyHash, reason, blocked_at_ms: nowMs }
      await quick
        .insertInto('blocked_keys')
        .values(row)
        .onConflict((conflict) => conflict.column('public_key_sha256').doNothing())
        .execute()
    },
    async isKeyBlocked(publicKeyHash) {
      const row = await quick
        .selectFrom('blocked_keys')
        .select('reason')
        .where('public_key_sha256', '=', publicKeyHash)
        .executeTakeFirst()
      return row !== undefined
    },
    async wakeOversleepers(nowMs) {
      await quick
        .updateTable('register')
        .set({ wake_at_ms: nowMs })
        .where('wake_at_ms', '>', nowMs + longestSleepMs)
        .execute()
    },
    async removeEnded(beforeMs) {
      const result = await quick
        .deleteFrom('register')
        .where('not_after_ms', '<', beforeMs)
        .where('wake_at_ms', 'is', null)
        .executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}

/** The same names in any order are the same. */
export function namesKey(names: readonly string[]): string {
  return createHash('sha256')
    .update([...names].sort().join('\n'))
    .digest('hex')
}

function rowOf(entry: RegisterEntry): Selectable<Schema['register']> {
  return {
    id: entry.id,
    block: entry.block,
    issuer: entry.issuer,
    storage: entry.storage,
    profile: entry.profile ?? null,
    names_json: JSON.stringify(entry.names),
    names_key: namesKey(entry.names),
    posted: encodePosted(entry.postedBytes),
    remote_address: entry.remoteAddress,
    issued_by: entry.issuedBy,
    serial: entry.serial,
    not_before_ms: entry.notBeforeMs,
    not_after_ms: entry.notAfterMs,
    issued_at_ms: entry.issuedAtMs,
    asked_at_ms: entry.askedAtMs,
    superseded_at_ms: entry.supersededAtMs ?? null,
    revoked_at_ms: entry.revokedAtMs ?? null,
    watched_at_ms: entry.watchedAtMs ?? null,
    plan_json: JSON.stringify(entry.plan),
    wake_at_ms: Math.round(wakeAtMs(entry.plan, entry.notAfterMs)),
    last_error: entry.lastError ?? null,
  }
}

function storedEntryOf(row: Selectable<Schema['register']>): StoredEntry {
  return { ...entryOf(row), wakeAtMs: row.wake_at_ms ?? undefined }
}

function entryOf(row: Selectable<Schema['register']>): RegisterEntry {
  return {
    id: row.id,
    block: row.block,
    issuer: row.issuer,
    storage: row.storage,
    profile: row.profile ?? undefined,
    names: readNames(row.names_json),
    postedBytes: decodePosted(row.posted),
    remoteAddress: row.remote_address,
    issuedBy: row.issued_by,
    serial: row.serial,
    notBeforeMs: row.not_before_ms,
    notAfterMs: row.not_after_ms,
    issuedAtMs: row.issued_at_ms,
    askedAtMs: row.asked_at_ms,
    ...(row.superseded_at_ms === null ? {} : { supersededAtMs: row.superseded_at_ms }),
    ...(row.revoked_at_ms === null ? {} : { revokedAtMs: row.revoked_at_ms }),
    ...(row.watched_at_ms === null ? {} : { watchedAtMs: row.watched_at_ms }),
    // Our own writing, read back.
    plan: JSON.parse(row.plan_json) as RenewalPlan,
    ...(row.last_error === null ? {} : { lastError: row.last_error }),
  }
}
