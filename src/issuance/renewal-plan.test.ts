import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { RenewalInfoReply } from '../acme/renewal-info.ts'
import {
  afterFailure,
  afterOutage,
  afterRenewalInfo,
  dueAtMs,
  isUrgent,
  planRenewal,
  type RenewalPlan,
  randomShareOf,
  wakeAtMs,
} from './renewal-plan.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const startMs = Date.UTC(2027, 0, 1)
const validityOf = (lifetimeMs: number) => ({ notBeforeMs: startMs, notAfterMs: startMs + lifetimeMs })
const ordinary = validityOf(45 * dayMs)
const planOf = (validity = ordinary, renewWithinMs?: number) => planRenewal(validity, renewWithinMs, startMs, 0)
const windowOf = (startsMs: number, endsMs: number, retryAfterMs?: number): RenewalInfoReply => ({
  outcome: 'window',
  info: { startMs: startsMs, endMs: endsMs },
  retryAfterMs,
})

const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const lifetime = fc.integer({ min: hourMs, max: 400 * dayMs })
const moment = fc.integer({ min: startMs - 400 * dayMs, max: startMs + 800 * dayMs })

test('without a word from CA or operator: a third before the end, a half below ten days', () => {
  const left = (days: number) =>
    (validityOf(days * dayMs).notAfterMs - dueAtMs(planOf(validityOf(days * dayMs)))) / dayMs
  for (const [days, expected] of [
    [90, 30],
    [45, 15],
    [10, 10 / 3],
    [9, 4.5],
    [6, 3],
  ] as const)
    assert.equal(left(days).toFixed(6), expected.toFixed(6), `${days} days`)
})

test('chance spreads by a fiftieth of the lifetime, to the earlier side only', () => {
  fc.assert(
    fc.property(lifetime, share, (lifetimeMs, chance) => {
      const validity = validityOf(lifetimeMs)
      const early = dueAtMs(planOf(validity)) - dueAtMs(planRenewal(validity, undefined, startMs, chance))
      assert.ok(early >= -1 && early <= lifetimeMs * 0.02 + 1, String(early))
    }),
  )
})

test("the operator's renew-within keeps its meaning; one beyond the whole lifetime is none", () => {
  assert.equal(dueAtMs(planOf(ordinary, 20 * dayMs)), ordinary.notAfterMs - 20 * dayMs)
  assert.equal(dueAtMs(planOf(ordinary, 45 * dayMs)), dueAtMs(planOf()))
  // Whatever the CA suggests, it is not later.
  const late = afterRenewalInfo(
    planOf(ordinary, 20 * dayMs),
    windowOf(startMs + 30 * dayMs, startMs + 31 * dayMs),
    startMs,
    0.5,
  )
  assert.equal(dueAtMs(late), ordinary.notAfterMs - 20 * dayMs)
})

// RFC 9773 §4.2, row by row -----------------------------------------------------------------------

test('the CA is asked right after the issue', () => {
  assert.equal(planOf().checkAtMs, startMs)
  assert.equal(wakeAtMs(planOf(), ordinary.notAfterMs), startMs)
})

test('an instant is chosen in the window, uniformly, and never outside', () => {
  fc.assert(
    fc.property(moment, fc.integer({ min: 1, max: 30 * dayMs }), share, (fromMs, spanMs, chance) => {
      const { chosenAtMs } = afterRenewalInfo(planOf(), windowOf(fromMs, fromMs + spanMs), startMs, chance)
      assert.equal(chosenAtMs, Math.round(fromMs + chance * spanMs))
      assert.ok(chosenAtMs >= fromMs && chosenAtMs <= fromMs + spanMs)
    }),
  )
})

test('an instant in the past: now', () => {
  const plan = afterRenewalInfo(planOf(), windowOf(startMs - hourMs, startMs - hourMs / 2), startMs, 0.5)
  assert.ok(dueAtMs(plan) < startMs)
})

test('an instant in the future: then, and asked again before it', () => {
  const chosen = windowOf(startMs + 20 * dayMs, startMs + 22 * dayMs, 6 * hourMs)
  const plan = afterRenewalInfo(planOf(), chosen, startMs, 0.5)
  assert.equal(dueAtMs(plan), startMs + 21 * dayMs)
  assert.equal(wakeAtMs(plan, ordinary.notAfterMs), startMs + 6 * hourMs)
})

