import { createTurns } from '../turns.ts'
import type { Opening } from './opening.ts'
import type { OwnRule, Rules } from './rules.ts'

/** Ports that are open for somebody. Several may want the same one: the rule is there once, until the last is done. */
export interface PortOpenings {
  /** @throws Error when it cannot be opened, or may not be */
  open(port: number): Promise<void>
  close(port: number): Promise<void>
  /** What could not be closed when it was to be. */
  closeUnused(): Promise<void>
  closeAll(): Promise<void>
}

/** @param allowed what may be opened, by its port; nothing else is */
export function createPortOpenings(
  allowed: () => ReadonlyMap<number, readonly Opening[]>,
  rules: Rules,
  comment: string,
): PortOpenings {
  const turns = createTurns()
  const inTurn = <T>(act: () => Promise<T>) => turns.take('rules', act)
  const users = new Map<number, number>()
  const made = new Map<number, OwnRule[]>()

  async function deleteRules(port: number): Promise<void> {
    const mine = made.get(port) ?? []
    await rules.remove(mine)
    made.delete(port)
  }

  return {
    open: (port) =>
      inTurn(async () => {
        const openings = allowed().get(port)
        if (openings === undefined) throw new Error(`no validation's listener of the configuration has port ${port}`)
        // Also when it is open already: whoever reloaded the firewall meanwhile took our rule away.
        const fresh = await rules.insert(openings, comment)
        made.set(port, [...(made.get(port) ?? []), ...fresh])
        users.set(port, (users.get(port) ?? 0) + 1)
      }),
    close: (port) =>
      inTurn(async () => {
        const left = (users.get(port) ?? 0) - 1
        if (left > 0) users.set(port, left)
        else {
          users.delete(port)
          await deleteRules(port)
        }
      }),
    closeUnused: () =>
      inTurn(async () => {
        for (const port of [...made.keys()]) if (!users.has(port)) await deleteRules(port)
      }),
    closeAll: () =>
      inTurn(async () => {
        users.clear()
        for (const port of [...made.keys()]) await deleteRules(port)
      }),
  }
}
