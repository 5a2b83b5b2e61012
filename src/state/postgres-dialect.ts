import { PostgresDialect } from 'kysely'
import pg from 'pg'

const int8Oid = 20
const maxConnections = 10
const connectTimeoutMs = 10_000
const statementTimeoutMs = 30_000

/**
 * kysely's PostgreSQL dialect. Our integers are milliseconds and counters, which a double holds exactly, so int8
 * comes as a number and rows look the same on both databases.
 * @param onError told when a kept connection breaks; without a listener that would end the process
 */
export function postgresDialect(url: string, onError: (error: Error) => void): PostgresDialect {
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    application_name: 'acmems',
    types: { getTypeParser: (oid, format) => (oid === int8Oid ? Number : pg.types.getTypeParser(oid, format)) },
  })
  pool.on('error', onError)
  return new PostgresDialect({ pool })
}
