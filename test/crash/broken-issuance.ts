// The whole way of a request to its certificate, in this process, over a real state and a real CA, with writes that
// break.
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../../src/config/load.ts'
import { createHttpClient } from '../../src/http/http-client.ts'
import { type CertificateRecord, createIssuance } from '../../src/issuance/issue.ts'
import { createRenewals } from '../../src/issuance/renewals.ts'
import type { Clock, LogFields, PluginContext } from '../../src/plugin-api.ts'
import { builtinPlugins } from '../../src/plugins/builtin.ts'
import { createResponder } from '../../src/responder/responder.ts'
import { createRuntime, type SetupFor } from '../../src/runtime.ts'
import { openState, type State } from '../../src/state/state.ts'
import { accountAt } from '../acmems.ts'
import { buildCsrPem, ecKey } from '../csr-builder.ts'
import type { Pebble } from '../peers/pebble.ts'
import { type Breaker, breakWrites } from './breaker.ts'

export type BrokenIssuanceParts = {
  readonly pebble: Pebble
  readonly folder: string
  readonly storage: 'state' | 'file'
  /** Of the state. */
  readonly breaker: Breaker
}

export interface BrokenIssuance extends AsyncDisposable {
  readonly name: string
  readonly logs: readonly string[]
  /** As a host does. */
  ask(): Promise<CertificateRecord>
  /** Lets so much time pass, and does what a server does by itself then. */
  waitAndTidy(ms: number): Promise<void>
  countRows(): Promise<{ readonly orders: number; readonly answers: number }>
}

/** Sleeping takes a moment and moves the time by what was asked for. */
function createHastyClock(): Clock & { aheadMs: number } {
  const clock = {
    aheadMs: 0,
    nowMs: () => Date.now() + clock.aheadMs,
    monotonicMs: () => performance.now() + clock.aheadMs,
    async sleep(ms: number, signal: AbortSignal) {
      const reallyMs = Math.min(ms, 30)
      await sleep(reallyMs, undefined, { signal })
      clock.aheadMs += ms - reallyMs
    },
  }
  return clock
}

/** All writes of the state that an issuance can make; reading is not broken. */
function breakState(state: State, breaker: Breaker): State {
  return {
    ...state,
    answers: breakWrites(state.answers, 'answers', ['put', 'remove'], breaker),
    certificates: breakWrites(state.certificates, 'certificates', ['saveChain', 'removeChain'], breaker),
    orders: breakWrites(
      state.orders,
      'orders',
      ['claim', 'save', 'lengthen', 'finish', 'release', 'postpone'],
      breaker,
    ),
    register: breakWrites(state.register, 'register', ['record', 'noteAsked', 'savePlan', 'takeDue'], breaker),
    rates: breakWrites(state.rates, 'rates', ['take', 'charge', 'giveBack', 'empty', 'refill'], breaker),
    outages: breakWrites(state.outages, 'outages', ['save', 'clear'], breaker),
  }
}

let addresses = 0

export async function startBrokenIssuance(parts: BrokenIssuanceParts): Promise<BrokenIssuance> {
  const { pebble, folder, storage, breaker } = parts
  await using stack = new AsyncDisposableStack()
  const address = `127.78.${++addresses >> 8}.${addresses & 255}`
  const name = `n${addresses}.crash.test`
  await pebble.setA(name, [address])
  const configFile = join(folder, 'acmems.ini')
  const kept = `storage = kept\n[storage "kept"]\ntype = file\ndirectory = ${join(folder, 'certificates')}\n`
  // The limits are there so that the ledger is written.
  writeFileSync(
    configFile,
    `${accountAt(pebble)}limit-orders = 300/3h
limit-failures = 500/1h
[verification "http"]
type = http01
listener = ${address}:${pebble.httpPort}
[auth "lab"]
ip = 127.0.0.1
domain = ${name}
${storage === 'file' ? kept : ''}`,
  )
  const clock = createHastyClock()
  const stopping = new AbortController()
  const logs: string[] = []
  const note = (message: string, fields?: LogFields) => logs.push(`${message} ${String(fields?.error ?? '')}`)
  const log = { debug: () => undefined, info: note, warn: note, error: note }
  const whole = stack.use(await openState(`sqlite:${join(folder, 'state.db')}`, () => clock.nowMs()))
  const state = breakState(whole, breaker)
  const http = stack.use(createHttpClient([]))
  const context: PluginContext = {
    ...{ signal: stopping.signal, clock, log, http },
    randomBytes: (length) => randomBytes(length),
  }
  const setupFor: SetupFor = (section, { openAccountKey }) => ({
    ...{ ...context, section, openAccountKey, stateFolder: folder, userAgent: 'acmems-tests' },
    ...{ answers: state.answers, certificates: state.certificates, rates: state.rates },
    httpClient: async (caFile) =>
      stack.disposed || caFile === undefined ? http : stack.use(createHttpClient([await readFile(caFile, 'utf8')])),
  })
  const sources = { environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }
  const runtime = stack.use(await createRuntime(await loadConfig({ ...sources, files: [configFile] }), setupFor))
  const server = createServer(
    createResponder(
      (question) => whole.answers.find(question, clock.nowMs()),
      () => undefined,
    ),
  )
  await new Promise<void>((resolve) => server.listen(pebble.httpPort, address, resolve))
  stack.defer(() => {
    stopping.abort(new Error('stopping'))
    server.close()
    server.closeAllConnections()
  })
  const repeat = () => ({ [Symbol.dispose]: () => undefined })
  const issuance = createIssuance({
    ...{ orders: state.orders, register: state.register, outages: state.outages, holder: 'host/1/x', context, repeat },
    blockedKeys: { has: (publicKeyHash) => state.register.isKeyBlocked(publicKeyHash) },
  })
  const renewals = createRenewals({
    ...{ issuance, register: state.register, orders: state.orders, context },
    requestOf: (stored) => runtime.requestOf(stored),
    abandon: async () => undefined,
    tell: () => undefined,
  })
  const asked = {
    block: 'lab',
    remoteAddress: '127.0.0.1',
    postedBytes: Buffer.from(buildCsrPem({ key: ecKey(), names: [name] })),
  }
  const owned = stack.move()
  return {
    name,
    logs,
    ask: () => issuance.issue(runtime.requestOf(asked)),
    async waitAndTidy(ms) {
      clock.aheadMs += ms
      await whole.answers.removeExpired(clock.nowMs())
      await renewals.lookAtDue()
    },
    async countRows() {
      using database = new DatabaseSync(join(folder, 'state.db'), { readOnly: true })
      const count = (table: string) => Number(database.prepare(`select count(*) as n from ${table}`).get()?.n)
      return { orders: count('orders'), answers: count('answers') }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
