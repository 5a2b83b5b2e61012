import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { SqliteDialect, type SqliteStatement } from 'kysely'
import { sqliteBusy, sqliteErrorCode } from '../error-code.ts'

const maxCachedStatements = 200
const busyTimeoutMs = 10_000
const walAttempts = 100
const walPauseMs = 50

/** kysely's SQLite dialect on Node's own SQLite: no addon, nothing to compile. */
export function nodeSqliteDialect(database: DatabaseSync): SqliteDialect {
  const statements = new Map<string, SqliteStatement>()
  return new SqliteDialect({
    database: {
      close: () => database.close(),
      prepare(sql) {
        const known = statements.get(sql)
        if (known !== undefined) return known
        if (statements.size >= maxCachedStatements) statements.clear()
        const statement = describeStatement(database.prepare(sql))
        statements.set(sql, statement)
        return statement
      },
    },
  })
}

/** Whether it has rows is asked once, and not at every use. */
function describeStatement(statement: StatementSync): SqliteStatement {
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...(parameters as SQLInputValue[])),
    run: (parameters) => statement.run(...(parameters as SQLInputValue[])),
    iterate: (parameters) => statement.iterate(...(parameters as SQLInputValue[])),
  }
}

/**
 * Opens a database with a write-ahead log. `FULL` keeps what it was told even when the power fails, by an fsync at
 * every commit; `NORMAL` keeps it when only the process dies, and costs a twentieth.
 */
export function openSqlite(path: string, synchronous: 'FULL' | 'NORMAL', timeoutMs = busyTimeoutMs): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: timeoutMs })
  try {
    switchToWal(database)
    // What is deleted is overwritten at once; scrubbing.ts does the rest.
    database.exec(`PRAGMA synchronous = ${synchronous}; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** Reads the whole structure. @throws Error when it is damaged; the database is closed then */
export function checkSqlite(database: DatabaseSync): void {
  const [finding] = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})
  if (finding === 'ok') return
  database.close()
  throw new Error(`the database is damaged: ${String(finding)}`)
}

/** SQLite does not wait for others here, whatever its time-out says: processes that start at once on a new file meet. */
function switchToWal(database: DatabaseSync): void {
  for (let attempt = 1; ; attempt++) {
    try {
      database.exec('PRAGMA journal_mode = WAL')
      return
    } catch (error) {
      if (sqliteErrorCode(error) !== sqliteBusy || attempt >= walAttempts) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, walPauseMs)
    }
  }
}

/** One transaction that nobody else can write beside; undone when `act` fails. */
export async function exclusively<T>(database: DatabaseSync, act: () => Promise<T>): Promise<T> {
  database.exec('BEGIN EXCLUSIVE')
  try {
    const result = await act()
    database.exec('COMMIT')
    return result
  } catch (error) {
    // SQLite has rolled back by itself after some errors; what matters is the one that came first.
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}
