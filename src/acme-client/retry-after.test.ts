import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseRetryAfter } from './retry-after.ts'

const nowMs = Date.UTC(2026, 10, 21, 12, 0, 0)
const dayMs = 24 * 3_600_000

test('seconds', () => {
  const read = (text: string) => parseRetryAfter(text, nowMs)
  assert.deepEqual([read('0'), read('1'), read(' 120 '), read('007')], [0, 1000, 120_000, 7000])
})

// RFC 9110 §5.6.7: a recipient MUST accept all three forms. The moment is ten seconds from now.
for (const [form, text] of [
  ['IMF-fixdate', 'Sat, 21 Nov 2026 12:00:10 GMT'],
  ['RFC 850', 'Saturday, 21-Nov-26 12:00:10 GMT'],
  ['asctime', 'Sat Nov 21 12:00:10 2026'],
] as const) {
  test(`a date as ${form}`, () => assert.equal(parseRetryAfter(text, nowMs), 10_000))
}

test('a date that has passed means now', () => {
  assert.equal(parseRetryAfter('Sat, 21 Nov 2026 11:00:00 GMT', nowMs), 0)
  assert.equal(parseRetryAfter('Thu, 01 Jan 1970 00:18:15 GMT', nowMs), 0)
})

test('nobody waits longer than a day', () => {
  for (const text of ['86401', '9999999999', 'Fri, 31 Dec 9999 23:59:59 GMT', 'Sun, 22 Nov 2026 13:00:00 GMT'])
    assert.equal(parseRetryAfter(text, nowMs), dayMs, text)
})

test('what is neither is no answer', () => {
  const garbage = ['', ' ', '-1', '+5', '1.5', '1e3', '0x10', '12s', '10, 20', 'soon', 'Infinity', 'NaN', '99999999999']
  for (const text of [...garbage, '2026-11-21T12:00:10Z', 'Sat, tomorrow', 'null'])
    assert.equal(parseRetryAfter(text, nowMs), undefined, JSON.stringify(text))
  assert.equal(parseRetryAfter(undefined, nowMs), undefined)
})

test('half a date is no date', () => {
  // Date.parse is glad of each of these.
  for (const text of ['Sat, 1', 'Mon, 5 GMT', 'Sat, 21 Nov', 'Saturday, 2026', 'Sat, 21 Nov 2026 12:00:10 +0900'])
    assert.equal(parseRetryAfter(text, nowMs), undefined, JSON.stringify(text))
})

test('any text gives a wait within bounds or none', () => {
  const text = fc.oneof(
    fc.string(),
    fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
    fc.integer().map(String),
  )
  fc.assert(
    fc.property(text, (value) => {
      const waitMs = parseRetryAfter(value, nowMs)
      assert.ok(waitMs === undefined || (Number.isFinite(waitMs) && waitMs >= 0 && waitMs <= dayMs), String(waitMs))
    }),
  )
})
