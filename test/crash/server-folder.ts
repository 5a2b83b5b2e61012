// What a server keeps in its folder, looked at from outside.
import { createHash, createPublicKey } from 'node:crypto'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { openState } from '../../src/state/state.ts'
import { formatFailpoint, phasesOf, type TraceLine } from './failpoint.ts'

export const stateFileOf = (folder: string): string => join(folder, 'state', 'state.db')
export const traceFileOf = (folder: string): string => join(folder, 'trace.jsonl')

export function readTrace(folder: string): TraceLine[] {
  const file = traceFileOf(folder)
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line) as TraceLine)
}

/** Addresses of the orders that the CA told the server of. */
export function heardOrders(folder: string): Set<string> {
  return new Set(readTrace(folder).flatMap((line) => ('order' in line ? [line.order] : [])))
}

/** Where it was killed by its own failpoints. */
export function deaths(folder: string): string[] {
  return readTrace(folder).flatMap((line) => ('died' in line ? [line.died] : []))
}

/** Every point at which it can be killed when it does the same again. */
export function crashPoints(folder: string): string[] {
  const points = readTrace(folder).flatMap((line) =>
    'label' in line ? phasesOf(line.label).map((at) => formatFailpoint(line, at)) : [],
  )
  return [...new Set(points)]
}

function select(folder: string, sql: string): Record<string, unknown>[] {
  using database = new DatabaseSync(stateFileOf(folder), { readOnly: true, timeout: 5000 })
  return database.prepare(sql).all()
}

export function countRows(folder: string, table: 'answers' | 'orders'): number {
  return Number(select(folder, `select count(*) as n from ${table}`)[0]?.n)
}

export type OrderStory = { readonly url: string | undefined; readonly outcome: string; readonly reason: string }

/** What the server itself tells of its orders. */
export function orderStories(folder: string): OrderStory[] {
  return select(folder, 'select order_url, outcome, reason from order_stories').map((row) => ({
    url: typeof row.order_url === 'string' ? row.order_url : undefined,
    outcome: String(row.outcome),
    reason: String(row.reason ?? ''),
  }))
}

/** Of the one certificate that it can renew. */
export function registeredSerial(folder: string): string | undefined {
  const serial = select(folder, 'select serial from register')[0]?.serial
  return typeof serial === 'string' ? serial : undefined
}

/** Is there something to do for it at this moment? */
export function isDueNow(folder: string): boolean {
  return select(folder, `select 1 from register where wake_at_ms <= ${Date.now()}`).length > 0
}

/** Makes the one certificate due now, as time or the operator does; also what a dead server had taken to renew. */
export async function makeDue(folder: string): Promise<void> {
  await using state = await openState(`sqlite:${stateFileOf(folder)}`, Date.now)
  for (const entry of await state.register.list(10))
    await state.register.savePlan(entry.id, { ...entry.plan, asked: true, retryAtMs: 0 }, 0)
}

/** Files of writes that did not come to their end. */
export function temporaryFiles(folder: string): string[] {
  return globSync(['**/.*.tmp'], { cwd: folder })
}

/** What there is to understand a run by. */
export function collectEvidence(folder: string): string {
  const logs = globSync('acmems-*.log', { cwd: folder }).sort()
  const texts = logs.map((file) => readFileSync(join(folder, file), 'utf8'))
  const rows = ['register', 'orders', 'order_stories', 'outages'].flatMap((table) =>
    select(folder, `select * from ${table}`).map((row) => `${table} ${JSON.stringify(row)}`),
  )
  return [...texts, ...readTrace(folder).map((line) => JSON.stringify(line)), ...rows].join('\n')
}

/** Secrets of the server that stand in its logs: lines of the account key, and what an answer is made of. */
export function secretsInLogs(folder: string): string[] {
  const keyFile = join(folder, 'state', 'account', 'account.pem')
  const log = globSync('acmems-*.log', { cwd: folder })
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .join('\n')
  const found = log.includes('PRIVATE KEY') ? ['a private key'] : []
  if (!existsSync(keyFile)) return found
  const pem = readFileSync(keyFile, 'utf8')
  const lines = pem.split('\n').filter((line) => /^[A-Za-z0-9+/=]{16,}$/.test(line))
  if (lines.some((line) => log.includes(line))) found.push('the account key')
  if (log.includes(thumbprintOf(pem))) found.push('a key authorization')
  return found
}

/** RFC 7638 §3. */
function thumbprintOf(pem: string): string {
  const { crv, kty, x, y } = createPublicKey(pem).export({ format: 'jwk' })
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}
