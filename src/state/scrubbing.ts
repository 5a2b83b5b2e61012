import type { DatabaseSync } from 'node:sqlite'
import { type Kysely, sql } from 'kysely'
import { sqliteBusy, sqliteErrorCode, sqliteLocked } from '../error-code.ts'
import type { Schema } from './schema.ts'
import { openSqlite } from './sqlite-dialect.ts'

/** Overwrites what was deleted and must not be found any more. */
export interface Scrubbing {
  /** Something was deleted since it was last done to the end. */
  readonly isDue: boolean
  note(): void
  /** @throws Error when the database cannot be written; it stays due while others are reading */
  run(): Promise<void>
}

/** @param scrub false: others are at the database, and it is to be done again */
export function createScrubbing(scrub: () => Promise<boolean>): Scrubbing {
  // What a process before us deleted may not be overwritten yet.
  let isDue = true
  return {
    get isDue() {
      return isDue
    },
    note() {
      isDue = true
    },
    async run() {
      isDue = false
      try {
        if (!(await scrub())) isDue = true
      } catch (error) {
        isDue = true
        throw error
      }
    },
  }
}

/** The tables that hold requests only while they are in flight. They are short. */
const tablesInFlight = ['orders', 'answers'] as const

const maxRowsRebuilt = 1000

/**
 * `secure_delete` overwrites a row where it lies, and pages that are freed. Two places are left: copies in the gaps of
 * pages from which SQLite moved rows to others, so the tables are written anew; and the write-ahead log, which is
 * written into the database and cut to nothing.
 */
export function scrubSqlite(path: string): boolean {
  // Nobody waits for it: where another process is at the database, it is done later.
  const database = openSqlite(path, 'NORMAL', 0)
  try {
    database.exec('PRAGMA temp_store = MEMORY')
    const cutLog = () => database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.busy === 0
    // First, because as long as somebody reads the log cannot be cut, and every new try would only lengthen it.
    if (!cutLog()) return false
    const isRebuilt = tablesInFlight.map((table) => rebuild(database, table)).every(Boolean)
    return cutLog() && isRebuilt
  } catch (error) {
    if (isBusy(error)) return false
    throw error
  } finally {
    database.close()
  }
}

/**
 * Rows that were deleted cannot be read any more, and their room is free to be overwritten. What lies in it until then,
 * and in the database's own log and backups, is the database's affair. VACUUM leaves, and says nothing of it, what is
 * deleted for somebody's snapshot or transaction not yet, and pages that others have in their hands; such pages are not
 * noted as visible to all.
 */
export async function scrubPostgres(db: Kysely<Schema>): Promise<boolean> {
  const tables = tablesInFlight.map((table) => sql.table(table))
  // Without SKIP_LOCKED: a VACUUM that another server began is from before this deletion, and has to be waited for.
  // Names are in indexes, too, which it otherwise leaves alone where little was deleted.
  await sql`VACUUM (INDEX_CLEANUP ON) ${sql.join(tables)}`.execute(db)
  const names = tablesInFlight.map((table) => sql`${table}::regclass`)
  const { rows } = await sql`
    SELECT FROM pg_class WHERE oid IN (${sql.join(names)}) AND relallvisible < relpages LIMIT 1`.execute(db)
  return rows.length === 0
}

/** Deleting all rows at once clears every page of the table and of its indexes. */
function rebuild(database: DatabaseSync, table: (typeof tablesInFlight)[number]): boolean {
  const { rows } = database.prepare(`SELECT count(*) AS rows FROM ${table}`).get() ?? {}
  if (Number(rows) > maxRowsRebuilt) return false
  database.exec('BEGIN IMMEDIATE')
  try {
    database.exec(`CREATE TEMP TABLE kept AS SELECT * FROM ${table}`)
    database.exec(`DELETE FROM ${table}`)
    database.exec(`INSERT INTO ${table} SELECT * FROM kept`)
    database.exec('DROP TABLE kept')
    database.exec('COMMIT')
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
  return true
}

function isBusy(error: unknown): boolean {
  const code = sqliteErrorCode(error)
  return code === sqliteBusy || code === sqliteLocked
}
