// (g) Ten thousand hosts that ask once a minute, over TLS: what a request costs beside a bare node:https server that
// reads and answers the same octets, how long it takes at 167 a second, and what is left in memory and in the state.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeTlsIdentity } from '../test/peers/tls-identity.ts'
import { blocks, type Fleet, makeFleet } from './polling-fleet.ts'
import { type PollKind, type PollOrder, type PollResult, pollKinds, type Transport } from './polling-order.ts'
import {
  type Release,
  readCpuMs,
  readMemory,
  type Server,
  startBareServer,
  startServer,
  type TlsPaths,
} from './release.ts'
import { median, quantile } from './statistics.ts'

export type PollingSide = {
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** For a request. */
  readonly serverCpuUs: number
}

export type PollingRow = {
  readonly kind: PollKind
  readonly transport: Transport
  readonly rounds: number
  readonly acmems: PollingSide
  readonly bare: PollingSide
  /** Requests a second, of the same round. */
  readonly medianRatio: number
  readonly bestRatio: number
  /** Processor time of acmems for a request, in that of the bare server. */
  readonly cpuRatio: number
  /** How much of the time the generator was at work. */
  readonly generatorShare: number
}

export type NominalFigures = {
  readonly perSecond: number
  readonly seconds: number
  readonly acmems: PollingSide
  readonly bare: PollingSide
  /** Of one processor. */
  readonly acmemsShare: number
  readonly bareShare: number
}

export type PollingMemory = {
  /** After a start on the state of all hosts. */
  readonly idleMb: number
  /** After every host has asked in every way. */
  readonly afterMb: number
  /** After all signed requests. */
  readonly endMb: number
}

export type NonceFigures = {
  readonly requests: number
  /** As many minutes of all hosts that sign once a minute. */
  readonly minutes: number
  readonly rows: number
  readonly stateMb: number
  readonly grownMb: number
  /** For a request, of the first and of the last tenth. */
  readonly firstCpuUs: number
  readonly lastCpuUs: number
}

export type PollingFigures = {
  readonly hosts: number
  readonly rows: readonly PollingRow[]
  readonly nominal: NominalFigures
  readonly memory: PollingMemory
  readonly nonces: NonceFigures
}

type Sizes = {
  readonly hosts: number
  readonly rounds: number
  readonly kept: number
  readonly fresh: number
  readonly nominalRounds: number
  readonly nominalSeconds: number
  readonly minutes: number
}

const full: Sizes = {
  ...{ hosts: 10_000, rounds: 5, kept: 2500, fresh: 800, nominalRounds: 3, nominalSeconds: 20, minutes: 10 },
}
const short: Sizes = {
  ...{ hosts: 1000, rounds: 3, kept: 1000, fresh: 200, nominalRounds: 1, nominalSeconds: 5, minutes: 5 },
}
const connections = { kept: 32, fresh: 16 }
const settleMs = 1500

const describe = ([certificateFile, keyFile]: readonly [string, string]) => `tls-certificate = ${certificateFile}
tls-key = ${keyFile}
[issuer "lab"]
type = local
[auth "${blocks.byAddress}"]
ip = 127.0.0.0/8
domain = **.example.test
issuer = lab
[auth "${blocks.bySignature}"]
enroll = yes
domain = **.example.test
issuer = lab
`

