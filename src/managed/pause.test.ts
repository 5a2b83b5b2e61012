import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProblemCode, Retry } from '../acme/problem.ts'
import type { Pause } from './memory.ts'
import { isPausing, pauseAfter } from './pause.ts'

const minuteMs = 60_000
const nowMs = 1_000_000_000
/** @param share of the time that chance decides on, as a byte */
const after = (former: Pause | undefined, retry: Retry, share = 255, code: ProblemCode = 'connection') =>
  pauseAfter(
    former,
    { code, retry },
    {
      clock: { nowMs: () => nowMs, monotonicMs: () => 0, sleep: async () => undefined },
      randomBytes: (length) => new Uint8Array(length).fill(share),
    },
  )

test('again after 1, 10 and 100 minutes, then daily; never sooner than half of that', () => {
  for (const share of [0, 255]) {
    let pause: Pause | undefined
    for (const [nth, minutes] of [1, 10, 100, 1440, 1440].entries()) {
      pause = after(pause, { when: 'backoff' }, share)
      const delayMs = pause.retryAtMs - nowMs
      assert.equal(pause.failures, nth + 1)
      assert.ok(delayMs >= (minutes * minuteMs) / 2 && delayMs <= minutes * minuteMs, `${nth}: ${delayMs}`)
    }
  }
})

test('what the CA says counts, up to a day', () => {
  const atMs = nowMs + 30 * minuteMs
  assert.equal(after(undefined, { when: 'notBefore', atMs }).retryAtMs, atMs)
  assert.equal(after(undefined, { when: 'notBefore', atMs: nowMs + 1e12 }).retryAtMs, nowMs + 1440 * minuteMs)
  assert.ok(after(undefined, { when: 'notBefore', atMs: nowMs - 1 }).retryAtMs > nowMs)
})

test('an issuer that is away is no failure of the certificate: it comes back with the issuer', () => {
  const atMs = nowMs + 1440 * minuteMs
  const away = after({ failures: 2, retryAtMs: 0 }, { when: 'notBefore', atMs }, 255, 'serverInternal')
  assert.deepEqual(away, { failures: 2, retryAtMs: atMs })
})

test('a clock that ran ahead makes no pause', () => {
  const pausing = (minutes: number) => isPausing({ failures: 1, retryAtMs: nowMs + minutes * minuteMs }, nowMs)
  assert.deepEqual([-1, 0, 1, 1440, 3000, 1e7].map(pausing), [false, false, true, true, false, false])
  // So none of ours is that long.
  const atMs = nowMs + 3 * 1440 * minuteMs
  const away = after(undefined, { when: 'notBefore', atMs }, 255, 'serverInternal')
  assert.ok(isPausing(away, nowMs))
})
