// (b) Hosts ask for certificates that nobody has yet: certificates a second through POST /sign against Pebble, beside
// our own ACME client without the server around it, on the same Pebble. They take turns, and the one that begins does.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { type Pebble, startPebble } from '../test/peers/pebble.ts'
import { freePort } from '../test/peers/peers.ts'
import type { BareOrder, BareResult } from './bare-client.ts'
import { makeCsrs } from './csrs.ts'
import { type Release, readCpuMs, startServer } from './release.ts'
import { median } from './statistics.ts'

export type NewCertificatesRow = {
  readonly parallel: number
  readonly rounds: number
  readonly certificates: number
  readonly acmemsPerSecond: number
  readonly barePerSecond: number
  readonly medianRatio: number
  readonly bestRatio: number
  /** Requests to the CA for one certificate. */
  readonly acmemsRequests: number
  readonly bareRequests: number
  /** Processor time for one certificate. */
  readonly acmemsCpuMs: number
  readonly bareCpuMs: number
}

// More at once, and Pebble itself may come to a stop.
const parallelCounts = [1, 4, 8]
const answerTimeoutMs = 10_000
const runTimeoutMs = 20_000
const maxAttempts = 3

export async function measureNewCertificates(release: Release, quick: boolean): Promise<NewCertificatesRow[]> {
  const rows: NewCertificatesRow[] = []
  for (const parallel of parallelCounts) rows.push(await measureWithPatience(release, parallel, quick))
  return rows
}

/** Pebble dead-locks under load now and then (all versions): that says nothing about us, so a fresh one has a try. */
async function measureWithPatience(release: Release, parallel: number, quick: boolean): Promise<NewCertificatesRow> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await measureParallel(release, parallel, quick)
    } catch (error) {
      if (attempt === maxAttempts) throw error
      process.stderr.write(`bench: once more with a fresh Pebble: ${error instanceof Error ? error.message : error}\n`)
    }
  }
}

async function measureParallel(release: Release, parallel: number, quick: boolean): Promise<NewCertificatesRow> {
  const rounds = quick ? 2 : 4
  const count = (parallel === 1 ? 10 : 30) * (quick ? 1 : 2)
  await using pebble = await startPebble({ alwaysValid: true, nonceReject: 0, authzReuse: 0 })
  const config = await describeServerFor(pebble)
  await using acmems = await startServer(release, `new-certificates-${parallel}`, config)
  using bare = await startBareClient(pebble)
  await using cleanup = new AsyncDisposableStack()
  const timeouts = { headersTimeout: answerTimeoutMs, bodyTimeout: answerTimeoutMs }
  const agent = cleanup.adopt(new Agent({ connections: parallel, ...timeouts }), (one) => one.close())
  const sides = {
    acmems: (csrs: readonly string[]) => postAll(agent, acmems.signUrl, csrs, parallel),
    bare: (csrs: readonly string[]) => bare.run({ csrs, parallel }),
  }
  for (const side of ['acmems', 'bare'] as const) await sides[side](makeCsrs(`warm-${side}`, 2 * parallel))
  const rates = { acmems: [] as number[], bare: [] as number[] }
  const requests = { acmems: 0, bare: 0 }
  const cpuMs = { acmems: 0, bare: 0 }
  const pids = { acmems: acmems.pid, bare: bare.pid }
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? (['acmems', 'bare'] as const) : (['bare', 'acmems'] as const)) {
      const csrs = makeCsrs(`${side}-${round}`, count)
      const before = sumOf(pebble.requests())
      const cpuBeforeMs = readCpuMs(pids[side])
      rates[side].push((count * 1000) / (await sides[side](csrs)))
      requests[side] += sumOf(pebble.requests()) - before
      cpuMs[side] += readCpuMs(pids[side]) - cpuBeforeMs
    }
  }
  const ratios = rates.acmems.map((rate, round) => rate / (rates.bare[round] ?? Number.NaN))
  return {
    parallel,
    rounds,
    certificates: rounds * count,
    acmemsPerSecond: median(rates.acmems),
    barePerSecond: median(rates.bare),
    medianRatio: median(ratios),
    bestRatio: Math.max(...ratios),
    acmemsRequests: requests.acmems / (rounds * count),
    bareRequests: requests.bare / (rounds * count),
    acmemsCpuMs: cpuMs.acmems / (rounds * count),
    bareCpuMs: cpuMs.bare / (rounds * count),
  }
}

/** @param account more lines of [account] */
export async function describeServerFor(pebble: Pebble, account = ''): Promise<string> {
  return `[account]
${account}acme-server = ${pebble.directoryUrl}
accept-terms-of-service = yes
ca-file = ${pebble.caFile}
[verification "http"]
type = http01
listener = 127.0.0.1:${await freePort()}
[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
verification = http
`
}

/** Every request once, so many at a time. @returns how long it took, in milliseconds */
export async function postAll(agent: Agent, url: string, csrs: readonly string[], parallel: number): Promise<number> {
  const pending = [...csrs]
  const startedMs = performance.now()
  const work = async () => {
    for (let body = pending.pop(); body !== undefined; body = pending.pop()) {
      const answer = await request(url, { method: 'POST', body, dispatcher: agent })
      const text = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`POST /sign: ${answer.statusCode} ${text}`)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
  return performance.now() - startedMs
}

async function startBareClient(pebble: Pebble) {
  const child = fork(join(import.meta.dirname, 'bare-client.ts'), [pebble.directoryUrl, pebble.caFile])
  await nextMessage(child)
  return {
    pid: child.pid ?? 0,
    async run(order: BareOrder): Promise<number> {
      child.send(order)
      const late = sleep(runTimeoutMs, { error: 'no end within the time' }, { ref: false })
      const result = (await Promise.race([nextMessage(child), late])) as BareResult
      if ('error' in result) throw new Error(`the bare client failed: ${result.error}`)
      return result.elapsedMs
    },
    [Symbol.dispose]: () => void child.kill(),
  }
}

/** @throws Error when the child ends instead */
async function nextMessage(child: ChildProcess): Promise<unknown> {
  const ended = once(child, 'exit').then(() => {
    throw new Error('the bare client ended')
  })
  const [message] = (await Promise.race([once(child, 'message'), ended])) as [unknown]
  return message
}

function sumOf(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0)
}
