import type { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import type { Who } from '../channel/permissions.ts'
import { listenOnSocket } from '../channel/unix-socket.ts'
import type { Clock } from '../plugin-api.ts'
import { formatGreeting, thumbprintOfJwk } from '../remote-key/protocol.ts'
import { type AuditChain, openAuditChain } from './audit-chain.ts'
import type { Journal } from './journal.ts'
import type { HeldKey } from './key.ts'
import type { Policy } from './policy.ts'
import { createRateGauge } from './rate.ts'
import { type Door, type Session, serveSession } from './session.ts'
import type { AccountdSettings } from './settings.ts'

export type AccountdParts = {
  readonly key: HeldKey
  readonly journal: Journal
  readonly clock: Clock
  readonly who: Who
  /** Of the group that may use the sockets. */
  readonly socketGid: number | undefined
}

/** Signs for whoever may connect. Disposing of it ends it in order. */
export interface Accountd extends AsyncDisposable {
  /** Its files were moved away. One that cannot be opened anew goes on where it is, and keeps no other from it. */
  reopen(): void
}

/** One more than these, and the connection that was silent for longest is ended: silence keeps nobody out. */
const maxConnections = 200
/** For the rest of a line that has begun. */
const lineMs = 30_000
const sweepMs = 5000

const everything: Policy = { reach: 'everything', origins: [], accountUrl: undefined, names: undefined }

/** Serves the socket, and the admin socket where there is one. @throws Error when one cannot be made as it must be */
export async function startAccountd(settings: AccountdSettings, parts: AccountdParts): Promise<Accountd> {
  const { journal } = parts
  await using stack = new AsyncDisposableStack()
  const doors = openDoors(settings, parts, stack)
  if (settings.socket === undefined) throw new Error('socket is not specified, and XDG_RUNTIME_DIR is not set')
  const ended = new AbortController()
  const connections = createConnections(parts.clock, journal, ended.signal)
  stack.defer(() => {
    ended.abort()
    return connections.end()
  })
  const { socketMode: mode } = settings
  const places = [
    [settings.socket, doors.socket, mode, parts.socketGid],
    // Only for whom we are, and root.
    ...(settings.adminSocket === undefined ? [] : [[settings.adminSocket, doors.admin, 0o600, undefined] as const]),
  ] as const
  for (const [place, door, socketMode, gid] of places) {
    journal.say('usual', `Starting lacme Account Key Manager at ${place}`)
    const accept = (socket: Socket) => connections.accept(socket, door)
    stack.use(await listenOnSocket({ place, mode: socketMode, gid, name: 'accountd' }, parts.who, accept))
  }
  const disposables = stack.move()
  return {
    reopen() {
      for (const file of [doors.audit, journal])
        try {
          file?.reopen()
        } catch (error) {
          journal.say('always', `Error: ${error instanceof Error ? error.message : 'unknown reason'}`)
        }
    },
    async [Symbol.asyncDispose]() {
      journal.say('usual', 'Shutting down and closing lacme Account Key Manager')
      await disposables.disposeAsync()
    },
  }
}

/** Serves one peer, at the other end of these streams: by ssh, or lacme itself. */
export async function serveStdio(
  settings: AccountdSettings,
  parts: AccountdParts,
  input: Readable,
  output: Writable,
): Promise<void> {
  await using stack = new AsyncDisposableStack()
  await serveSession(input, output, String(process.pid), openDoors(settings, parts, stack).stdio).done
}

type Doors = { readonly [K in Door['name']]: Door } & { readonly audit: AuditChain | undefined }

function openDoors(settings: AccountdSettings, parts: AccountdParts, stack: AsyncDisposableStack): Doors {
  const { key, journal, clock } = parts
  const { policy, keyid, auditFile } = settings
  const audit = auditFile === undefined ? undefined : stack.use(openAuditChain(auditFile, () => clock.nowMs()))
  const thumbprint = thumbprintOfJwk(key.publicJwk)
  audit?.note({ event: 'START', pid: process.pid, thumbprint, reach: policy.reach, keyid })
  stack.defer(() => {
    try {
      audit?.note({ event: 'STOP', pid: process.pid })
      if (audit !== undefined) journal.say('usual', `The audit log ends with ${audit.head}`)
    } catch (error) {
      journal.say('always', `Error: ${error instanceof Error ? error.message : 'unknown reason'}`)
    }
  })
  const gauge = (rate: AccountdSettings['rate']) =>
    rate === undefined ? undefined : createRateGauge(rate, () => clock.monotonicMs())
  const [rate, orderRate] = [gauge(settings.rate), gauge(settings.orderRate)]
  const all = { key, journal, audit, rate, orderRate }
  const greeting = (accountUrl: string | undefined, publicJwk: HeldKey['publicJwk'] | undefined) =>
    formatGreeting({ alg: key.alg, thumbprint, publicJwk, accountUrl })
  // With keyid the key itself stays hidden: without it nobody makes a request that the account is not named in.
  const open = { ...all, policy, greeting: greeting(keyid, keyid === undefined ? key.publicJwk : undefined) }
  return {
    socket: { ...open, name: 'socket' },
    stdio: { ...open, name: 'stdio' },
    admin: {
      ...all,
      name: 'admin',
      rate: undefined,
      orderRate: undefined,
      policy: everything,
      greeting: greeting(undefined, key.publicJwk),
    },
    audit,
  }
}

type Connection = {
  readonly socket: Socket
  readonly session: Session
  lastMs: number
  /** The line that it was in at the last look, and since when. */
  line: { readonly number: number | undefined; readonly sinceMs: number }
}

function createConnections(clock: Clock, journal: Journal, signal: AbortSignal) {
  const open = new Map<number, Connection>()
  let count = 0
  void sweep().catch(() => undefined)

  async function sweep(): Promise<void> {
    for (;;) {
      await clock.sleep(sweepMs, signal)
      const nowMs = clock.monotonicMs()
      for (const [id, connection] of open) {
        const number = connection.session.openLine()
        // Whoever sends an octet now and then has begun it no later.
        if (number !== connection.line.number) connection.line = { number, sinceMs: nowMs }
        if (number === undefined || nowMs - connection.line.sinceMs < lineMs) continue
        journal.say('always', `[${id}] NOSIGN [half a line for more than ${lineMs / 1000} s]`)
        connection.socket.destroy()
      }
    }
  }

  function makeRoom(): void {
    if (open.size < maxConnections) return
    const [longest] = [...open].sort(([, left], [, right]) => left.lastMs - right.lastMs)
    if (longest === undefined) return
    journal.say('usual', `[${longest[0]}] Connection ended to make room for others`)
    longest[1].socket.destroy()
    open.delete(longest[0])
  }

  return {
    accept(socket: Socket, door: Door): void {
      makeRoom()
      const id = count++
      journal.say('usual', `[${id}] Accepted new connection`)
      // Node.js ends the process where nobody listens for one.
      socket.on('error', () => undefined)
      const session = serveSession(socket, socket, String(id), door)
      const nowMs = clock.monotonicMs()
      const connection: Connection = { socket, session, lastMs: nowMs, line: { number: undefined, sinceMs: nowMs } }
      open.set(id, connection)
      socket.on('data', () => {
        connection.lastMs = clock.monotonicMs()
      })
      void session.done.then(() => {
        open.delete(id)
        socket.destroySoon()
        journal.say('usual', `[${id}] Connection terminated`)
      })
    },
    /** What is being signed is given out; the others are silent, or have half a line. */
    async end(): Promise<void> {
      const sessions = [...open.values()]
      for (const { socket } of sessions) socket.destroy()
      await Promise.all(sessions.map(({ session }) => session.done))
    },
  }
}
