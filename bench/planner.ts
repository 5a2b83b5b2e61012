// (e) What planning costs: the simulated fleet of test/fleet at three sizes, and the register of the real state.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { planRenewal } from '../src/issuance/renewal-plan.ts'
import { openState, type State } from '../src/state/state.ts'
import { runFleet, seededRandom } from '../test/fleet/fleets.ts'
import { makeTempFolder } from '../test/peers/child.ts'
import { makeCsrs } from './csrs.ts'
import { median } from './statistics.ts'

export type PlannerRow = {
  readonly certificates: number
  /** Questions for renewal information and renewals of a simulated day: each is one decision. */
  readonly decisionsPerDay: number
  /** Of the processor, for one simulated day. */
  readonly cpuMsPerDay: number
  /** Beside what the process had before, at the end. */
  readonly memoryMb: number
}

export type RegisterRow = {
  readonly certificates: number
  readonly fileMb: number
  /** Nothing is due. */
  readonly takeNothingMs: number
  /** Eight are. */
  readonly takeEightMs: number
  /** All are, as after a day when the server did not run. */
  readonly takeFromAllMs: number
  /** takeDue of eight and savePlan of each, again and again. */
  readonly plansPerSecond: number
}

export type PlannerFigures = { readonly planner: readonly PlannerRow[]; readonly register: readonly RegisterRow[] }

const dayMs = 24 * 3_600_000
const lifetimeMs = 45 * dayMs
const maxAtOnce = 8

export async function measurePlanner(quick: boolean): Promise<PlannerFigures> {
  const planner = (quick ? [10_000, 100_000] : [10_000, 100_000, 1_000_000]).map(measureFleet)
  const register: RegisterRow[] = []
  for (const certificates of quick ? [100_000] : [100_000, 1_000_000])
    register.push(await measureRegister(certificates))
  return { planner, register }
}

/** The difference of two runs that only their length distinguishes: what comes before the first day is in neither. */
function measureFleet(certificates: number): PlannerRow {
  const [few, many] = certificates > 100_000 ? [1, 2] : [2, 6]
  const run = (days: number) => {
    globalThis.gc?.()
    const before = process.memoryUsage().rss
    const began = process.cpuUsage()
    // Short answers, so that eight at once are enough for a million: 46 questions a second.
    const report = runFleet({ days, ordinary: certificates, shortLived: 0, start: 'preloaded', pollMs: 50 })
    const cpuMs = process.cpuUsage(began).user / 1000
    const decisions = report.cas.reduce((sum, { polls, orders }) => sum + polls + orders, 0)
    return { cpuMs, decisions, memoryMb: (process.memoryUsage().rss - before) / 2 ** 20 }
  }
  const [short, long] = [run(few), run(many)]
  return {
    certificates,
    decisionsPerDay: (long.decisions - short.decisions) / (many - few),
    cpuMsPerDay: (long.cpuMs - short.cpuMs) / (many - few),
    memoryMb: Math.max(short.memoryMb, long.memoryMb),
  }
}

async function measureRegister(certificates: number): Promise<RegisterRow> {
  using folder = makeTempFolder('register')
  const file = join(folder.path, 'state.db')
  const nowMs = Date.UTC(2027, 0, 1)
  await using state = await openState(`sqlite:${file}`, () => nowMs)
  preload(file, certificates, nowMs)
  const fileMb = statSync(file).size / 2 ** 20
  const takeNothingMs = await timeOf(100, () => state.register.takeDue(nowMs, nowMs + 1, maxAtOnce))
  const wake = (sql: string) => withDatabase(file, (database) => database.exec(sql))
  const takeEightMs = await timeOf(
    20,
    () => state.register.takeDue(nowMs, nowMs + dayMs, maxAtOnce),
    () => wake(`UPDATE register SET wake_at_ms = ${nowMs} WHERE rowid IN (${rowids(certificates).join()})`),
  )
  const later = nowMs + 10 * dayMs
  const takeFromAllMs = await timeOf(3, () => state.register.takeDue(later, later + dayMs, maxAtOnce))
  // With all of them due, taking would be all that is measured.
  wake(`UPDATE register SET wake_at_ms = ${nowMs + 1e12} WHERE rowid % ${certificates / 5000} <> 0`)
  const plansPerSecond = await plan(state, later)
  return { certificates, fileMb, takeNothingMs, takeEightMs, takeFromAllMs, plansPerSecond }
}

/** What renewals.ts does for a certificate that has only to be asked about. */
async function plan({ register }: State, atMs: number): Promise<number> {
  const began = performance.now()
  let count = 0
  while (performance.now() - began < 2000) {
    const taken = await register.takeDue(atMs, atMs + dayMs, maxAtOnce)
    if (taken.length === 0) break
    for (const entry of taken) await register.savePlan(entry.id, entry.plan, atMs + dayMs)
    count += taken.length
  }
  return (count * 1000) / (performance.now() - began)
}

/** In one transaction, beside the code that would do it one by one. */
function preload(file: string, certificates: number, nowMs: number): void {
  const [csr = ''] = makeCsrs('register', 1)
  const random = seededRandom(1)
  withDatabase(file, (database) => {
    database.exec('PRAGMA synchronous = OFF; BEGIN')
    const columns = [
      ...['id', 'block', 'issuer', 'storage', 'names_json', 'names_key', 'posted', 'remote_address', 'issued_by'],
      ...['serial', 'not_before_ms', 'not_after_ms', 'issued_at_ms', 'asked_at_ms', 'plan_json', 'wake_at_ms'],
    ]
    const insert = database.prepare(
      `INSERT INTO register (${columns.join()}) VALUES (${columns.map(() => '?').join()})`,
    )
    const posted = Buffer.from(csr).toString('base64')
    for (let index = 0; index < certificates; index++) {
      const notAfterMs = Math.round(nowMs + lifetimeMs * (0.35 + 0.65 * random()))
      const notBeforeMs = notAfterMs - lifetimeMs
      const hex = Math.floor(random() * 2 ** 48)
        .toString(16)
        .padStart(64, '0')
      insert.run(
        ...[`${index.toString(16).padStart(8, '0')}${hex.slice(8)}`, 'all', 'default', 'default'],
        ...[`["host${index}.example.com"]`, hex, posted, '192.0.2.1', 'https://ca.example/directory', hex.slice(32)],
        ...[notBeforeMs, notAfterMs, notBeforeMs, notBeforeMs],
        JSON.stringify(planRenewal({ notBeforeMs, notAfterMs }, undefined, nowMs, random())),
        Math.round(nowMs + 1000 + 6 * 3_600_000 * random()),
      )
    }
    database.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)')
  })
}

function withDatabase(file: string, act: (database: DatabaseSync) => void): void {
  const database = new DatabaseSync(file, { timeout: 60_000 })
  try {
    act(database)
  } finally {
    database.close()
  }
}

function rowids(certificates: number): number[] {
  return Array.from({ length: maxAtOnce }, (_, place) => 1 + Math.floor((place * certificates) / maxAtOnce))
}

async function timeOf(rounds: number, act: () => Promise<unknown>, prepare?: () => void): Promise<number> {
  const times: number[] = []
  for (let round = 0; round < rounds; round++) {
    prepare?.()
    const began = performance.now()
    await act()
    times.push(performance.now() - began)
  }
  return median(times)
}
