// Rows 25 and 26: what the CA says about when to renew (RFC 9773).
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { until } from '../until.ts'
import { caAt } from './ca-time.ts'
import { assertInvariants, ordersAt, type Rig, requestsTo, startRig } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'
import { createTestClock, type TestClock } from './test-clock.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const lifetimeMs = 90 * dayMs

async function startFleet(count: number, rules: readonly Rule[], speed = 1) {
  const clock = createTestClock(speed)
  const rig = await startRig({ clock, caRules: caAt(clock, lifetimeMs), rules, pebble: { alwaysValid: true } })
  const csrs = makeCsrs('fleet', count)
  for (let i = 0; i < count; i += 20) {
    const replies = await Promise.all(csrs.slice(i, i + 20).map((csr) => rig.ask(csr)))
    assert.deepEqual([...new Set(replies.map(({ status }) => status))], [200], replies[0]?.text)
  }
  return { clock, rig, csrs }
}

/** A window from now on, in the test's time. */
function windowAt(clock: TestClock, startInMs: number, endInMs: number, retryAfter = '21600'): Rule[] {
  const [start, end] = [startInMs, endInMs].map((inMs) => new Date(clock.nowMs() + inMs).toISOString())
  return faults.ariAnswers(() => ({ suggestedWindow: { start, end }, explanationURL: 'https://ca.example/incident' }), {
    retryAfter,
  })
}

const farWindow = (clock: TestClock, retryAfter?: string) => windowAt(clock, 50 * dayMs, 51 * dayMs, retryAfter)

async function passSlowly(clock: TestClock, rig: Rig, ms: number, stepMs: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    clock.pass(stepMs)
    await rig.idle()
  }
}

/** In an hour at most: not everything is looked at in the same moment. */
async function passUntil(clock: TestClock, rig: Rig, what: string, is: () => boolean): Promise<void> {
  for (let passedMs = 0; !is(); passedMs += 10_000) {
    assert.ok(passedMs < hourMs, `an hour is over before ${what}`)
    clock.pass(10_000)
    await rig.idle()
  }
}

/** The CA means to revoke them all. */
async function runIncident(full: boolean): Promise<Figures> {
  const count = full ? 1000 : 20
  const clock = createTestClock()
  const { rig, clock: own } = await startFleet(count, farWindow(clock))
  await using _ = rig
  await passUntil(own, rig, 'the first look', () => rig.proxy.counts().renewalInfo >= count)
  const before = rig.pebble.issuedCount()
  rig.setRules(windowAt(own, -2 * hourMs, -hourMs))
  const movedMs = own.monotonicMs()
  own.pass(6 * hourMs)
  const startedMs = own.monotonicMs()
  await passUntil(own, rig, 'all to be replaced', () => rig.pebble.issuedCount() >= before + count)
  const drainedMs = own.monotonicMs() - startedMs
  assert.match(rig.server.log(), /https:\/\/ca\.example\/incident/, 'the explanation is shown')
  const replaced = rig.pebble.issuedCount() - before
  assert.equal(replaced, count)
  await assertInvariants(rig)
  return {
    certificates: count,
    'time until the next look, with Retry-After 6 h (h)': rounded((startedMs - movedMs) / hourMs),
    'time until all are replaced then (min)': rounded(drainedMs / minuteMs),
    'orders a certificate': (ordersAt(rig.pebble) - count) / count,
  }
}

/** Nothing that can be used is said: the lifetime decides. */
async function runUseless(): Promise<Figures> {
  const cases: Readonly<Record<string, (clock: TestClock) => readonly Rule[]>> = {
    'end before start': (clock) => windowAt(clock, hourMs, -hourMs),
    garbage: () => faults.ariGarbage(),
    404: () => faults.ariError(404),
    500: () => faults.ariError(500),
    HTML: () => [...faults.ariAnswers({}), { endpoint: 'renewalInfo', action: { do: 'html' } }],
    'not in the directory': () => faults.directoryWithout('renewalInfo'),
  }
  const figures: Record<string, string | number> = {}
  await Promise.all(
    Object.entries(cases).map(async ([name, rules]) => {
      const { rig, clock } = await startFleet(1, [])
      await using _ = rig
      rig.setRules(rules(clock))
      await passSlowly(clock, rig, 57 * dayMs, dayMs)
      assert.equal(rig.pebble.issuedCount(), 1, `${name}: renewed without a reason`)
      await passSlowly(clock, rig, 5 * dayMs, dayMs / 4)
      await until(`${name}: renewed with a third of its lifetime left`, () => rig.pebble.issuedCount() === 2)
      const asked = rig.proxy.counts().renewalInfo
      assert.ok(asked <= 62 * 30, `${name}: asked ${asked} times`)
      await assertInvariants(rig)
      figures[`${name}: renewed with a third left`] = 'yes'
    }),
  )
  return figures
}

