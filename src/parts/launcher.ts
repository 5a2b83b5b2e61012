import { existsSync } from 'node:fs'
import type { Clock, Logger } from '../plugin-context.ts'
import { type SocketWish, withOpenedSockets } from './opened-sockets.ts'
import type { Part, PartName } from './part.ts'
import { type StartedPart, startPart } from './started-part.ts'

/** The parts, kept running. */
export interface Launcher {
  /** Resolves when one of them could not be started at all, with its exit code: the rest is of no use then. */
  readonly failed: Promise<number>
  /** Tells the parts to read their configuration again; those whose sockets are others by now are started anew. */
  reload(parts: readonly Part[]): Promise<void>
  /** The server first: what is in flight needs the others. */
  stop(): Promise<void>
  /** Ends all at once. */
  kill(): void
}

const readyMs = 10_000
const lookMs = 20
/** A part that ends so soon was never there: its configuration cannot be used, or it is not what it was to be. */
const soonMs = 5000
const firstPauseMs = 200
const longestPauseMs = 10_000
const portAgainMs = 2000
/** As the units have it: a CA takes its time. */
const stopMs = 90_000

type Kept = {
  part: Part
  current: StartedPart | undefined
  /** The one that we told to end, to have other sockets. */
  outgoing?: StartedPart | undefined
  done: Promise<void>
}

/**
 * Starts the parts in their order, each when the one before can be asked, and again whenever one ends.
 * @param abandoned when there is to be no other one
 * @throws Error when one cannot be started; then none is left
 */
export async function launch(
  parts: readonly Part[],
  clock: Clock,
  log: Logger,
  abandoned: AbortSignal,
): Promise<Launcher> {
  const stopping = new AbortController()
  const failed = Promise.withResolvers<number>()
  const kept = new Map<PartName, Kept>()
  let isFailed = false
  void failed.promise.then(() => {
    isFailed = true
  })
  try {
    for (const part of parts) {
      if (isFailed || abandoned.aborted) break
      const one: Kept = { part, current: undefined, done: Promise.resolve() }
      kept.set(part.name, one)
      one.current = await start(part)
      one.done = keep(one)
      await untilReady(part)
    }
  } catch (error) {
    // A port is another's, say: those that have begun would go on without the rest, and keep us from our end.
    await stop()
    throw error
  }

  async function start(part: Part, onMissing?: (error: unknown, wish: SocketWish) => void): Promise<StartedPart> {
    const started = await startPart(part, onMissing)
    const { uid, gid } = part.confinement
    log.info('part started', { part: part.name, pid: started.pid, uid, gid })
    return started
  }

  async function untilReady({ socketPath }: Part): Promise<void> {
    const untilMs = clock.monotonicMs() + readyMs
    const isOver = () => isFailed || abandoned.aborted || clock.monotonicMs() >= untilMs
    while (socketPath !== undefined && !existsSync(socketPath) && !isOver()) await clock.sleep(lookMs, stopping.signal)
  }

  async function keep(one: Kept): Promise<void> {
    let pauseMs = firstPauseMs
    for (let first = true; ; first = false) {
      const startedMs = clock.monotonicMs()
      const { current } = one
      const end = current === undefined ? 'it could not be started' : await current.ended
      if (stopping.signal.aborted) return
      const livedMs = clock.monotonicMs() - startedMs
      const exitCode = current?.exitCode()
      if (first && livedMs < soonMs && exitCode !== undefined && current !== one.outgoing) {
        log.error('a part could not begin', { part: one.part.name, end })
        failed.resolve(exitCode || 1)
        return
      }
      if (livedMs > longestPauseMs) pauseMs = firstPauseMs
      log.error('a part ended, and is started again', { part: one.part.name, pid: current?.pid, end, pauseMs })
      await clock.sleep(pauseMs, stopping.signal).catch(() => undefined)
      if (stopping.signal.aborted) return
      pauseMs = Math.min(longestPauseMs, pauseMs * 2)
      const missing: SocketWish[] = []
      // One port that is another's by now is no reason to answer at none. A server would not begin.
      const goWithout = (error: unknown, wish: SocketWish) => {
        missing.push(wish)
        log.error('a part is started without one of its addresses', { part: one.part.name, error })
      }
      one.current = await start(one.part, one.part.name === 'server' ? undefined : goWithout).catch(
        (error: unknown) => {
          log.error('a part cannot be started', { part: one.part.name, error })
          return undefined
        },
      )
      if (missing.length > 0) void startAgainWith(missing, one, one.current)
      // It was asked to end while that one was on its way.
      if (stopping.signal.aborted) one.current?.kill('SIGTERM')
    }
  }

  /** A part takes no sockets later. */
  async function startAgainWith(missing: readonly SocketWish[], one: Kept, current: StartedPart | undefined) {
    let isFree = false
    while (!isFree) {
      await clock.sleep(portAgainMs, stopping.signal).catch(() => undefined)
      if (stopping.signal.aborted || one.current !== current) return
      isFree = await withOpenedSockets(missing, () => true).catch(() => false)
    }
    renew(one)
  }

  function renew(one: Kept): void {
    one.outgoing = one.current
    one.current?.kill('SIGTERM')
  }

  async function end({ current, done }: Kept): Promise<void> {
    current?.kill('SIGTERM')
    const patience = AbortSignal.timeout(stopMs)
    const impatient = () => current?.kill('SIGKILL')
    patience.addEventListener('abort', impatient, { once: true })
    await current?.ended
    patience.removeEventListener('abort', impatient)
    await done
  }

  async function stop(): Promise<void> {
    stopping.abort(new Error('it is being stopped'))
    const server = kept.get('server')
    if (server !== undefined) await end(server)
    await Promise.all([...kept.values()].map(end))
  }

  return {
    failed: failed.promise,
    async reload(next) {
      for (const name of kept.keys())
        if (!next.some((part) => part.name === name))
          log.warn('a part that is not wanted any more runs until the next restart', { part: name })
      for (const part of next) {
        const one = kept.get(part.name)
        if (one === undefined) {
          log.warn('a new part is started at the next restart', { part: part.name })
          continue
        }
        const isMoved = JSON.stringify(one.part.sockets) !== JSON.stringify(part.sockets)
        // Their folders were made for who they were: one that is started again as another would not find its socket.
        if (isOther(one.part, part))
          log.warn('who parts are, and where they meet, changes at the next restart', { part: part.name })
        else one.part = part
        // It is started again at once, with the sockets that it has by now.
        if (isMoved && part.name !== 'server' && one.part === part) renew(one)
        else if (isMoved) log.warn('new listeners of the server below port 1024 are had at the next restart')
        if (part.reloads) one.current?.kill('SIGHUP')
      }
    },
    stop,
    kill() {
      stopping.abort(new Error('it is being ended'))
      for (const { current } of kept.values()) current?.kill('SIGKILL')
    },
  }
}

function isOther(left: Part, right: Part): boolean {
  const identity = ({ args, confinement, socketPath }: Part) => JSON.stringify([args, confinement, socketPath])
  return identity(left) !== identity(right)
}
