// (f) The same answers by a responder in a process of its own ("acmems responder"), beside a server that answers itself.
import { mkdirSync } from 'node:fs'
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
  startDnsLoadGenerator,
} from './answers-load.ts'
import { startLoadGenerator } from './load.ts'
import { type Release, readCpuMs, startServer } from './release.ts'
import { median } from './statistics.ts'

export type ResponderRow = {
  readonly what: 'dns-01' | 'http-01'
  readonly separatePerSecond: number
  readonly ownPerSecond: number
  /** Of the same round. */
  readonly medianRatio: number
  readonly bestRatio: number
  /** Processor time for an answer: responder and server together, and the server that answers itself. */
  readonly separateCpuUs: number
  readonly ownCpuUs: number
}

type Measured = { readonly perSecond: number; readonly cpuUs: number }

export async function measureResponder(release: Release, quick: boolean): Promise<ResponderRow[]> {
  const ports = { dns: await freePort(), http: await freePort() }
  const separatePorts = { dns: await freePort(), http: await freePort() }
  await using own = await startServer(release, 'own-answers', answersConfig(ports))
  const socket = join(release.folder, 'answers-socket', 'S')
  mkdirSync(join(release.folder, 'answers-socket'), { mode: 0o700 })
  await using server = await startServer(
    release,
    'asked-answers',
    `${answersConfig(separatePorts)}[process]\nresponder = ${socket}\n`,
  )
  const args = [release.launcher, 'responder', '--socket', socket]
  const logFile = join(release.folder, 'responder.log')
  await using responder = startChild(process.execPath, args, { env: {}, cwd: release.folder, logFile })
  await waitUntilReady(responder, 'the responder', async () => responder.log().includes('"msg":"answering"'))
  for (const name of ['own-answers', 'asked-answers']) {
    using database = new DatabaseSync(join(release.folder, name, 'state', 'state.db'), { timeout: 10_000 })
    fill(database, 1)
  }
  using generator = startLoadGenerator()
  await using dnsGenerator = startDnsLoadGenerator()
  const ask = {
    'dns-01': (separate: boolean, durationMs: number) =>
      dnsGenerator.run({ port: (separate ? separatePorts : ports).dns, question, atOnce, durationMs, answerBytes }),
    'http-01': async (separate: boolean, durationMs: number) => {
      const load = { body: '', request: getRequest, connections: atOnce, durationMs, maxRequests: 1_000_000 }
      const [port, pid] = separate ? [separatePorts.http, responder.pid] : [ports.http, own.pid]
      return (await generator.run({ ...load, port }, pid)).requestsPerSecond
    },
  }
  const [durationMs, rounds, warmUpMs] = quick ? [400, 3, 700] : [700, 9, 2000]
  const rows: ResponderRow[] = []
  for (const what of ['dns-01', 'http-01'] as const) {
    for (const separate of [true, false]) await ask[what](separate, warmUpMs)
    const measure = async (separate: boolean) => {
      const cpuMs = () => (separate ? readCpuMs(server.pid) + readCpuMs(responder.pid) : readCpuMs(own.pid))
      const beforeMs = cpuMs()
      const perSecond = await ask[what](separate, durationMs)
      return { perSecond, cpuUs: ((cpuMs() - beforeMs) * 1e6) / (perSecond * durationMs) }
    }
    const pairs: { separate: Measured; own: Measured }[] = []
    for (let round = 0; round < rounds; round++)
      pairs.push({ separate: await measure(true), own: await measure(false) })
    const ratios = pairs.map(({ separate, own }) => separate.perSecond / own.perSecond)
    rows.push({
      what,
      separatePerSecond: median(pairs.map(({ separate }) => separate.perSecond)),
      ownPerSecond: median(pairs.map((pair) => pair.own.perSecond)),
      separateCpuUs: median(pairs.map(({ separate }) => separate.cpuUs)),
      ownCpuUs: median(pairs.map((pair) => pair.own.cpuUs)),
      medianRatio: median(ratios),
      bestRatio: Math.max(...ratios),
    })
  }
  if (server.log().includes('cannot be looked up')) throw new Error('the server could not answer')
  return rows
}
