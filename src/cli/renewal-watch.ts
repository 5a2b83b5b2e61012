import type { StoredEntry } from '../state/certificate-register.ts'
import type { Desk } from './open-installation.ts'
import { runningServers } from './running-servers.ts'

/** What became of a renewal. */
export type Renewal = {
  readonly entry: StoredEntry
  readonly outcome: 'renewed' | 'failed' | 'not finished'
  readonly serial?: string
  readonly notAfterMs?: number
  readonly reason?: string
}

export type TellProgress = (entry: StoredEntry, what: string) => void

const pollMs = 500
/** So long nothing may happen: one order takes two minutes at most. */
const patienceMs = 5 * 60_000

/** Waits until the server has renewed what it was asked for, or could not. */
export async function waitForRenewals(
  desk: Desk,
  entries: readonly StoredEntry[],
  tell: TellProgress,
): Promise<Renewal[]> {
  const { state, clock, context } = desk
  const open = new Map(entries.map((entry) => [entry.id, entry]))
  const told = new Map<string, number>()
  const done: Renewal[] = []
  const beganAtMs = clock.nowMs()
  let lastSignMs = clock.monotonicMs()
  for (const entry of entries) tell(entry, 'left to the server, which looks every few seconds')
  const finish = (entry: StoredEntry, renewal: Omit<Renewal, 'entry'>) => {
    open.delete(entry.id)
    done.push({ entry, ...renewal })
    lastSignMs = clock.monotonicMs()
  }

  async function look(former: StoredEntry): Promise<void> {
    const entry = await state.register.find(former.id)
    if (entry === undefined) finish(former, { outcome: 'failed', reason: 'it is not in the register any more' })
    else if (entry.supersededAtMs !== undefined && entry.supersededAtMs >= beganAtMs) await finishSuperseded(former)
    else if (entry.serial !== former.serial)
      finish(former, { outcome: 'renewed', serial: entry.serial, notAfterMs: entry.notAfterMs })
    else if (entry.lastError !== undefined) finish(former, { outcome: 'failed', reason: entry.lastError })
    // The server looked at it just when we asked, and wrote down what it knew before.
    else if (entry.plan.asked !== true) await state.register.askRenewal(former.id, clock.nowMs())
  }

  /** The server keeps its key: it made a new one, and with it another request. */
  async function finishSuperseded(former: StoredEntry): Promise<void> {
    const entries = await state.register.findCurrent(former.block, former.names, clock.nowMs())
    const successor = entries.find(({ id, supersededAtMs }) => id !== former.id && supersededAtMs === undefined)
    if (successor === undefined) return
    finish(former, { outcome: 'renewed', serial: successor.serial, notAfterMs: successor.notAfterMs })
  }

  async function tellSteps(entry: StoredEntry): Promise<void> {
    const [story] = await state.stories.list(1, { needPrefix: entry.id })
    if (story === undefined || story.beganAtMs < beganAtMs) return
    for (const { note } of story.steps.slice(told.get(entry.id) ?? 0)) {
      tell(entry, note)
      lastSignMs = clock.monotonicMs()
    }
    told.set(entry.id, story.steps.length)
  }

  async function findTrouble(): Promise<string | undefined> {
    if (clock.monotonicMs() - lastSignMs > patienceMs)
      return 'nothing happened for five minutes; it goes on, and "acmems orders list" shows how far it is'
    if ((await runningServers(state, clock.nowMs())).length > 0) return undefined
    return 'the server has stopped; it goes on with this when it starts again'
  }

  while (open.size > 0) {
    for (const entry of [...open.values()]) {
      await tellSteps(entry)
      await look(entry)
    }
    const trouble = open.size === 0 ? undefined : await findTrouble()
    if (trouble !== undefined)
      for (const entry of open.values()) finish(entry, { outcome: 'not finished', reason: trouble })
    else if (open.size > 0) await clock.sleep(pollMs, context.signal)
  }
  return done
}
