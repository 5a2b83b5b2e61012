// A clock that a test moves: time that passes, and a clock that somebody set wrongly, are two things.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../src/plugin-api.ts'

export interface TestClock extends Clock {
  /** So much time is over, for everything. */
  pass(ms: number): void
  /** The wall clock alone is set to another time. */
  jump(ms: number): void
}

/** @param speed how often faster than the world it runs */
export function createTestClock(speed = 1): TestClock {
  const startedAtMs = Date.now()
  const startedMonotonicMs = performance.now()
  let passedMs = 0
  let jumpedMs = 0
  let wakeAll = new AbortController()
  const monotonicMs = () => startedMonotonicMs + (performance.now() - startedMonotonicMs) * speed + passedMs
  return {
    monotonicMs,
    nowMs: () => Math.round(startedAtMs + monotonicMs() - startedMonotonicMs + jumpedMs),
    async sleep(ms, signal) {
      const untilMs = monotonicMs() + ms
      for (;;) {
        signal.throwIfAborted()
        const leftMs = untilMs - monotonicMs()
        if (leftMs <= 0) return
        const woken = AbortSignal.any([signal, wakeAll.signal])
        await sleep(Math.min(leftMs / speed, 2 ** 30), undefined, { signal: woken }).catch(() => undefined)
        if (signal.aborted) throw signal.reason
      }
    },
    pass(ms) {
      passedMs += ms
      wakeAll.abort()
      wakeAll = new AbortController()
    },
    jump(ms) {
      jumpedMs += ms
    },
  }
}