export async function measurePolling(release: Release, quick: boolean): Promise<PollingFigures> {
  const sizes = quick ? short : full
  const folder = join(release.folder, 'polling')
  mkdirSync(folder)
  const { certificateFile, keyFile } = await makeTlsIdentity(folder)
  const tls = [certificateFile, keyFile] as const
  const fleet = await prepare(release, folder, tls, sizes.hosts)
  const stateFile = join(folder, 'state', 'state.db')

  // Anew: nothing of how the certificates came about is in its memory.
  await using acmems = await startServer(release, 'polling', describe(tls))
  await sleep(settleMs)
  const idleMb = readMemory(acmems.pid).residentMb
  using generator = startPollGenerator(fleet)
  const stateMbBefore = sizeOf(stateFile)
  await using bare = await startBareSide(release, fleet, tls)

  // Every host in every way, once: what is remembered of them is in memory now.
  for (const kind of pollKinds)
    await generator.run({ ...orderFor(acmems, [kind], 'kept'), requests: sizes.hosts }, acmems)
  await generator.run({ ...orderFor(bare, pollKinds, 'kept'), requests: sizes.kept }, bare)
  await sleep(settleMs)
  const afterMb = readMemory(acmems.pid).residentMb

  const rows: PollingRow[] = []
  for (const transport of ['kept', 'fresh'] as const)
    for (const kind of pollKinds) rows.push(await measureRow(generator, acmems, bare, kind, transport, sizes))
  const nominal = await measureNominal(generator, acmems, bare, sizes)
  const nonces = await measureNonces(generator, acmems, stateFile, sizes)
  await sleep(settleMs)
  return {
    hosts: sizes.hosts,
    rows,
    nominal,
    memory: { idleMb, afterMb, endMb: readMemory(acmems.pid).residentMb },
    nonces: { ...nonces, stateMb: sizeOf(stateFile), grownMb: sizeOf(stateFile) - stateMbBefore },
  }
}

async function prepare(
  release: Release,
  folder: string,
  tls: readonly [string, string],
  hosts: number,
): Promise<Fleet> {
  // The first start makes the state and the embedded CA.
  await (await startServer(release, 'polling', describe(tls)))[Symbol.asyncDispose]()
  const state = join(folder, 'state')
  return makeFleet(join(state, 'state.db'), join(state, 'ca-lab'), join(folder, 'fleet.json'), hosts)
}

async function startBareSide(release: Release, { hosts, chainPem }: Fleet, tls: TlsPaths): Promise<Server> {
  const requestId = { 'x-request-id': 'AAAAAAAAAAAAAAAA' }
  const sign = {
    headers: { ...requestId, 'content-type': 'text/plain', 'content-length': Buffer.byteLength(chainPem) },
    body: chainPem,
  }
  const headers = { ...requestId, etag: hosts[0]?.etag ?? '', 'cache-control': 'private, no-cache' }
  return await startBareServer(release, { ...sign, get: { status: 304, headers, body: '' } }, tls)
}

function orderFor({ port }: Server, kinds: readonly PollKind[], transport: Transport): Omit<PollOrder, 'requests'> {
  return { port, kinds, transport, firstHost: 0, connections: connections[transport] }
}

async function measureRow(
  generator: PollGenerator,
  acmems: Server,
  bare: Server,
  kind: PollKind,
  transport: Transport,
  sizes: Sizes,
): Promise<PollingRow> {
  const pairs: { readonly acmems: Measured; readonly bare: Measured }[] = []
  const requests = sizes[transport]
  for (let round = 0; round < sizes.rounds; round++) {
    const at = { firstHost: round * requests, requests }
    pairs.push({
      acmems: await generator.run({ ...orderFor(acmems, [kind], transport), ...at }, acmems),
      bare: await generator.run({ ...orderFor(bare, [kind], transport), ...at }, bare),
    })
  }
  const ratios = pairs.map((pair) => pair.acmems.requestsPerSecond / pair.bare.requestsPerSecond)
  return {
    kind,
    transport,
    rounds: sizes.rounds,
    acmems: middleOf(pairs.map((pair) => pair.acmems)),
    bare: middleOf(pairs.map((pair) => pair.bare)),
    medianRatio: median(ratios),
    bestRatio: Math.max(...ratios),
    cpuRatio: median(pairs.map((pair) => pair.acmems.serverCpuUs / pair.bare.serverCpuUs)),
    generatorShare: median(pairs.map((pair) => pair.acmems.generatorShare)),
  }
}

