import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from './plugin-api.ts'

/** The machine's own time. Made here and handed to everything else. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(ms, signal) {
    signal.throwIfAborted()
    await sleep(ms, undefined, { signal })
  },
}
