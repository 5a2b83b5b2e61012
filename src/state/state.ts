import { accessSync, chmodSync, constants, existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Dialect, Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { ensureDirectory } from '../durable-file.ts'
import { errorCode, sqliteErrorCode, sqliteFull } from '../error-code.ts'
import type { KeptCertificates } from '../plugin-api.ts'
import { type Aliases, openAliases } from './aliases.ts'
import { answerRecords, type StoredAnswers } from './answer-records.ts'
import { type AuditEvents, auditEvents } from './audit-events.ts'
import { type BoxRegistrations, boxRegistrations } from './box-registrations.ts'
import { type Boxes, storedBoxes } from './boxes.ts'
import { certificateRecords } from './certificate-records.ts'
import { certificateRegister, type StoredRegister } from './certificate-register.ts'
import { type Deployments, storedDeployments } from './deployments.ts'
import { type DiscreetLedger, discreetLedger } from './discreet-ledger.ts'
import { type DnsAccounts, dnsAccounts } from './dns-accounts.ts'
import { type Enrolments, enrolments } from './enrolments.ts'
import { migrations } from './migrations.ts'
import { orderRecords, type StoredOrders } from './order-records.ts'
import { type OrderStories, orderStories } from './order-stories.ts'
import { type StoredOutages, storedOutages } from './outages.ts'
import { rateLedger } from './rate-ledger.ts'
import type { Schema } from './schema.ts'
import { createScrubbing, type Scrubbing, scrubPostgres, scrubSqlite } from './scrubbing.ts'
import { type Servers, storedServers } from './servers.ts'
import { type SignatureNonces, signatureNonces } from './signature-nonces.ts'
import { checkSqlite, exclusively, nodeSqliteDialect, openSqlite } from './sqlite-dialect.ts'

/** A bigger database is not read as a whole at every start. */
const maxCheckedBytes = 20 * 1024 * 1024

/** What must survive a restart. */
export interface State extends AsyncDisposable {
  readonly answers: StoredAnswers
  readonly certificates: KeptCertificates
  readonly orders: StoredOrders
  readonly stories: OrderStories
  readonly register: StoredRegister
  readonly rates: DiscreetLedger
  readonly outages: StoredOutages
  readonly servers: Servers
  readonly dnsAccounts: DnsAccounts
  readonly audit: AuditEvents
  readonly boxes: Boxes
  readonly boxRegistrations: BoxRegistrations
  readonly deployments: Deployments
  readonly nonces: SignatureNonces
  readonly enrolments: Enrolments
  readonly aliases: Aliases
  readonly scrubbing: Scrubbing
}

/**
 * Opens the state, making it where there is none.
 * @param url `sqlite:/path/to/state.db` or `postgres://user@host/database`
 * @param onError told when a connection to the database breaks
 * @throws Error that says what is wrong with it
 */
export async function openState(
  url: string,
  nowMs: () => number,
  onError: (error: Error) => void = () => undefined,
): Promise<State> {
  let db: Kysely<Schema> | undefined
  let quick: Kysely<Schema> | undefined
  try {
    const { dialect, quickDialect, alone, scrub } = await openDialect(url, onError)
    db = new Kysely<Schema>({ dialect })
    quick = quickDialect === undefined ? db : new Kysely<Schema>({ dialect: quickDialect })
    // They are sorted by name, and several of one day do not depend on each other.
    const migrator = new Migrator({ db, provider: migrations, allowUnorderedMigrations: true })
    const { error } = await alone(() => migrator.migrateToLatest())
    if (error !== undefined) throw error
    const opened = db
    const state = await stateOver(
      db,
      quick,
      createScrubbing(() => scrub(opened)),
      nowMs,
    )
    // Damage is better met here, where it is said what can be done about it.
    await state.orders.holders()
    return state
  } catch (cause) {
    for (const opened of new Set([db, quick])) await opened?.destroy()
    const reason = cause instanceof Error ? cause.message : 'unknown reason'
    throw new Error(`the state at ${withoutPassword(url)} cannot be used: ${reason}; ${adviceFor(cause, url)}`, {
      cause,
    })
  }
}

/** What a person can do about it. */
function adviceFor(cause: unknown, url: string): string {
  if (isPostgres(url)) return 'see whether PostgreSQL is there and takes the user, password and database of [state] url'
  const code = errorCode(cause)
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM')
    return 'make it writable for this user, or name another place in [state] url'
  if (code === 'ENOSPC' || sqliteErrorCode(cause) === sqliteFull)
    return 'make room there, or name another place in [state] url'
  return 'restore a backup, or move it away: accounts are found again by their keys, certificates are ordered anew'
}

/** @param quick for what a power failure may take: it is made again, or expires */
async function stateOver(
  db: Kysely<Schema>,
  quick: Kysely<Schema>,
  scrubbing: Scrubbing,
  nowMs: () => number,
): Promise<State> {
  const answers = answerRecords(quick, nowMs)
  await answers.removeExpired(nowMs())
  const aliases = await openAliases(db)
  return {
    answers,
    certificates: certificateRecords(db, nowMs),
    orders: orderRecords(db, quick, scrubbing.note),
    stories: orderStories(quick),
    register: certificateRegister(quick),
    rates: discreetLedger(rateLedger(quick, nowMs), aliases),
    outages: storedOutages(quick),
    servers: storedServers(quick),
    dnsAccounts: dnsAccounts(db),
    audit: auditEvents(quick),
    boxes: storedBoxes(db, nowMs),
    boxRegistrations: boxRegistrations(db, nowMs),
    deployments: storedDeployments(quick),
    nonces: signatureNonces(quick, nowMs),
    enrolments: enrolments(db),
    aliases,
    scrubbing,
    async [Symbol.asyncDispose]() {
      for (const opened of new Set([quick, db])) await opened.destroy()
    },
  }
}

type OpenedDialect = {
  readonly dialect: Dialect
  /** Another connection, whose commits do not wait for the disk; where there is none, there is nothing to gain. */
  readonly quickDialect?: Dialect
  /** Runs with no other process at the database, all or nothing where the database's own migrations are not. */
  alone<T>(act: () => Promise<T>): Promise<T>
  /** Overwrites what was deleted from the tables in flight; false: not now. */
  scrub(db: Kysely<Schema>): Promise<boolean>
}

const isPostgres = (url: string) => /^postgres(ql)?:\/\//.test(url)

async function openDialect(url: string, onError: (error: Error) => void): Promise<OpenedDialect> {
  if (isPostgres(url)) {
    // Loaded only where it is wanted: most servers never do. kysely locks and rolls back by itself there.
    const { postgresDialect } = await import('./postgres-dialect.ts')
    return { dialect: postgresDialect(url, onError), alone: (act) => act(), scrub: scrubPostgres }
  }
  const path = sqlitePath(url)
  await ensureDirectory(dirname(path))
  const isNew = !existsSync(path)
  // SQLite only says that it cannot; the system says why.
  for (const place of isNew ? [dirname(path)] : [dirname(path), path]) accessSync(place, constants.W_OK)
  const database = openSqlite(path, 'FULL')
  if (!isNew && statSync(path).size <= maxCheckedBytes) checkSqlite(database)
  if (isNew) chmodSync(path, 0o600)
  return {
    dialect: nodeSqliteDialect(database),
    quickDialect: nodeSqliteDialect(openSqlite(path, 'NORMAL')),
    alone: (act) => exclusively(database, act),
    scrub: async () => scrubSqlite(path),
  }
}

/** Where files lie that belong to the state: beside an SQLite file, else where the platform says. */
export function stateFolderOf(url: string, platformFolder: string): string {
  return url.startsWith('sqlite:') ? dirname(sqlitePath(url)) : platformFolder
}

/** @throws Error for a URL that is not ours */
export function sqlitePath(url: string): string {
  const match = /^sqlite:(?:\/\/)?(.+)$/.exec(url)
  if (match?.[1] === undefined)
    throw new Error(
      `[state] url ${JSON.stringify(url)} is not understood; write sqlite:/path/to/state.db or postgres://host/database`,
    )
  return match[1]
}

function withoutPassword(url: string): string {
  return url.replace(/^(postgres(?:ql)?:\/\/[^:@/]*):[^@/]*@/, '$1:…@')
}
