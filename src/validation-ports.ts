import { createAsker } from './channel/asker.ts'
import { ownRights } from './channel/permissions.ts'
import type { ChallengeSolver, ChallengeTask, PluginContext } from './plugin-api.ts'

/** Asks `acmems firewall` for the ports that validators come to. */
export interface ValidationPorts extends AsyncDisposable {
  /** Opens them. Never fails: the port may be open anyway, and the validation shows whether it is. */
  hold(ports: readonly number[]): Promise<PortHold>
}

/** Ports that are open until it is released, also when the firewall's process was started again meanwhile. */
export interface PortHold {
  release(): Promise<void>
}

type Held = { readonly port: number; isOpen: boolean; isReleased: boolean }

const answerMs = 10_000
const againMs = 500
const maxLineBytes = 4096

/** @param path of its socket */
export function createValidationPorts(
  path: string,
  { clock, log }: Pick<PluginContext, 'clock' | 'log'>,
): ValidationPorts {
  const stopping = new AbortController()
  const held = new Set<Held>()
  let reopening: Promise<void> | undefined
  const asker = createAsker({
    path,
    who: ownRights(),
    clock,
    maxLineBytes,
    answerMs,
    // What a connection opened ended with it.
    onDown() {
      for (const one of held) one.isOpen = false
      reopening ??= reopen().finally(() => {
        reopening = undefined
      })
    },
  })

  async function openOne(one: Held): Promise<void> {
    await asker.ask('open', { port: one.port })
    one.isOpen = true
    if (one.isReleased) await closeOne(one)
  }

  async function closeOne(one: Held): Promise<void> {
    if (!one.isOpen) return
    one.isOpen = false
    await asker.ask('close', { port: one.port })
  }

  async function reopen(): Promise<void> {
    for (;;) {
      await clock.sleep(againMs, stopping.signal).catch(() => undefined)
      const closed = [...held].filter(({ isOpen }) => !isOpen)
      if (stopping.signal.aborted || closed.length === 0) return
      await Promise.all(closed.map(openOne)).catch((error: unknown) =>
        log.debug('the firewall is not there yet', { error }),
      )
    }
  }

  return {
    async hold(ports) {
      const mine = ports.map((port): Held => ({ port, isOpen: false, isReleased: false }))
      for (const one of mine) {
        held.add(one)
        await openOne(one).catch((error: unknown) =>
          log.warn('a port is not opened in the firewall; the validation goes on, it may be open anyway', {
            port: one.port,
            error,
          }),
        )
      }
      return {
        async release() {
          for (const one of mine) {
            held.delete(one)
            one.isReleased = true
            await closeOne(one).catch((error: unknown) =>
              log.warn('the firewall could not be asked to close a port; it does when the connection ends', {
                port: one.port,
                error,
              }),
            )
          }
        },
      }
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the server is stopping'))
      await asker[Symbol.asyncDispose]()
      await reopening
    },
  }
}

/**
 * The solver of one attempt, whose ports are open from before the answer is there until it is removed, or until the
 * attempt ends.
 */
export function withOpenPorts(solver: ChallengeSolver, ports: ValidationPorts): ChallengeSolver {
  const listeners = (solver.responderListeners ?? []).filter((listener) => !listener.startsWith('fd:'))
  const needed = [...new Set(listeners.map((listener) => Number(/:(\d+)$/.exec(listener)?.[1])))]
  if (needed.length === 0) return solver
  const holds = new Map<string, Promise<PortHold>>()
  const nameOf = ({ identifier, challenge }: ChallengeTask) => `${identifier.value} ${challenge.token}`
  const release = async (name: string) => {
    const hold = holds.get(name)
    holds.delete(name)
    await (await hold)?.release()
  }
  return {
    ...solver,
    async present(task, context) {
      const name = nameOf(task)
      const hold = holds.get(name) ?? ports.hold(needed)
      holds.set(name, hold)
      await hold
      await solver.present(task, context)
    },
    async cleanUp(task, context) {
      try {
        await solver.cleanUp(task, context)
      } finally {
        await release(nameOf(task))
      }
    },
    async pause() {
      await solver.pause?.()
      await Promise.all([...holds.keys()].map(release))
    },
  }
}
