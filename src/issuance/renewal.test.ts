import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { renewalDueAtMs } from './renewal.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const startMs = Date.UTC(2026, 0, 1)

/** How long before its end a certificate of this lifetime is due. */
function marginMs(lifetimeMs: number, renewWithinMs?: number): number {
  const notAfterMs = startMs + lifetimeMs
  return notAfterMs - renewalDueAtMs({ notBeforeMs: startMs, notAfterMs }, renewWithinMs)
}

test('without a word from the operator', () => {
  const expected: readonly (readonly [lifetimeDays: number, marginDays: number])[] = [
    // A third of it would be more, but the Python acmems kept such a one until 14 days were left.
    [398, 14],
    [200, 14],
    [100, 14],
    [90, 14],
    [47, 14],
    [42, 14],
    [30, 10],
    [10, 10 / 3],
    // Half of a short-lived one.
    [9, 4.5],
    [7, 3.5],
    [6, 3],
    [1, 0.5],
  ]
  for (const [lifetimeDays, marginDays] of expected)
    assert.equal(marginMs(lifetimeDays * dayMs) / dayMs, marginDays, `${lifetimeDays} days`)
})

test("the operator's word counts", () => {
  assert.equal(marginMs(90 * dayMs, 30 * dayMs), 30 * dayMs)
  assert.equal(marginMs(90 * dayMs, 3 * dayMs), 3 * dayMs)
  assert.equal(marginMs(90 * dayMs, 0), 0)
  assert.equal(marginMs(6 * dayMs, hourMs), hourMs)
})

test('a word that would make every request an order is none', () => {
  for (const lifetimeDays of [6, 14, 90]) {
    const own = marginMs(lifetimeDays * dayMs)
    assert.equal(marginMs(lifetimeDays * dayMs, lifetimeDays * dayMs), own)
    assert.equal(marginMs(lifetimeDays * dayMs, 1000 * dayMs), own)
  }
})

test('a new certificate is always fresh, and due before it ends', () => {
  const lifetime = fc.integer({ min: 1000, max: 5 * 366 * dayMs })
  fc.assert(
    fc.property(lifetime, fc.option(fc.nat(400 * dayMs), { nil: undefined }), (lifetimeMs, renewWithinMs) => {
      const margin = marginMs(lifetimeMs, renewWithinMs)
      assert.ok(margin < lifetimeMs, 'a new one would be due at once')
      assert.ok(margin >= 0, 'due only after its end')
      if (renewWithinMs === undefined) assert.ok(margin <= 14 * dayMs, 'earlier than the Python acmems would')
    }),
  )
})
