// A CA, the faults before it, and acmems behind them: what every scenario is made of, and what must be true in each.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../../src/config/load.ts'
import { startDaemon } from '../../src/daemon.ts'
import { createLog } from '../../src/log.ts'
import type { Clock } from '../../src/plugin-api.ts'
import { builtinPlugins } from '../../src/plugins/builtin.ts'
import { accountAndHttp01 } from '../acmems.ts'
import { type FaultProxy, startFaultProxy } from '../faults/fault-proxy.ts'
import type { EndpointKind, LogEntry, Rule } from '../faults/rule.ts'
import { postCsr, type SignReply } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { type Pebble, type PebbleOptions, startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { until } from '../until.ts'
import { caAt } from './ca-time.ts'

/** acmems in this process, so that its clock is ours. */
export interface Server extends AsyncDisposable {
  readonly signUrl: string
  readonly folder: string
  log(): string
  stop(): Promise<void>
}

export async function startServer(config: string, folder: string, clock?: Clock): Promise<Server> {
  const [configFile, logFile] = [join(folder, 'acmems.ini'), join(folder, 'acmems.log')]
  const state = config.includes('[state]') ? '' : `[state]\nurl = sqlite:${stateFile(folder)}\n`
  writeFileSync(configFile, `${state}[mgmt]\nlistener = 127.0.0.1:0\n${config}`)
  const sources = { files: [configFile], environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }
  const log = createLog({ level: 'debug', destination: logFile, format: 'json' }, 'program')
  const parts = { log, stateFolder: folder, ...(clock === undefined ? {} : { clock }) }
  const daemon = await startDaemon(await loadConfig(sources), parts)
  let stopped: Promise<void> | undefined
  const stop = async () => {
    stopped ??= (async () => daemon[Symbol.asyncDispose]())()
    await stopped
  }
  return {
    signUrl: `http://${daemon.mgmtAddresses[0]}/sign`,
    folder,
    log: () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : ''),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

export function stateFile(folder: string): string {
  return join(folder, 'state.db')
}

/** What the state says, read beside the server. */
export function readState(folder: string, sql: string): Record<string, unknown>[] {
  const database = new DatabaseSync(stateFile(folder), { readOnly: true, timeout: 5000 })
  try {
    return database.prepare(sql).all()
  } finally {
    database.close()
  }
}

export const everyone = '[auth "all of it"]\nip = 127.0.0.0/8\ndomain = **.example.test\n'

/** Pebble without its usual rudeness: here the rules are rude. */
export const calm = { nonceReject: 0, authzReuse: 0, keyAlgorithm: 'ecdsa' } as const satisfies PebbleOptions

export type RigOptions = {
  readonly pebble?: PebbleOptions
  readonly rules?: readonly Rule[]
  /** More lines for `[account]`. */
  readonly account?: string
  /** More sections. */
  readonly config?: string
  readonly clock?: Clock
  /** The CA's time; absent: the server's, where that has a clock of its own. */
  readonly caRules?: readonly Rule[]
  readonly seed?: number
}

export interface Rig extends AsyncDisposable {
  readonly pebble: Pebble
  readonly proxy: FaultProxy
  /** The one that runs now. */
  readonly server: Server
  readonly folder: string
  readonly config: string
  /** From now on; the CA's time stays what it is. */
  setRules(rules: readonly Rule[]): void
  /** Requests that the CA has not answered yet, and the most that there were at once. */
  readonly load: { readonly inFlight: number; readonly peak: number }
  /** Nothing goes on at the CA any more. */
  idle(): Promise<void>
  restart(clock?: Clock): Promise<void>
  ask(csr: string): Promise<SignReply>
  /** As a host does that wants its certificate: again after a pause, until it has it. */
  askUntilGiven(csr: string, options?: { pauseMs?: number; maxAsks?: number }): Promise<Given>
}

export type Given = { readonly reply: SignReply; readonly asks: number; readonly elapsedMs: number }

export function startProxy(pebble: Pebble, rules: readonly Rule[] = [], seed = 7): Promise<FaultProxy> {
  return startFaultProxy({ upstreamUrl: pebble.directoryUrl, upstreamCaFile: pebble.caFile, seed, rules })
}

export function configFor(pebble: Pebble, proxy: FaultProxy, { account = '', config = '' }: RigOptions = {}): string {
  const [head = '', ...rest] = accountAndHttp01({ ...pebble, ...proxy }).split('[verification')
  return `${[`${head}${account}\n`, ...rest].join('[verification')}${config}${everyone}`
}

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(makeTempFolder('reliability')).path
  const pebble = stack.use(await startPebble({ ...calm, httpPort: await freePort(), ...options.pebble }))
  const load = { inFlight: 0, peak: 0 }
  const ownRules = options.caRules ?? (options.clock === undefined ? [] : caAt(options.clock))
  const caRules = [countLoad(load), ...ownRules]
  const proxy = stack.use(await startProxy(pebble, [...caRules, ...(options.rules ?? [])], options.seed))
  const config = configFor(pebble, proxy, options)
  let server = await startServer(config, folder, options.clock)
  stack.defer(() => server.stop())
  const owned = stack.move()
  const ask = (csr: string) => postCsr(server.signUrl, csr)
  return {
    pebble,
    proxy,
    folder,
    config,
    get server() {
      return server
    },
    load,
    idle: () => waitUntilIdle(proxy, load, folder),
    setRules: (rules) => proxy.setRules([...caRules, ...rules]),
    async restart(clock = options.clock) {
      await server.stop()
      server = await startServer(config, folder, clock)
    },
    ask,
    askUntilGiven: (csr, { pauseMs = 500, maxAsks = 300 } = {}) => askUntilGiven(() => ask(csr), pauseMs, maxAsks),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

function countLoad(load: { inFlight: number; peak: number }): Rule {
  const before = () => {
    load.inFlight += 1
    load.peak = Math.max(load.peak, load.inFlight)
  }
  const answered = () => {
    load.inFlight -= 1
  }
  return { action: { do: 'onRequest', before, answered } }
}

async function waitUntilIdle(proxy: FaultProxy, load: { readonly inFlight: number }, folder: string): Promise<void> {
  for (let quietRounds = 0, length = -1; quietRounds < 3; ) {
    const isQuiet = length === proxy.log.length && load.inFlight === 0
    const isWorking = () => readState(folder, 'select need from orders where holder is not null').length > 0
    quietRounds = isQuiet && !isWorking() ? quietRounds + 1 : 0
    length = proxy.log.length
    await sleep(8)
  }
}

export async function askUntilGiven(ask: () => Promise<SignReply>, pauseMs = 500, maxAsks = 300): Promise<Given> {
  const startedMs = performance.now()
  for (let asks = 1; ; asks++) {
    const reply = await ask()
    if (reply.status === 200 || asks >= maxAsks) return { reply, asks, elapsedMs: performance.now() - startedMs }
    await sleep(pauseMs)
  }
}

/** Orders that the CA has made. */
export function ordersAt(pebble: Pebble): number {
  return pebble.log().split('Added order "').length - 1
}

export function requestsTo(proxy: FaultProxy, endpoint: EndpointKind, from = 0): LogEntry[] {
  return proxy.log.slice(from).filter((entry) => entry.endpoint === endpoint)
}

export type Expected = {
  /** Orders that the CA ended as invalid, or that were given up because of what the CA said. */
  readonly invalidOrders?: number
  /** Hosts' certificates: the request, and what it got last. */
  readonly kept?: ReadonlyMap<string, string>
}

/** I1, I2, I3, I5, I6. */
export async function assertInvariants(
  rig: Rig,
  { invalidOrders = 0, kept = new Map() }: Expected = {},
): Promise<void> {
  const { pebble, server, folder } = rig
  for (const [csr, text] of kept) {
    const reply = await rig.ask(csr)
    assert.equal(reply.status, 200, `I1: a good certificate is not answered: ${reply.text}`)
    assert.equal(reply.text, text, 'I1: another certificate is answered')
  }
  await until('I2: every answer record is removed', () => readState(folder, 'select * from answers').length === 0)
  const [orders, certificates] = [ordersAt(pebble), pebble.issuedCount()]
  assert.ok(orders <= certificates + invalidOrders, `I3: ${orders} orders, ${certificates} certificates`)
  assertNoSecrets(folder, server.log())
  const alive = await postCsr(server.signUrl, 'are you there?')
  assert.equal(alive.status, 415, 'I6: the server answers')
}

/** I5: neither the account's key nor anything else that is one. */
function assertNoSecrets(folder: string, log: string): void {
  assert.doesNotMatch(log, /BEGIN [A-Z ]*PRIVATE KEY/, 'I5')
  const keyFile = join(folder, 'account', 'account.pem')
  if (!existsSync(keyFile)) return
  const lines = readFileSync(keyFile, 'utf8').split('\n')
  for (const line of lines.filter((text) => text.length > 20 && !text.startsWith('-----')))
    assert.ok(!log.includes(line), 'I5: the account key is in the log')
}