/** Every host once a minute, each time with a handshake, spread over the minute. */
async function measureNominal(
  generator: PollGenerator,
  acmems: Server,
  bare: Server,
  { hosts, nominalRounds, nominalSeconds }: Sizes,
): Promise<NominalFigures> {
  const perSecond = hosts / 60
  const requests = Math.round(perSecond * nominalSeconds)
  const sides = { acmems: [] as Measured[], bare: [] as Measured[] }
  for (let round = 0; round < nominalRounds; round++) {
    const at = { firstHost: round * requests, requests, perSecond }
    sides.acmems.push(await generator.run({ ...orderFor(acmems, pollKinds, 'fresh'), ...at }, acmems))
    sides.bare.push(await generator.run({ ...orderFor(bare, pollKinds, 'fresh'), ...at }, bare))
  }
  const [ours, theirs] = [middleOf(sides.acmems), middleOf(sides.bare)]
  return {
    perSecond,
    seconds: nominalRounds * nominalSeconds,
    acmems: ours,
    bare: theirs,
    acmemsShare: (ours.serverCpuUs * perSecond) / 1e6,
    bareShare: (theirs.serverCpuUs * perSecond) / 1e6,
  }
}

/** As many signed requests as all hosts make in that time; none is forgotten sooner. */
async function measureNonces(
  generator: PollGenerator,
  acmems: Server,
  stateFile: string,
  { hosts, minutes }: Sizes,
): Promise<Omit<NonceFigures, 'stateMb' | 'grownMb'>> {
  const cpuUs: number[] = []
  for (let minute = 0; minute < minutes; minute++) {
    const order = orderFor(acmems, ['signed sign', 'signed box'], 'kept')
    cpuUs.push((await generator.run({ ...order, firstHost: minute, requests: hosts }, acmems)).serverCpuUs)
  }
  using database = new DatabaseSync(stateFile, { readOnly: true, timeout: 60_000 })
  const { count } = database.prepare('SELECT count(*) AS count FROM signature_nonces').get() as { count: number }
  return {
    requests: minutes * hosts,
    minutes,
    rows: count,
    firstCpuUs: cpuUs[0] ?? Number.NaN,
    lastCpuUs: cpuUs.at(-1) ?? Number.NaN,
  }
}

type Measured = PollingSide & { readonly generatorShare: number }

interface PollGenerator extends Disposable {
  run(order: PollOrder, server: Server): Promise<Measured>
}

function startPollGenerator({ file }: Fleet): PollGenerator {
  const child = fork(join(import.meta.dirname, 'polling-generator.ts'), [file])
  return {
    async run(order, { pid }) {
      const before = readCpuMs(pid)
      const { elapsedMs, cpuMs, latenciesMs, failures } = await ask(child, order)
      if (failures.length > 0) throw new Error(`answers were not as expected: ${failures.join('; ')}`)
      return {
        requestsPerSecond: (order.requests * 1000) / elapsedMs,
        p50Ms: quantile(latenciesMs, 0.5),
        p99Ms: quantile(latenciesMs, 0.99),
        serverCpuUs: ((readCpuMs(pid) - before) * 1000) / order.requests,
        generatorShare: cpuMs / elapsedMs,
      }
    },
    [Symbol.dispose]: () => void child.kill(),
  }
}

async function ask(child: ChildProcess, order: PollOrder): Promise<PollResult> {
  const answer = once(child, 'message') as Promise<[PollResult | { readonly error: string }]>
  child.send(order)
  const [result] = await answer
  if ('error' in result) throw new Error(`the hosts could not be played: ${result.error}`)
  return result
}

function middleOf(sides: readonly PollingSide[]): PollingSide {
  const middle = (key: keyof PollingSide) => median(sides.map((side) => side[key]))
  return {
    requestsPerSecond: middle('requestsPerSecond'),
    p50Ms: middle('p50Ms'),
    p99Ms: middle('p99Ms'),
    serverCpuUs: middle('serverCpuUs'),
  }
}

function sizeOf(stateFile: string): number {
  return statSync(stateFile).size / 2 ** 20
}
