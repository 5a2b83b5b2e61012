// (f) Validators ask: DNS answers a second beside a bare dgram echo, http-01 answers beside a bare node:http server,
// with one live record and with 100,000. All servers run all the time and take turns.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { placeOf } from '../src/state/places.ts'
import { startChild, waitUntilReady } from '../test/peers/child.ts'
import { freePort } from '../test/peers/peers.ts'
import type { DnsLoadOrder, DnsLoadResult } from './dns-load-generator.ts'
import { startLoadGenerator } from './load.ts'
import { type Release, startBareServer, startServer } from './release.ts'
import { median } from './statistics.ts'

export type AnswersRow = {
  readonly what: 'dns-01' | 'http-01'
  readonly records: number
  readonly acmemsPerSecond: number
  readonly barePerSecond: number
  /** Of the same round. */
  readonly medianRatio: number
  readonly bestRatio: number
}

const recordCounts = [1, 100_000]
const atOnce = 32
const token = 'token-of-the-benchmark'
const host = 'host.example.org'
const value = 'v'.repeat(43)

export async function measureAnswers(release: Release, quick: boolean): Promise<AnswersRow[]> {
  const [dnsPort, httpPort, echoPort] = [await freePort(), await freePort(), await freePort()]
  await using acmems = await startServer(
    release,
    'answers',
    `[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${dnsPort}
zone = acme.example.net
ns = ns1.example.net
[verification "http"]
type = http01
listener = 127.0.0.1:${httpPort}
`,
  )
  const logFile = join(release.folder, 'bare-dns.log')
  writeFileSync(logFile, '')
  await using echo = startChild(process.execPath, [join(import.meta.dirname, 'bare-dns.ts'), String(echoPort)], {
    ...{ env: {}, cwd: release.folder, logFile },
  })
  await waitUntilReady(echo, 'the bare echo', async () => echo.log().includes('ready'))
  await using bare = await startBareServer(release, {
    headers: { 'content-type': 'text/plain', 'content-length': value.length },
    body: value,
  })
  using database = new DatabaseSync(join(release.folder, 'answers', 'state', 'state.db'), { timeout: 10_000 })
  using generator = startLoadGenerator()
  await using dnsGenerator = startDnsLoadGenerator()

  const get = Buffer.from(`GET /.well-known/acme-challenge/${token} HTTP/1.1\r\nHost: ${host}\r\n\r\n`).toString(
    'latin1',
  )
  const http = (port: number, pid: number, durationMs: number) =>
    generator
      .run({ port, body: '', request: get, connections: atOnce, durationMs, maxRequests: 1_000_000 }, pid)
      .then(({ requestsPerSecond }) => requestsPerSecond)
  const question = makeQuestion(`${host}.acme.example.net`)
  const dns = (port: number, answerBytes: number, durationMs: number) =>
    dnsGenerator.run({ port, question: question.toString('base64'), atOnce, durationMs, answerBytes })

  const [durationMs, rounds, warmUpMs] = quick ? [400, 3, 700] : [700, 9, 2000]
  const rows: AnswersRow[] = []
  for (const records of recordCounts) {
    fill(database, records)
    for (const what of ['dns-01', 'http-01'] as const) {
      const ours = (ms: number) =>
        what === 'dns-01' ? dns(dnsPort, question.length + 12 + 44, ms) : http(httpPort, acmems.pid, ms)
      const others = (ms: number) =>
        what === 'dns-01' ? dns(echoPort, question.length, ms) : http(bare.port, bare.pid, ms)
      for (const warmUp of [ours, others]) await warmUp(warmUpMs)
      const pairs: { acmems: number; bare: number }[] = []
      for (let round = 0; round < rounds; round++)
        pairs.push({ acmems: await ours(durationMs), bare: await others(durationMs) })
      const ratios = pairs.map((pair) => pair.acmems / pair.bare)
      rows.push({
        what,
        records,
        acmemsPerSecond: median(pairs.map((pair) => pair.acmems)),
        barePerSecond: median(pairs.map((pair) => pair.bare)),
        medianRatio: median(ratios),
        bestRatio: Math.max(...ratios),
      })
    }
  }
  return rows
}

/** The record that is asked for, and others around it, of both kinds. */
function fill(database: DatabaseSync, records: number): void {
  const insert = database.prepare(
    'insert or replace into answers (type, token, host, key_authorization, expires_at_ms, place) values (?, ?, ?, ?, ?, ?)',
  )
  const expiresAtMs = Date.now() + 3_600_000
  database.exec('begin immediate')
  insert.run('dns-01', token, `_acme-challenge.${host}`, value, expiresAtMs, placeOf(`_acme-challenge.${host}`))
  insert.run('http-01', token, host, value, expiresAtMs, null)
  for (let i = 1; i < records; i++) {
    const name = `host-${i}.example.org`
    const owner = `_acme-challenge.${name}`
    if (i % 2 === 0) insert.run('http-01', `${token}-${i}`, name, value, expiresAtMs, null)
    else insert.run('dns-01', `${token}-${i}`, owner, value, expiresAtMs, placeOf(owner))
  }
  database.exec('commit')
}

function makeQuestion(name: string): Buffer {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
  return Buffer.from([0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 16, 0, 1])
}

function startDnsLoadGenerator(): AsyncDisposable & { run(order: DnsLoadOrder): Promise<number> } {
  const child = fork(join(import.meta.dirname, 'dns-load-generator.ts'))
  return {
    async run(order) {
      const answer = once(child, 'message') as Promise<[DnsLoadResult]>
      child.send(order)
      const [{ answers, elapsedMs, failures }] = await answer
      if (failures > 0 || answers === 0) throw new Error(`of ${answers} DNS answers ${failures} were not as expected`)
      return (answers * 1000) / elapsedMs
    },
    async [Symbol.asyncDispose]() {
      child.kill()
    },
  }
}
