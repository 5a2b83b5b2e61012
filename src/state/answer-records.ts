import type { Kysely } from 'kysely'
import type { AnswerRecord } from '../acme/answer-record.ts'
import type { Schema } from './schema.ts'

export type AnswerQuestion = Pick<AnswerRecord, 'type' | 'token' | 'host'>

export type StoredAnswers = {
  put(record: AnswerRecord): Promise<void>
  remove(record: AnswerRecord): Promise<void>
  find(question: AnswerQuestion, nowMs: number): Promise<string | undefined>
  /**
   * A tls-alpn-01 validator names no token. Of several answers for one host it is shown the oldest until that is
   * removed; the others wait for their turn.
   */
  shown(question: Omit<AnswerQuestion, 'token'>): Promise<string | undefined>
  removeExpired(nowMs: number): Promise<void>
}

export function answerRecords(db: Kysely<Schema>, nowMs: () => number): StoredAnswers {
  return {
    async put({ type, token, host, keyAuthorization, expiresAtMs }) {
      const row = { type, token, host, key_authorization: keyAuthorization, expires_at_ms: expiresAtMs }
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
      const row = await db
        .selectFrom('answers')
        .select('key_authorization')
        .where('type', '=', type)
        .where('token', '=', token)
        .where('host', '=', host)
        .where('expires_at_ms', '>', atMs)
        .executeTakeFirst()
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
    async removeExpired(atMs) {
      await db.deleteFrom('answers').where('expires_at_ms', '<=', atMs).execute()
    },
  }
}
