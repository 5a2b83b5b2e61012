// (f) Validators ask: DNS answers a second beside a bare dgram echo, http-01 answers beside a bare node:http server,
// with one live record and with 100,000. All servers run all the time and take turns.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { startChild, waitUntilReady } from '../test/peers/child.ts'
import { freePort } from '../test/peers/peers.ts'
import {
  answerBytes,
  answersConfig,
  atOnce,
  fill,
  getRequest,
  question,
  questionBytes,
  startDnsLoadGenerator,
  value,
} from './answers-load.ts'
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
export async function measureAnswers(release: Release, quick: boolean): Promise<AnswersRow[]> {
  const [dnsPort, httpPort, echoPort] = [await freePort(), await freePort(), await freePort()]
  await using acmems = await startServer(release, 'answers', answersConfig({ dns: dnsPort, http: httpPort }))
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

  const http = (port: number, pid: number, durationMs: number) =>
    generator
      .run({ port, body: '', request: getRequest, connections: atOnce, durationMs, maxRequests: 1_000_000 }, pid)
      .then(({ requestsPerSecond }) => requestsPerSecond)
  const dns = (port: number, bytes: number, durationMs: number) =>
    dnsGenerator.run({ port, question, atOnce, durationMs, answerBytes: bytes })

  const [durationMs, rounds, warmUpMs] = quick ? [400, 3, 700] : [700, 9, 2000]
  const rows: AnswersRow[] = []
  for (const records of recordCounts) {
    fill(database, records)
    for (const what of ['dns-01', 'http-01'] as const) {
      const ours = (ms: number) => (what === 'dns-01' ? dns(dnsPort, answerBytes, ms) : http(httpPort, acmems.pid, ms))
      const others = (ms: number) =>
        what === 'dns-01' ? dns(echoPort, questionBytes, ms) : http(bare.port, bare.pid, ms)
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
