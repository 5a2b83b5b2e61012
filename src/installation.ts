import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { systemClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { environment } from './config/environment.ts'
import { createHttpClient } from './http/http-client.ts'
import { unwritableState } from './issuance/records.ts'
import type { Log } from './log.ts'
import { orderHolder } from './order-holder.ts'
import type { AnswerRecords, Clock, HttpClient, PluginContext } from './plugin-api.ts'
import type { SetupFor } from './runtime.ts'
import { openState, type State, stateFolderOf } from './state/state.ts'
import { version } from './version.ts'

/** What the outside world is made of. Tests replace parts of it. */
export type InstallationParts = {
  readonly log: Log
  readonly clock?: Clock
  readonly randomBytes?: (length: number) => Uint8Array
  /** Roots to trust beside the built-in ones, for every CA (`ACME_CAFILE`, `LEGO_CA_CERTIFICATES`). */
  readonly trustedCaFiles?: readonly string[]
  /** Used when the configuration names no state. */
  readonly stateFolder: string
}

/** What a server and the commands beside it share: the state, and what plugins are made with. */
export interface Installation extends AsyncDisposable {
  readonly state: State
  readonly context: PluginContext
  readonly setupFor: SetupFor
  /** This process, as others on the same state see it. */
  readonly holder: string
  readonly stateUrl: string
  /** Where files lie that belong to the state. */
  readonly stateFolder: string
  makeId(): string
}

/** A state that cannot be written now may be written later: what needs an answer record is tried again. */
function answersOf({ answers }: State): AnswerRecords {
  const trying = async (write: Promise<void>) => {
    try {
      await write
    } catch (cause) {
      throw unwritableState(cause)
    }
  }
  return {
    put: (record) => trying(answers.put(record)),
    remove: (record) => trying(answers.remove(record)),
    shown: answers.shown,
  }
}

/** @throws Error when the state cannot be used */
export async function openInstallation(
  config: Pick<Config, 'stateUrl'>,
  parts: InstallationParts,
  signal: AbortSignal,
): Promise<Installation> {
  await using stack = new AsyncDisposableStack()
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
    signal,
    clock,
    log: parts.log,
    http,
    randomBytes: parts.randomBytes ?? ((length) => randomBytes(length)),
  }
  const stateFolder = stateFolderOf(stateUrl, parts.stateFolder)
  const setupFor: SetupFor = (section, { openAccountKey }) => ({
    ...context,
    log: parts.log.child({ section }),
    section,
    stateFolder,
    environment,
    userAgent: `acmems/${version} node/${process.versions.node}`,
    answers: answersOf(state),
    certificates: state.certificates,
    rates: state.rates,
    openAccountKey,
    httpClient: (caFile, pins = []) => httpClientFor(caFile, pins, trusted, http, stack),
  })
  const disposables = stack.move()
  return {
    state,
    context,
    setupFor,
    holder: orderHolder(hostname(), process.pid, randomUUID()),
    stateUrl,
    stateFolder,
    makeId: randomUUID,
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }

  async function httpClientFor(
    caFile: string | undefined,
    pins: readonly string[],
    trustedPem: readonly string[],
    shared: HttpClient,
    owner: AsyncDisposableStack,
  ): Promise<HttpClient> {
    if (caFile === undefined && pins.length === 0) return shared
    const ownPem = caFile === undefined ? [] : [await readFile(resolve(caFile), 'utf8')]
    const client = createHttpClient([...trustedPem, ...ownPem], pins)
    return (owner.disposed ? disposables : owner).use(client)
  }
}