test('an instant before the next question wakes by itself', () => {
  const chosen = windowOf(startMs + hourMs, startMs + 2 * hourMs, 6 * hourMs)
  const plan = afterRenewalInfo(planOf(), chosen, startMs, 0)
  assert.equal(wakeAtMs(plan, ordinary.notAfterMs), startMs + hourMs)
})

test('the instant is kept while the window stays, and chosen anew when it moves', () => {
  const first = afterRenewalInfo(planOf(), windowOf(startMs + 20 * dayMs, startMs + 22 * dayMs), startMs, 0.1)
  const same = afterRenewalInfo(first, windowOf(startMs + 20 * dayMs, startMs + 22 * dayMs), startMs + hourMs, 0.9)
  assert.equal(same.chosenAtMs, first.chosenAtMs)
  const moved = afterRenewalInfo(same, windowOf(startMs + 10 * dayMs, startMs + 12 * dayMs), startMs + 2 * hourMs, 0.9)
  assert.equal(moved.chosenAtMs, startMs + 11.8 * dayMs)
})

test('Retry-After is obeyed between a minute and a day; without one it is six hours', () => {
  const waits = (retryAfterMs?: number) =>
    afterRenewalInfo(planOf(), windowOf(startMs, startMs + 1, retryAfterMs), startMs, 0).checkAtMs - startMs
  assert.equal(waits(4 * hourMs), 4 * hourMs)
  assert.equal(waits(0), minuteMs)
  assert.equal(waits(-5), minuteMs)
  assert.equal(waits(3650 * dayMs), dayMs)
  assert.equal(waits(), 6 * hourMs)
})

test('temporary failures: 1, 2, 4, 8, 16 minutes, then in six hours; the window that was known stays', () => {
  let plan = afterRenewalInfo(planOf(), windowOf(startMs + 20 * dayMs, startMs + 22 * dayMs), startMs, 0.5)
  const { chosenAtMs } = plan
  const waits: number[] = []
  for (let count = 0; count < 7; count++) {
    plan = afterRenewalInfo(plan, { outcome: 'temporary failure', reason: '' }, startMs, 0)
    waits.push((plan.checkAtMs - startMs) / minuteMs)
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 360, 1])
  assert.equal(plan.chosenAtMs, chosenAtMs)
  const told = afterRenewalInfo(
    planOf(),
    { outcome: 'temporary failure', reason: '', retryAfterMs: hourMs },
    startMs,
    0,
  )
  assert.equal(told.checkAtMs, startMs + hourMs)
})

test('a lasting failure: again in six hours; a CA that says no such things: tomorrow, and by the lifetime', () => {
  const known = afterRenewalInfo(planOf(), windowOf(startMs + dayMs, startMs + 2 * dayMs), startMs, 0.5)
  const failed = afterRenewalInfo(known, { outcome: 'long-term failure', reason: '' }, startMs, 0)
  assert.equal(failed.checkAtMs, startMs + 6 * hourMs)
  assert.equal(failed.chosenAtMs, known.chosenAtMs)
  const silent = afterRenewalInfo(known, undefined, startMs, 0)
  assert.equal(silent.checkAtMs, startMs + dayMs)
  assert.equal(dueAtMs(silent), dueAtMs(planOf()))
})

test('nothing is asked after the end of the certificate', () => {
  const plan: RenewalPlan = { ...planOf(), checkAtMs: ordinary.notAfterMs, retryAtMs: ordinary.notAfterMs + dayMs }
  assert.equal(wakeAtMs(plan, ordinary.notAfterMs), ordinary.notAfterMs + dayMs)
})

test('whatever the CA suggests: with a tenth of the lifetime left it is time', () => {
  fc.assert(
    fc.property(lifetime, moment, fc.integer({ min: 1, max: 900 * dayMs }), share, (lifetimeMs, from, span, chance) => {
      const validity = validityOf(lifetimeMs)
      const plan = afterRenewalInfo(planOf(validity), windowOf(from, from + span), startMs, chance)
      assert.ok(dueAtMs(plan) <= validity.notAfterMs - lifetimeMs / 10 + 1)
    }),
  )
})

// failures ----------------------------------------------------------------------------------------

test('failures: 1, 10, 100 minutes, then daily, with up to a half less', () => {
  for (const [chance, factor] of [
    [0, 0.5],
    [0.5, 0.75],
  ] as const) {
    let plan = planOf()
    const waits: number[] = []
    for (let count = 0; count < 5; count++) {
      plan = afterFailure(plan, ordinary, startMs, chance)
      waits.push((plan.retryAtMs - startMs) / minuteMs / factor)
    }
    assert.deepEqual(waits, [1, 10, 100, 1440, 1440])
  }
})

