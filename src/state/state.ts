import { chmodSync, existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { ensureDirectory } from '../durable-file.ts'
import type { KeptCertificates } from '../plugin-api.ts'
import { answerRecords, type StoredAnswers } from './answer-records.ts'
import { certificateRecords } from './certificate-records.ts'
import { orderRecords, type StoredOrders } from './order-records.ts'
import { migrations, type Schema } from './schema.ts'
import { nodeSqliteDialect, openSqlite } from './sqlite-dialect.ts'

/** What must survive a restart. */
export interface State extends AsyncDisposable {
  readonly answers: StoredAnswers
  readonly certificates: KeptCertificates
  readonly orders: StoredOrders
}

/**
 * Opens the state, making it where there is none.
 * @param url `sqlite:/path/to/state.db`
 * @throws Error that says what is wrong with it
 */
export async function openState(url: string, nowMs: () => number): Promise<State> {
  const path = sqlitePath(url)
  await ensureDirectory(dirname(path))
  const isNew = !existsSync(path)
  const db = new Kysely<Schema>({ dialect: nodeSqliteDialect(openSqlite(path)) })
  if (isNew) chmodSync(path, 0o600)
  const { error } = await new Migrator({ db, provider: migrations }).migrateToLatest()
  if (error !== undefined) {
    await db.destroy()
    throw new Error(
      `the state at ${path} cannot be used: ${error instanceof Error ? error.message : 'unknown reason'}`,
      { cause: error },
    )
  }
  const answers = answerRecords(db)
  await answers.removeExpired(nowMs())
  return {
    answers,
    certificates: certificateRecords(db, nowMs),
    orders: orderRecords(db),
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

/** @throws Error for a URL that is not ours */
export function sqlitePath(url: string): string {
  const match = /^sqlite:(?:\/\/)?(.+)$/.exec(url)
  if (match?.[1] === undefined)
    throw new Error(`[state] url ${JSON.stringify(url)} is not understood; write sqlite:/path/to/state.db`)
  return match[1]
}
