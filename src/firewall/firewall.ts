import type { Socket } from 'node:net'
import { answerQuestions } from '../channel/answerer.ts'
import { createBoundedLog } from '../channel/bounded-log.ts'
import type { Who } from '../channel/permissions.ts'
import { listenOnSocket } from '../channel/unix-socket.ts'
import type { Clock, Logger } from '../plugin-context.ts'
import { type Guard, startGuard } from './guard.ts'
import { ownOwner, removeLeftRules } from './left-rules.ts'
import type { Opening } from './opening.ts'
import { createPortOpenings } from './port-openings.ts'
import { commentOf } from './rule-owner.ts'
import { createRules } from './rules.ts'
import { findTools } from './tools.ts'

export type FirewallParts = {
  /** `/path`, or `fd:3`. */
  readonly place: string
  readonly who: Who
  /** What may be opened now, by its port. */
  readonly allowed: () => ReadonlyMap<number, readonly Opening[]>
  /** Where programs are looked for. */
  readonly path: string
  readonly clock: Clock
  readonly log: Logger
}

const maxLineBytes = 4096
/** The server has one. */
const maxConnections = 16
const maxPending = 16
/** What a stranger sends is logged, and not all of it. */
const maxAskLength = 100
/** Of one connection. Whoever asks for more has lost count. */
const maxLeases = 10_000
const maxLinesPerMinute = 120
const socketMode = 0o660
/** Somebody has iptables' lock, say. */
const retryMs = 2000

/**
 * Opens and closes ports for whoever may reach the socket; what a connection opened is closed when it ends.
 * @throws Error when it cannot begin
 */
export async function startFirewall(parts: FirewallParts): Promise<AsyncDisposable> {
  const { place, who, allowed, path, clock, log } = parts
  await using stack = new AsyncDisposableStack()
  const rules = createRules(findTools(path))
  const comment = commentOf(ownOwner())
  const { removed } = await removeLeftRules(rules)
  if (removed > 0) log.warn('rules that a killed process left are deleted', { rules: removed })
  const asked = createBoundedLog(log, clock, maxLinesPerMinute)
  const openings = createPortOpenings(allowed, rules, comment)

  let isStopping = false
  let isRetrying = false
  const stopping = new AbortController()
  let guard: Guard | undefined
  const beGuarded = () => {
    guard = startGuard(comment, path, () => {
      if (isStopping) return
      log.warn('the guard was ended; it is started again')
      beGuarded()
    })
  }
  beGuarded()
  stack.defer(async () => {
    isStopping = true
    await guard?.close()
  })
  stack.defer(async () => {
    await openings.closeAll().catch((error: unknown) => log.error('ports are not closed', { error }))
  })

  const connections = new Set<{ close(): void; readonly closed: Promise<void> }>()
  const limit = { maxConnections, refused: (why: string) => asked.warn('refused', { why }) }
  const listener = await listenOnSocket(
    { place, mode: socketMode, gid: undefined, name: 'acmems firewall', limit },
    who,
    accept,
  )
  stack.defer(async () => {
    isStopping = true
    stopping.abort(new Error('the firewall is stopping'))
    const listened = listener[Symbol.asyncDispose]()
    const ended = [...connections].map(({ closed }) => closed)
    for (const one of connections) one.close()
    await Promise.all([listened, ...ended])
  })

  function accept(socket: Socket): void {
    if (isStopping) {
      socket.destroy()
      return
    }
    const leases: number[] = []
    let hasEnded = false
    const connection = answerQuestions(socket, {
      ...{ answer, maxLineBytes, maxPending },
      onBroken: (why) => asked.warn('refused, or it failed', { why }),
    })
    const closed = connection.closed.then(async () => {
      hasEnded = true
      for (const port of leases.splice(0)) await closePort(port, 'its connection ended')
      connections.delete(one)
    })
    const one = { close: () => connection.close(), closed }
    connections.add(one)

    async function answer(ask: string, content: { readonly port?: unknown }) {
      const port = typeof content.port === 'number' ? content.port : undefined
      try {
        return await obey(ask, port)
      } catch (error) {
        asked.warn('refused, or it failed', { ask: ask.slice(0, maxAskLength), port, error })
        throw error
      }
    }

    async function obey(ask: string, port: number | undefined) {
      if (port === undefined || (ask !== 'open' && ask !== 'close')) throw new Error('it opens and closes ports')
      const index = leases.indexOf(port)
      if (ask === 'close') {
        if (index < 0) return {}
        leases.splice(index, 1)
        await closePort(port, 'asked to')
      } else {
        if (leases.length >= maxLeases) throw new Error('too many openings of one connection')
        await openings.open(port)
        asked.info('port opened', { port })
        if (hasEnded) await closePort(port, 'its connection ended')
        else leases.push(port)
      }
      return {}
    }
  }

  async function closePort(port: number, why: string): Promise<void> {
    try {
      await openings.close(port)
      asked.info('port closed', { port, why })
    } catch (error) {
      asked.error('port not closed; it is tried again', { port, error })
      if (!isRetrying) closeLater().catch(() => undefined)
    }
  }

  /** Until it is done; at our end all is closed anyhow. */
  async function closeLater(): Promise<void> {
    isRetrying = true
    for (;;) {
      await clock.sleep(retryMs, stopping.signal)
      try {
        await openings.closeUnused()
        break
      } catch (error) {
        asked.error('ports are not closed; it is tried again', { error })
      }
    }
    isRetrying = false
    asked.info('ports that could not be closed are closed')
  }

  const disposables = stack.move()
  return { [Symbol.asyncDispose]: () => disposables.disposeAsync() }
}

/** What killed ones left, without a server. */
export async function closeLeftPorts(path: string): Promise<{ readonly removed: number; readonly inUse: number }> {
  return await removeLeftRules(createRules(findTools(path)))
}