/** How often it is asked, whatever the CA wishes. */
async function runRetryAfter(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  const cases = [
    { retryAfter: '1', forMs: full ? 6 * hourMs : hourMs, stepMs: minuteMs / 2, least: 40, most: 62 },
    { retryAfter: '21600', forMs: 4 * dayMs, stepMs: hourMs, least: 3, most: 6 },
    { retryAfter: '864000', forMs: 8 * dayMs, stepMs: 6 * hourMs, least: 0.8, most: 2 },
  ]
  await Promise.all(
    cases.map(async ({ retryAfter, forMs, stepMs, least, most }) => {
      const { rig, clock } = await startFleet(1, [])
      await using _ = rig
      rig.setRules(farWindow(clock, retryAfter))
      clock.pass(6 * hourMs)
      await until('the first look', () => requestsTo(rig.proxy, 'renewalInfo').length > 0)
      const from = rig.proxy.log.length
      await passSlowly(clock, rig, forMs, stepMs)
      const unitMs = retryAfter === '1' ? hourMs : dayMs
      const rate = requestsTo(rig.proxy, 'renewalInfo', from).length / (forMs / unitMs)
      assert.ok(rate >= least && rate <= most, `Retry-After ${retryAfter}: ${rate}`)
      assert.equal(rig.pebble.issuedCount(), 1)
      figures[`Retry-After ${retryAfter}: asked ${retryAfter === '1' ? 'an hour' : 'a day'}`] = rounded(rate)
    }),
  )
  return figures
}

/** Row 26: `replaces` is not taken. */
async function runReplaces(): Promise<Figures> {
  const refusals = [
    { name: '409 alreadyReplaced', status: 409, type: 'alreadyReplaced' },
    { name: '404 malformed', status: 404, type: 'malformed' },
    { name: '403 unauthorized', status: 403, type: 'unauthorized' },
  ]
  const figures: Record<string, string | number> = {}
  await Promise.all(
    refusals.map(async ({ name, status, type }) => {
      const { rig, clock } = await startFleet(1, [])
      await using _ = rig
      const from = rig.proxy.log.length
      rig.setRules([...windowAt(clock, -2 * hourMs, -hourMs), ...faults.alreadyReplaced(status, type)])
      clock.pass(dayMs + hourMs)
      await until('the renewal', () => rig.pebble.issuedCount() === 2)
      await rig.idle()
      const sent = requestsTo(rig.proxy, 'newOrder', from)
      const counts = [sent.filter((entry) => entry.status === status).length, ordersAt(rig.pebble) - 1]
      assert.deepEqual([...counts, sent.length], [1, 1, 2], name)
      await assertInvariants(rig)
      figures[`${name}: refused, orders`] = counts.join(', ')
    }),
  )
  return figures
}

export const renewalInfo: readonly Scenario[] = [
  {
    row: 25,
    fault: 'the window of a whole fleet is moved into the past',
    expected: 'seen at the next look, all replaced at once, some at a time; the explanation’s address is in the log',
    run: runIncident,
  },
  {
    row: 25,
    fault: 'a window that ends before it starts, garbage, 404, 500, HTML, no renewalInfo',
    expected: 'as if nothing was said: renewed with a third of the lifetime left',
    run: runUseless,
  },
  {
    row: 25,
    fault: 'Retry-After of 1 second, 6 hours, 10 days',
    expected: 'asked at most once a minute, and at least once a day',
    run: runRetryAfter,
  },
  {
    row: 26,
    fault: 'an order with replaces is refused',
    expected: 'ordered once again without, and no more than that',
    run: runReplaces,
  },
]
