import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  availableAtMs,
  fullAfterOne,
  fullIfEmptyUntil,
  intervalMs,
  latestFullAtMs,
  type RateBucket,
  remainingIn,
} from './rate-limit.ts'

const hourMs = 3_600_000
const nowMs = Date.UTC(2027, 0, 1)
/** What lies between our book-keeping and the CA's, at the most. */
const toleranceMs = 60_000
const bucketOf = (capacity: number, periodMs: number): RateBucket => ({
  issuerKey: 'ca',
  limit: 'orders',
  subject: '',
  capacity,
  periodMs,
})
const bucket = fc
  .tuple(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 8 * 24 }))
  .map(([capacity, hours]) => bucketOf(capacity, hours * hourMs))

/** Takes as the ledger does. */
function take(one: RateBucket, fullAtMs: number, atMs: number, reserve: number): number | undefined {
  return availableAtMs(one, fullAtMs, atMs, reserve) > atMs ? undefined : fullAfterOne(one, fullAtMs, atMs)
}

test('300 in three hours: one every 36 s at the CA, two seconds more here', () => {
  assert.equal(intervalMs(bucketOf(300, 3 * hourMs)), 38_000)
  assert.equal(intervalMs(bucketOf(10, 1000)), 125, 'a quarter at most')
})

test('a full bucket gives one at once, whatever is to be left and however small it is', () => {
  fc.assert(
    fc.property(bucket, fc.double({ min: 0, max: 1, noNaN: true }), (one, reserve) => {
      assert.ok(availableAtMs(one, 0, nowMs, reserve) <= nowMs)
      assert.ok(latestFullAtMs(one, nowMs, reserve) > nowMs - toleranceMs)
    }),
  )
})

test('what remains is counted', () => {
  const one = bucketOf(5, 5 * hourMs)
  let fullAtMs = 0
  for (let left = 5; left > 0; left--) {
    assert.equal(remainingIn(one, fullAtMs, nowMs), left)
    fullAtMs = fullAfterOne(one, fullAtMs, nowMs)
  }
  assert.equal(remainingIn(one, fullAtMs, nowMs), 0)
  assert.equal(remainingIn(one, fullAtMs, nowMs + intervalMs(one)), 1)
  assert.equal(remainingIn(one, fullAtMs, nowMs + 5 * intervalMs(one)), 5)
  assert.equal(remainingIn(one, fullAtMs, nowMs + 500 * hourMs), 5)
})

test('never more than a bucket of tokens that come back evenly would give', () => {
  const pauses = fc.array(fc.integer({ min: 0, max: 2 * hourMs }), { maxLength: 300 })
  fc.assert(
    fc.property(bucket, pauses, fc.constantFrom(0, 0.2), (one, gaps, reserve) => {
      let [fullAtMs, atMs, tokens, lastMs] = [0, nowMs, one.capacity, nowMs]
      for (const gap of gaps) {
        atMs += gap
        tokens = Math.min(one.capacity, tokens + ((atMs - lastMs) * one.capacity) / one.periodMs)
        lastMs = atMs
        const next = take(one, fullAtMs, atMs, reserve)
        if (next === undefined) continue
        fullAtMs = next
        tokens -= 1
        assert.ok(tokens >= -1e-6, `${tokens} left`)
      }
    }),
  )
})

test('what is said to be available is, and not a minute earlier', () => {
  fc.assert(
    fc.property(bucket, fc.integer({ min: 0, max: 600 }), fc.constantFrom(0, 0.2, 0.9), (one, taken, reserve) => {
      let fullAtMs = 0
      for (let count = 0; count < taken; count++) fullAtMs = fullAfterOne(one, fullAtMs, nowMs)
      const atMs = Math.max(availableAtMs(one, fullAtMs, nowMs, reserve), nowMs)
      assert.ok(take(one, fullAtMs, atMs, reserve) !== undefined)
      if (atMs > nowMs) assert.equal(take(one, fullAtMs, atMs - 1, reserve), undefined)
    }),
  )
})

test('a reserve leaves something to those who have none', () => {
  const one = bucketOf(50, 7 * 24 * hourMs)
  let fullAtMs = 0
  let taken = 0
  for (;;) {
    const next = take(one, fullAtMs, nowMs, 0.2)
    if (next === undefined) break
    fullAtMs = next
    taken += 1
  }
  assert.ok(taken === 40 || taken === 39, String(taken))
  assert.ok(take(one, fullAtMs, nowMs, 0) !== undefined)
})

test('a bucket that is empty until a moment has one then, and none before', () => {
  fc.assert(
    fc.property(bucket, fc.integer({ min: 1, max: 1000 }), (one, minutes) => {
      const untilMs = nowMs + minutes * 60_000
      const fullAtMs = fullIfEmptyUntil(one, untilMs)
      assert.equal(take(one, fullAtMs, untilMs - intervalMs(one) - toleranceMs, 0), undefined)
      assert.ok(take(one, fullAtMs, untilMs + toleranceMs, 0) !== undefined)
    }),
  )
})
