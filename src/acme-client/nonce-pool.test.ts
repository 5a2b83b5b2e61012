import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createNoncePool } from './nonce-pool.ts'

const minuteMs = 60_000

function createClock() {
  let atMs = 1_000_000
  return {
    nowMs: () => atMs,
    advance: (ms: number) => {
      atMs += ms
    },
  }
}

test('an empty pool has none', () => {
  const pool = createNoncePool(() => 0)
  assert.equal(pool.take(), undefined)
  pool.add(undefined)
  assert.equal(pool.take(), undefined)
})

test('the newest comes first, each once', () => {
  const pool = createNoncePool(() => 0)
  for (const nonce of ['a', 'b', 'c']) pool.add(nonce)
  assert.deepEqual([pool.take(), pool.take()], ['c', 'b'])
  pool.add('d')
  assert.deepEqual([pool.take(), pool.take(), pool.take()], ['d', 'a', undefined])
})

test('RFC 8555 §6.5.1: what is not base64url is ignored', () => {
  const pool = createNoncePool(() => 0)
  for (const nonce of ['', ' ', 'a b', 'a+b', 'a/b', 'a=', 'ü', 'a\r\nx: y', '"a"', 'a,b']) pool.add(nonce)
  assert.equal(pool.take(), undefined)
  pool.add('AZaz09-_')
  assert.equal(pool.take(), 'AZaz09-_')
})

test('a nonce that a CA hands out twice is used once', () => {
  const pool = createNoncePool(() => 0)
  pool.add('a')
  pool.add('a')
  assert.deepEqual([pool.take(), pool.take()], ['a', undefined])
})

test('old nonces are forgotten, and all of them at once', () => {
  const clock = createClock()
  const pool = createNoncePool(clock.nowMs)
  pool.add('old')
  clock.advance(4 * minuteMs)
  pool.add('young')
  clock.advance(4 * minuteMs)
  assert.equal(pool.take(), 'young')
  assert.equal(pool.take(), undefined, 'eight minutes old')
  pool.add('a')
  pool.add('b')
  clock.advance(6 * minuteMs)
  assert.equal(pool.take(), undefined)
  clock.advance(-6 * minuteMs)
  assert.equal(pool.take(), undefined, 'they are gone, not hidden')
})

test('clear forgets everything', () => {
  const pool = createNoncePool(() => 0)
  pool.add('a')
  pool.clear()
  assert.equal(pool.take(), undefined)
})

test('whatever comes: bounded, fresh, never twice', () => {
  const action = fc.oneof(
    { weight: 6, arbitrary: fc.constant({ do: 'add' as const }) },
    { weight: 4, arbitrary: fc.constant({ do: 'take' as const }) },
    { weight: 1, arbitrary: fc.constant({ do: 'clear' as const }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(6 * minuteMs) }) },
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 400 }), (actions) => {
      const clock = createClock()
      const pool = createNoncePool(clock.nowMs)
      const addedAtMs: number[] = []
      const taken = new Set<string>()
      let clearedBelow = 0
      for (const one of actions) {
        if (one.do === 'add') pool.add(`n${addedAtMs.push(clock.nowMs()) - 1}`)
        if (one.do === 'wait') clock.advance(one.ms)
        if (one.do === 'clear') {
          pool.clear()
          clearedBelow = addedAtMs.length
        }
        if (one.do !== 'take') continue
        const nonce = pool.take()
        if (nonce === undefined) continue
        const index = Number(nonce.slice(1))
        assert.ok(!taken.has(nonce), `${nonce} twice`)
        assert.ok(index >= clearedBelow, `${nonce} was cleared`)
        assert.ok(clock.nowMs() - (addedAtMs[index] ?? 0) <= 5 * minuteMs, `${nonce} is old`)
        taken.add(nonce)
      }
    }),
  )
  const pool = createNoncePool(() => 0)
  for (let i = 0; i < 10_000; i++) pool.add(`n${i}`)
  const left: string[] = []
  for (let nonce = pool.take(); nonce !== undefined; nonce = pool.take()) left.push(nonce)
  assert.ok(left.length <= 100, `${left.length} are kept`)
  assert.equal(left[0], 'n9999')
})