test('a short life is tried more often: never more than a tenth of it between two', () => {
  fc.assert(
    fc.property(lifetime, fc.nat(20), share, (lifetimeMs, failures, chance) => {
      const validity = validityOf(lifetimeMs)
      const { retryAtMs } = afterFailure({ ...planOf(validity), failures }, validity, startMs, chance)
      assert.ok(retryAtMs > startMs && retryAtMs <= startMs + Math.max(lifetimeMs / 10, minuteMs) + 1)
    }),
  )
})

test("the CA's word counts for a day at the most", () => {
  const told = (atMs: number) => afterFailure(planOf(), ordinary, startMs, 0.5, atMs).retryAtMs - startMs
  assert.equal(told(startMs + 5 * hourMs), 5 * hourMs)
  assert.equal(told(startMs + 3650 * dayMs), dayMs)
  assert.ok(told(startMs - dayMs) > 0)
})

test('an outage is no failure: it ends with the outage, within a minute', () => {
  const plan = afterOutage({ ...planOf(), failures: 2 }, startMs + hourMs, 0.5)
  assert.equal(plan.failures, 2)
  assert.equal(plan.retryAtMs, startMs + hourMs + minuteMs / 2)
})

test('what the operator asks for is due at once, but not before a failure has been waited for', () => {
  assert.equal(dueAtMs({ ...planOf(), asked: true }), 0)
  assert.equal(dueAtMs({ ...planOf(), asked: true, retryAtMs: startMs + hourMs }), startMs + hourMs)
})

test('urgent is what has less than a sixth left', () => {
  assert.equal(isUrgent(ordinary, ordinary.notAfterMs - 7.6 * dayMs), false)
  assert.equal(isUrgent(ordinary, ordinary.notAfterMs - 7.4 * dayMs), true)
  assert.equal(isUrgent(ordinary, ordinary.notAfterMs + dayMs), true)
})

test('every plan, after whatever happened to it, wakes again', () => {
  const happening = fc.oneof(
    fc.record({ kind: fc.constant('window' as const), from: moment, span: fc.integer({ min: 1, max: 90 * dayMs }) }),
    fc.record({ kind: fc.constantFrom('temporary' as const, 'lasting' as const, 'silent' as const) }),
    fc.record({ kind: fc.constantFrom('failure' as const, 'outage' as const) }),
  )
  fc.assert(
    fc.property(lifetime, fc.array(happening, { maxLength: 30 }), share, (lifetimeMs, happenings, chance) => {
      const validity = validityOf(lifetimeMs)
      let plan = planOf(validity)
      let nowMs = startMs
      for (const one of happenings) {
        nowMs = Math.max(nowMs, Math.min(wakeAtMs(plan, validity.notAfterMs), nowMs + 400 * dayMs))
        if (one.kind === 'window') plan = afterRenewalInfo(plan, windowOf(one.from, one.from + one.span), nowMs, chance)
        if (one.kind === 'temporary')
          plan = afterRenewalInfo(plan, { outcome: 'temporary failure', reason: '' }, nowMs, chance)
        if (one.kind === 'lasting')
          plan = afterRenewalInfo(plan, { outcome: 'long-term failure', reason: '' }, nowMs, chance)
        if (one.kind === 'silent') plan = afterRenewalInfo(plan, undefined, nowMs, chance)
        if (one.kind === 'failure') plan = afterFailure(plan, validity, nowMs, chance)
        if (one.kind === 'outage') plan = afterOutage(plan, nowMs + hourMs, chance)
        const wakeMs = wakeAtMs(plan, validity.notAfterMs)
        assert.ok(Number.isFinite(wakeMs))
        // Never asleep for longer than a day once it is due, nor beyond the backstop before it.
        assert.ok(wakeMs <= Math.max(plan.backstopAtMs, nowMs + dayMs + minuteMs))
      }
    }),
  )
})

test('a random share is from 0 up to 1', () => {
  assert.equal(randomShareOf({ randomBytes: () => Uint8Array.of(0, 0) }), 0)
  const most = randomShareOf({ randomBytes: () => Uint8Array.of(255, 255) })
  assert.ok(most > 0.9999 && most < 1)
})
