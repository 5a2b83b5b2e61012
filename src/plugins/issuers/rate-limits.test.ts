import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { bucketsOf, limitMeanings, parseRateLimit, rateLimitsOf } from './rate-limits.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const production = 'https://acme-v02.api.letsencrypt.org/directory'
const limits = rateLimitsOf({}, production)
const names = (...values: string[]) => values.map((value) => ({ type: 'dns', value }) as const)
const brief = (buckets: readonly { limit: string; subject: string }[]) =>
  buckets.map(({ limit, subject }) => `${limit} ${subject}`)

test("Let's Encrypt's limits are known by its address, others have none", () => {
  assert.deepEqual(limits, {
    orders: { capacity: 300, periodMs: 3 * hourMs },
    domain: { capacity: 50, periodMs: 7 * dayMs },
    sameNames: { capacity: 5, periodMs: 7 * dayMs },
    failures: { capacity: 5, periodMs: hourMs },
  })
  assert.equal(rateLimitsOf({}, 'https://acme-staging-v02.api.letsencrypt.org/directory').orders?.capacity, 1500)
  assert.deepEqual(rateLimitsOf({}, 'https://ca.example/directory'), {})
})

test('the operator overrides, adds and removes', () => {
  const own = { capacity: 7, periodMs: dayMs }
  assert.deepEqual(rateLimitsOf({ 'limit-domain': own }, 'https://ca.example/directory'), { domain: own })
  const changed = rateLimitsOf({ 'limit-domain': own, 'limit-orders': 'none' }, production)
  assert.deepEqual([changed.domain, changed.orders, changed.sameNames?.capacity], [own, undefined, 5])
})

test('how a limit is written', () => {
  assert.deepEqual(parseRateLimit('300/3h'), { capacity: 300, periodMs: 3 * hourMs })
  assert.deepEqual(parseRateLimit(' 5 / 7D '.trim()), { capacity: 5, periodMs: 7 * dayMs })
  assert.deepEqual(parseRateLimit('10/90m'), { capacity: 10, periodMs: 90 * 60_000 })
  assert.equal(parseRateLimit('None'), 'none')
  for (const wrong of ['', '0/1h', '5/0h', '5', '5/h', '-5/1h', '5/1w', '5/1h/2', '1e3/1h', '5.5/1h', '99999999/1h'])
    assert.throws(() => parseRateLimit(wrong), /is no limit; write 300\/3h/, wrong)
})

test('what is written is read again', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9_999_999 }),
      fc.integer({ min: 1, max: 99_999 }),
      fc.constantFrom('m', 'h', 'd'),
      (capacity, span, unit) => {
        const unitMs = { m: 60_000, h: hourMs, d: dayMs }[unit] ?? 0
        assert.deepEqual(parseRateLimit(`${capacity}/${span}${unit}`), { capacity, periodMs: span * unitMs })
      },
    ),
  )
})

test("what an order takes: exemptions as they are granted by Let's Encrypt", () => {
  const wanted = names('b.example.com', 'a.example.com', '*.a.example.com', 'www.example.org')
  const taken = (exempt: Parameters<typeof bucketsOf>[4]) => {
    const { orders, certificates, failures } = bucketsOf(limits, 'ca', 'account', wanted, exempt)
    return { orders: brief(orders), certificates: brief(certificates), failures: brief(failures) }
  }
  const sameNames = 'same-names *.a.example.com a.example.com b.example.com www.example.org'
  const failures = ['a.example.com', 'b.example.com', 'www.example.org'].flatMap((name) => [
    `failures ${name}`,
    `failures-in-a-row ${name}`,
  ])
  assert.deepEqual(taken('nothing'), {
    orders: ['orders account'],
    certificates: ['domain example.com', 'domain example.org', sameNames],
    failures,
  })
  assert.deepEqual(taken('same names'), { orders: [], certificates: [sameNames], failures })
  assert.deepEqual(taken('asked by the CA'), { orders: [], certificates: [], failures })
})

test('the order of the names and repetitions make no difference', () => {
  const label = fc.stringMatching(/^[a-z]{1,6}$/)
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 10 }), fc.nat(), (labels, turn) => {
      const all = labels.map((one) => `${one}.example.com`)
      const at = turn % all.length
      const turned = [...all.slice(at), ...all.slice(0, at), ...all.slice(0, 1)]
      const buckets = (values: string[]) => bucketsOf(limits, 'ca', 'account', names(...values), 'nothing')
      assert.deepEqual(buckets(turned).certificates, buckets(all).certificates)
    }),
  )
})

test('a CA without limits takes nothing; every limit has words for people', () => {
  const none = bucketsOf({}, 'ca', 'account', names('example.com'), 'nothing')
  assert.deepEqual([none.orders, none.certificates, none.failures], [[], [], []])
  const all = bucketsOf(limits, 'ca', 'account', names('example.com'), 'nothing')
  for (const { limit } of [...all.orders, ...all.certificates, ...all.failures])
    assert.ok(limitMeanings[limit] !== undefined, limit)
})
