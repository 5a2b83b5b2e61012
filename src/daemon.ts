import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { systemClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { createHttpClient } from './http/http-client.ts'
import { createIssuance } from './issuance/issue.ts'
import { createListenerSet } from './listener-set.ts'
import type { Log } from './log.ts'
import { orderHolder, releaseDeadHolders } from './order-holder.ts'
import type { Clock, HttpClient, IssuanceEvent, PluginContext } from './plugin-api.ts'
import { createResponder } from './responder/responder.ts'
import { createRuntime, type Runtime, type SetupFor } from './runtime.ts'
import { createSignDoor } from './sign/sign-door.ts'
import { openState, stateFolderOf } from './state/state.ts'
import { version } from './version.ts'

/** The running server. Disposing of it stops it: what is in flight finishes, within a bound. */
export interface Daemon extends AsyncDisposable {
  /** Where the doors are open, with the ports really taken. */
  readonly mgmtAddresses: readonly string[]
  readonly responderAddresses: readonly string[]
  /** Takes a new configuration. @throws Error when it cannot be had; the old one then goes on */
  reload(config: Config): Promise<void>
}

/** What the outside world is made of. Tests replace parts of it. */
export type DaemonParts = {
  readonly log: Log
  readonly clock?: Clock
  readonly randomBytes?: (length: number) => Uint8Array
  /** Roots to trust beside the built-in ones, for every CA (`ACME_CAFILE`, `LEGO_CA_CERTIFICATES`). */
  readonly trustedCaFiles?: readonly string[]
  /** Used when the configuration names no state. */
  readonly stateFolder: string
}

const stopGraceMs = 10_000
const mgmtLimits = { maxConnections: 2000, requestTimeoutMs: 9000 }
const responderLimits = { maxConnections: 500, requestTimeoutMs: 5000 }

/** The composition root: the only place that sees every part. @throws Error when the server cannot start */
export async function startDaemon(config: Config, parts: DaemonParts): Promise<Daemon> {
  await using stack = new AsyncDisposableStack()
  const stopping = new AbortController()
  const clock = parts.clock ?? systemClock
  const stateUrl = config.stateUrl ?? `sqlite:${join(parts.stateFolder, 'state.db')}`
  const state = stack.use(
    await openState(
      stateUrl,
      () => clock.nowMs(),
      (error) => parts.log.warn('a connection to the database broke', { error }),
    ),
  )
  const trusted = await Promise.all((parts.trustedCaFiles ?? []).map((file) => readFile(file, 'utf8')))
  const http = stack.use(createHttpClient(trusted))
  const context: PluginContext = {
    signal: stopping.signal,
    clock,
    log: parts.log,
    http,
    randomBytes: parts.randomBytes ?? ((length) => randomBytes(length)),
  }
  const setupFor: SetupFor = (section, { openAccountKey }) => ({
    ...context,
    log: parts.log.child({ section }),
    section,
    stateFolder: stateFolderOf(stateUrl, parts.stateFolder),
    userAgent: `acmems/${version} node/${process.versions.node}`,
    answers: state.answers,
    certificates: state.certificates,
    openAccountKey,
    httpClient: (caFile) => httpClientFor(caFile, trusted, http, stack),
  })

  let runtime = await createRuntime(config, setupFor)
  const former: Runtime[] = []
  const holder = orderHolder(hostname(), process.pid, randomUUID())
  await releaseDeadHolders(state.orders, holder, isAlive)
  const issuance = createIssuance(state.orders, holder, context)
  const tell = (event: IssuanceEvent) => setImmediate(() => void runtime.notify(event))
  const door = createSignDoor({
    rules: () => runtime.rules,
    issuance,
    clock,
    log: parts.log,
    makeRequestId: randomUUID,
    tell,
  })
  const responder = createResponder(
    (question) => state.answers.find(question, clock.nowMs()),
    (error) => parts.log.error('answers cannot be looked up', { error }),
  )
  const mgmt = createListenerSet(door, mgmtLimits, parts.log)
  const responders = createListenerSet(responder, responderLimits, parts.log)
  // Undone in reverse: the doors close, then what still runs is told to stop, then the parts go.
  stack.defer(async () => {
    for (const one of [runtime, ...former]) await one[Symbol.asyncDispose]()
  })
  stack.defer(() => stopping.abort(new Error('the server is stopping')))
  stack.defer(() => responders.close(0))
  stack.defer(() => mgmt.close(stopGraceMs))
  await responders.change(runtime.responderListeners)
  await mgmt.change(runtime.mgmtListeners)
  prepareIssuers(runtime, context)

  async function change(next: Config): Promise<void> {
    const fresh = await createRuntime(next, setupFor)
    try {
      await responders.change(fresh.responderListeners)
      await mgmt.change(fresh.mgmtListeners)
    } catch (error) {
      await responders.change(runtime.responderListeners)
      await fresh[Symbol.asyncDispose]()
      throw error
    }
    former.push(runtime)
    runtime = fresh
    // What is in flight holds on to its old parts; with nothing in flight they can go.
    if (issuance.inFlight === 0) for (const old of former.splice(0)) await old[Symbol.asyncDispose]()
    if (next.stateUrl !== config.stateUrl) parts.log.warn('[state] url takes effect at the next restart')
    if (next.logging.destination !== config.logging.destination)
      parts.log.warn('[logging] destination takes effect at the next restart')
    prepareIssuers(fresh, context)
  }

  // One after another: two at once would each believe that the other's listeners are its own.
  let lastChange = Promise.resolve()
  function reload(next: Config): Promise<void> {
    const turn = lastChange.then(() => change(next))
    lastChange = turn.catch(() => undefined)
    return turn
  }

  const disposables = stack.move()
  return {
    get mgmtAddresses() {
      return mgmt.listeners.map(({ boundAddress }) => boundAddress)
    },
    get responderAddresses() {
      return responders.listeners.map(({ boundAddress }) => boundAddress)
    },
    reload,
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}

/** In the background: a CA that is down now may be up when it is needed. */
function prepareIssuers(runtime: Runtime, context: PluginContext): void {
  const needed = new Set(runtime.config.blocks.map(({ issuer }) => issuer))
  for (const [name, issuer] of runtime.issuers) {
    if (!needed.has(name)) continue
    issuer.prepare?.(context).catch((error: unknown) => {
      if (!context.signal.aborted)
        context.log.warn('the issuer is not ready; it is tried again when it is needed', { issuer: name, error })
    })
  }
}

async function httpClientFor(
  caFile: string | undefined,
  trusted: readonly string[],
  shared: HttpClient,
  stack: AsyncDisposableStack,
): Promise<HttpClient> {
  if (caFile === undefined) return shared
  return stack.use(createHttpClient([...trusted, await readFile(caFile, 'utf8')]))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
