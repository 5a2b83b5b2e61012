import type { PluginContext } from './plugin-api.ts'
import type { Scrubbing } from './state/scrubbing.ts'

const everyMs = 1000
const patienceRounds = 60

/** Overwrites soon what was deleted; when it is disposed of, everything. */
export function createScrubber(
  scrubbing: Scrubbing,
  { log }: PluginContext,
  repeat: (everyMs: number, act: () => void) => Disposable,
): AsyncDisposable {
  let rounds = 0
  let running: Promise<void> | undefined

  async function scrub(): Promise<void> {
    if (!scrubbing.isDue) return
    await scrubbing.run().catch((error: unknown) => {
      if (rounds % patienceRounds === 0) log.warn('what was deleted cannot be overwritten', { error })
    })
    rounds = scrubbing.isDue ? rounds + 1 : 0
    if (rounds > 0 && rounds % patienceRounds === 0)
      log.warn('what was deleted is not overwritten yet: another process is at the state', { rounds })
  }

  const timer = repeat(everyMs, () => {
    running ??= scrub().finally(() => {
      running = undefined
    })
  })
  return {
    async [Symbol.asyncDispose]() {
      timer[Symbol.dispose]()
      await running
      await scrub()
    },
  }
}
