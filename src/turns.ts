/** One after the other for the same key, side by side for others. */
export interface Turns {
  take<T>(key: string, act: () => Promise<T>): Promise<T>
}

/**
 * What reads a set of records, changes it and writes it back must be alone with it. A provider keeps its turns outside
 * of create(): after a reload the old one and the new one work for a while side by side.
 */
export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return {
    async take(key, act) {
      const before = last.get(key)
      const mine = (async () => {
        await before
        return act()
      })()
      const settled = mine.catch(() => undefined)
      last.set(key, settled)
      try {
        return await mine
      } finally {
        if (last.get(key) === settled) last.delete(key)
      }
    },
  }
}
