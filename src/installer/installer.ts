import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { JsonObject } from '../acme/json-object.ts'
import { type Answering, answerQuestions } from '../channel/answerer.ts'
import { createBoundedLog } from '../channel/bounded-log.ts'
import type { Who } from '../channel/permissions.ts'
import { listenOnSocket } from '../channel/unix-socket.ts'
import { ensureDirectory } from '../durable-file.ts'
import type { Clock, HttpClient, LogFields, Logger, PluginContext } from '../plugin-api.ts'
import { checkOwnFolder } from '../trusted-file.ts'
import type { InstallerConfig } from './configuration.ts'
import { createInstallations, type Installations } from './installations.ts'

export type InstallerParts = {
  readonly who: Who
  readonly clock: Clock
  readonly log: Logger
  readonly randomBytes: (length: number) => Uint8Array
}

export interface Installer extends AsyncDisposable {
  /** From now on by this configuration; who asks is told. */
  change(config: InstallerConfig): void
}

/** The server has one; commands beside it one each. */
const maxConnections = 16
/** A chain, with what JSON escapes. */
const maxLineBytes = 192 * 1024
const maxPending = 16
const maxRefusalsPerMinute = 60
/** The folder says who comes to the socket: it gives it its group (setgid). */
const socketMode = 0o660

/**
 * Looks after the certificates of a configuration alone: nobody else does, in the same folder.
 * @throws Error when another one does
 */
export async function openInstallations(
  config: InstallerConfig,
  { who, ...parts }: InstallerParts,
  signal: AbortSignal,
): Promise<Installations & AsyncDisposable> {
  const { stateFolder } = config
  await ensureDirectory(stateFolder)
  checkOwnFolder(stateFolder, who)
  // A lock that the system undoes when we die: a socket that nobody has a reason to connect to.
  const lock = await listenOnSocket(
    { place: join(stateFolder, 'lock'), mode: 0o600, gid: undefined, name: 'installer' },
    who,
    (socket) => socket.destroy(),
  )
  const context: PluginContext = { ...parts, signal, http: noNetwork }
  return Object.assign(createInstallations({ config, who, context }), {
    [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose](),
  })
}

/** Answers the server's questions until it is disposed of. @throws Error when it cannot listen there */
export async function startInstaller(
  place: string,
  config: InstallerConfig,
  parts: InstallerParts,
): Promise<Installer> {
  await using stack = new AsyncDisposableStack()
  const stopping = new AbortController()
  const { log, who, clock } = parts
  const installations = stack.use(await openInstallations(config, parts, stopping.signal))
  const refusals = createBoundedLog(log, clock, maxRefusalsPerMinute)
  /** Who asked: the socket and the connection, as nobody can be known otherwise. */
  const noteRefusal = (refusal: LogFields) => refusals.warn('refused, or it failed', refusal)
  const open = new Set<Answering>()
  const working = new Set<Promise<unknown>>()
  let connections = 0

  function accept(socket: Socket): void {
    connections += 1
    const from = `${place}, connection ${connections}`
    const answering = answerQuestions(socket, {
      maxLineBytes,
      maxPending,
      onBroken: (why) => noteRefusal({ from, why }),
      async answer(ask: string, content: JsonObject) {
        const work = installations.answer(ask, content)
        working.add(work)
        try {
          return await work
        } catch (error) {
          const why = error instanceof Error ? error.message : 'unknown reason'
          noteRefusal({ from, ask: shorten(ask), certificate: shorten(content.block), why })
          throw error
        } finally {
          working.delete(work)
        }
      },
    })
    open.add(answering)
    void answering.closed.then(() => open.delete(answering))
  }

  const limit = { maxConnections, refused: (why: string) => noteRefusal({ from: place, why }) }
  const listener = await listenOnSocket(
    { place, mode: socketMode, gid: undefined, name: 'installer', limit },
    who,
    accept,
  )
  const hooks = installations.run()
  stack.defer(async () => {
    const closed = listener[Symbol.asyncDispose]()
    stopping.abort(new Error('the installer is stopping'))
    // Whoever waits for an answer gets it.
    await Promise.allSettled([...working, hooks])
    for (const one of open) one.close()
    await closed
  })
  log.debug('listening', { socket: place })
  const disposables = stack.move()
  return {
    change(next) {
      if (next.stateFolder !== config.stateFolder)
        throw new Error('[process] installer-state takes effect at the next start')
      installations.change(next)
      for (const one of open) one.tell('reloaded', {})
    },
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}

/** What a stranger sends is logged, and not all of it. */
function shorten(text: unknown): string | undefined {
  return typeof text === 'string' ? text.slice(0, 100) : undefined
}

const noNetwork: HttpClient = {
  request: () => Promise.reject(new Error('the installer has no network')),
}
