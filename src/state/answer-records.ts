import type { CompiledQuery, Kysely } from 'kysely'
import type { AnswerRecord } from '../acme/answer-record.ts'
import { endOfPlaces, placeOf } from './places.ts'
import type { Schema } from './schema.ts'

export type AnswerQuestion = Pick<AnswerRecord, 'type' | 'token' | 'host'>

export type StoredAnswers = {
  put(record: AnswerRecord): Promise<void>
  remove(record: AnswerQuestion): Promise<void>
  find(question: AnswerQuestion, nowMs: number): Promise<string | undefined>
  /**
   * A tls-alpn-01 validator names no token. Of several answers for one host it is shown the oldest until that is
   * removed; the others wait for their turn.
   */
  shown(question: Omit<AnswerQuestion, 'token'>): Promise<string | undefined>
  /** The TXT values of either owner name, each once. */
  findTexts(owner: string, otherOwner: string, nowMs: number): Promise<readonly string[]>
  /** Is there a TXT record at a name below one of these? */
  hasTextBelow(name: string, otherName: string, nowMs: number): Promise<boolean>
  /** How many live records somebody has published, altogether and at one host. */
  countPublished(publisher: string, host: string, nowMs: number): Promise<{ all: number; atHost: number }>
  /** Of what somebody has published, removes all but the newest. */
  keepNewest(publisher: string, count: number): Promise<void>
  removeExpired(nowMs: number): Promise<void>
}

const maxTexts = 200

export function answerRecords(db: Kysely<Schema>, nowMs: () => number): StoredAnswers {
  // What the whole Internet can ask is compiled once: building a query takes longer than answering it.
  const find = db
    .selectFrom('answers')
    .select('key_authorization')
    .where('type', '=', '')
    .where('token', '=', '')
    .where('host', '=', '')
    .where('expires_at_ms', '>', 0)
    .compile()
  const findTexts = db
    .selectFrom('answers')
    .select('key_authorization')
    .where('place', 'in', ['', ''])
    .where('expires_at_ms', '>', 0)
    .limit(maxTexts)
    .compile()
  const findBelow = db
    .selectFrom('answers')
    .select('type')
    .where(({ and, eb, or }) =>
      or([and([eb('place', '>', ''), eb('place', '<', '')]), and([eb('place', '>', ''), eb('place', '<', '')])]),
    )
    .where('expires_at_ms', '>', 0)
    .limit(1)
    .compile()
  const ask = async <T>(query: CompiledQuery<T>, parameters: readonly unknown[]): Promise<readonly T[]> =>
    (await db.executeQuery<T>({ ...query, parameters } as CompiledQuery<T>)).rows

  return {
    async put({ type, token, host, keyAuthorization, expiresAtMs, publisher = null }) {
      const place = type === 'dns-01' ? placeOf(host) : null
      const row = {
        type,
        token,
        host,
        key_authorization: keyAuthorization,
        expires_at_ms: expiresAtMs,
        place,
        publisher,
      }
      await db
        .insertInto('answers')
        .values(row)
        .onConflict((conflict) => conflict.columns(['type', 'token', 'host']).doUpdateSet(row))
        .execute()
    },
    async remove({ type, token, host }) {
      await db
        .deleteFrom('answers')
        .where('type', '=', type)
        .where('token', '=', token)
        .where('host', '=', host)
        .execute()
    },
    async find({ type, token, host }, atMs) {
      const [row] = await ask(find, [type, token, host, atMs])
      return row?.key_authorization
    },
    async shown({ type, host }) {
      const row = await db
        .selectFrom('answers')
        .select('key_authorization')
        .where('type', '=', type)
        .where('host', '=', host)
        .where('expires_at_ms', '>', nowMs())
        // Every such answer lives equally long: what ends first was there first.
        .orderBy('expires_at_ms')
        .orderBy('token')
        .executeTakeFirst()
      return row?.key_authorization
    },
    async findTexts(owner, otherOwner, atMs) {
      const rows = await ask(findTexts, [placeOf(owner), placeOf(otherOwner), atMs, maxTexts])
      return rows.length < 2
        ? rows.map(({ key_authorization }) => key_authorization)
        : [...new Set(rows.map(({ key_authorization }) => key_authorization))]
    },
    async hasTextBelow(name, otherName, atMs) {
      const [place, otherPlace] = [placeOf(name), placeOf(otherName)]
      const ranges = [place, endOfPlaces(place), otherPlace, endOfPlaces(otherPlace)]
      return (await ask(findBelow, [...ranges, atMs, 1])).length > 0
    },
    async countPublished(publisher, host, atMs) {
      const { all, atHost } = await db
        .selectFrom('answers')
        .select(({ fn, eb }) => [
          fn.countAll().as('all'),
          fn.sum(eb.case().when('host', '=', host).then(1).else(0).end()).as('atHost'),
        ])
        .where('publisher', '=', publisher)
        .where('expires_at_ms', '>', atMs)
        .executeTakeFirstOrThrow()
      return { all: Number(all), atHost: Number(atHost ?? 0) }
    },
    async keepNewest(publisher, count) {
      const newest = db
        .selectFrom('answers')
        .select('token')
        .where('publisher', '=', publisher)
        .orderBy('expires_at_ms', 'desc')
        .orderBy('token')
        .limit(count)
      await db.deleteFrom('answers').where('publisher', '=', publisher).where('token', 'not in', newest).execute()
    },
    async removeExpired(atMs) {
      await db.deleteFrom('answers').where('expires_at_ms', '<=', atMs).execute()
    },
  }
}
