// Several issuers for one grant: when the next is asked, and when never.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  again,
  ask,
  createIssuer,
  createStorage,
  createWorld,
  dayMs,
  done,
  failureOf,
  hourMs,
  makeChain,
  startMs,
} from '../../test/issuance-world.ts'
import { type ProblemCode, ProblemError, type Retry } from '../acme/problem.ts'

const problem = (code: ProblemCode, retry: Retry = { when: 'never' }) =>
  new ProblemError(code, `${code} here`, { retry })
const failing = (error: ProblemError) =>
  createIssuer(() => {
    throw error
  }, 'first CA')
const working = () => createIssuer(() => done(), 'second CA')

for (const code of [
  'serverInternal',
  'rateLimited',
  'userActionRequired',
  'externalAccountRequired',
  'invalidProfile',
] as const)
  test(`after ${code} the fallback is asked`, async () => {
    const { issuance } = createWorld()
    const [first, second] = [failing(problem(code)), working()]
    const { chains, storage } = createStorage()
    assert.equal((await ask(issuance, { issuer: first.issuer, fallback: second.issuer, storage })).source, 'issued')
    assert.equal(second.calls.length, 1)
    assert.match([...chains.keys()].join(), /^second CA /, 'kept as what it is')
    assert.equal((await ask(issuance, { issuer: first.issuer, fallback: second.issuer, storage })).source, 'kept')
  })

for (const code of [
  'rejectedIdentifier',
  'caa',
  'dns',
  'connection',
  'incorrectResponse',
  'badCSR',
  'badPublicKey',
] as const)
  test(`after ${code} it is not`, async () => {
    const { issuance } = createWorld()
    const [first, second] = [failing(problem(code)), working()]
    const failure = await failureOf(ask(issuance, { issuer: first.issuer, fallback: second.issuer }))
    assert.equal(failure.code, code)
    assert.deepEqual(second.calls, [])
  })

test('when both fail the reason of the first comes first, and the soonest time to come back', async () => {
  const { issuance } = createWorld()
  const first = failing(problem('userActionRequired'))
  const second = failing(problem('rateLimited', { when: 'notBefore', atMs: startMs + hourMs }))
  const failure = await failureOf(ask(issuance, { issuer: first.issuer, fallback: { ...second.issuer, key: 'other' } }))
  assert.match(failure.message, /^userActionRequired here; the fallback failed, too: rateLimited here$/)
  assert.deepEqual(failure.retry, { when: 'notBefore', atMs: startMs + hourMs })
})

test('a CA that is away is not asked again before its pause is over, which grows and is written down', async () => {
  const { issuance, outages, clock } = createWorld()
  const first = failing(problem('serverInternal', { when: 'notBefore', atMs: startMs + 60_000 }))
  const failure = await failureOf(ask(issuance, { issuer: first.issuer }))
  assert.deepEqual(failure.retry, { when: 'notBefore', atMs: startMs + 60_000 })
  const [outage] = outages.known.values()
  assert.deepEqual([outage?.failures, outage?.untilMs, outage?.sinceMs], [1, startMs + 60_000, startMs])
  clock.nowAtMs = startMs + 59_999
  await failureOf(ask(issuance, { issuer: first.issuer }))
  assert.equal(first.calls.length, 1, 'not asked')
  clock.nowAtMs = startMs + 60_000
  await failureOf(ask(issuance, { issuer: first.issuer }))
  assert.ok(first.calls.length > 1, 'asked again')
  assert.equal(outages.known.get('first CA')?.failures, 2)
})

test('an outage survives a restart, and ends with the first success', async () => {
  const { issuance, orders, outages, clock } = createWorld()
  const key = 'first CA'
  outages.known.set(key, { issuerKey: key, sinceMs: startMs, failures: 3, untilMs: startMs + hourMs, reason: 'away' })
  const first = createIssuer(() => done(), key)
  const failure = await failureOf(ask(issuance, { issuer: first.issuer }))
  assert.match(failure.message, /away \(it is tried again later\)/)
  assert.deepEqual(first.calls, [])
  assert.equal(orders.rows.size, 0)
  clock.nowAtMs += hourMs
  assert.equal((await ask(issuance, { issuer: first.issuer })).source, 'issued')
  assert.equal(outages.known.size, 0)
})

test("an order's own trouble is no outage: others are served", async () => {
  const { issuance, outages } = createWorld()
  const first = createIssuer((_call, nth) => {
    if (nth === 0) return again({ order: 1 })
    throw problem('serverInternal', { when: 'notBefore', atMs: startMs + hourMs })
  })
  await failureOf(ask(issuance, { issuer: first.issuer }))
  assert.equal(outages.known.size, 0)
})

test('back at the first CA once the certificate of the second is due', async () => {
  const { issuance, clock } = createWorld()
  let away = true
  const first = createIssuer(() => {
    if (away) throw problem('serverInternal')
    return done(makeChain({ fromMs: clock.nowAtMs, toMs: clock.nowAtMs + 90 * dayMs }))
  }, 'first CA')
  const second = working()
  const { storage } = createStorage()
  const askBoth = () => ask(issuance, { issuer: first.issuer, fallback: second.issuer, storage })
  await askBoth()
  away = false
  clock.nowAtMs += 10 * dayMs
  assert.equal((await askBoth()).source, 'kept', 'what the second gave is good')
  clock.nowAtMs += 70 * dayMs
  assert.equal((await askBoth()).source, 'issued')
  assert.deepEqual([first.calls.length, second.calls.length], [2, 1])
})

test('a good certificate whose renewal just failed is answered at once', async () => {
  const { issuance, clock } = createWorld()
  const { storage } = createStorage()
  const first = createIssuer((_call, nth) => {
    if (nth === 0) return done()
    throw problem('connection', { when: 'newOrder' })
  })
  await ask(issuance, { issuer: first.issuer, storage })
  clock.nowAtMs += 80 * dayMs
  for (let i = 0; i < 5; i++) assert.equal((await ask(issuance, { issuer: first.issuer, storage })).source, 'kept')
  assert.equal(first.calls.length, 2, 'the CA saw one more attempt, not five')
  clock.nowAtMs += hourMs
  await ask(issuance, { issuer: first.issuer, storage })
  assert.equal(first.calls.length, 3, 'and the next one later')
})

test("a clock that runs ahead orders nothing: the issuer's is believed", async () => {
  const { issuance, clock } = createWorld()
  const { storage } = createStorage()
  const { issuer, calls } = createIssuer(() => done())
  const honest = { ...issuer, timeMs: async () => startMs + hourMs }
  await ask(issuance, { issuer: honest, storage })
  clock.nowAtMs += 200 * dayMs
  assert.equal((await ask(issuance, { issuer: honest, storage })).source, 'kept')
  assert.equal(calls.length, 1)
  // Without anybody who knows better our own clock is all there is.
  const mute = { ...issuer, timeMs: () => Promise.reject(new Error('away')) }
  await ask(issuance, { issuer: mute, storage }).catch(() => undefined)
  assert.equal(calls.length, 2)
})
