// Rows 9, 10 and 28: names that cannot be validated, and authorizations that are not as usual.
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { makeCsrs } from '../../bench/csrs.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { makeCsr } from '../host.ts'
import { until } from '../until.ts'
import { caAt } from './ca-time.ts'
import { assertInvariants, ordersAt, requestsTo, startRig } from './rig.ts'
import { type Figures, percent, rounded, type Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
const nobody = '127.0.0.99'

/** A host that asks every minute for a name that leads nowhere. */
async function runWrongAnswers(full: boolean): Promise<Figures> {
  const clock = createTestClock()
  await using rig = await startRig({ clock, account: 'limit-failures = 4/1h' })
  const [csr = ''] = makeCsrs('wrong', 1)
  await rig.pebble.setA('wrong-0.example.test', [nobody])
  const failedAtMs: number[] = []
  const hours = full ? 24 : 2
  const beganMs = clock.nowMs()
  let firstText = ''
  while (clock.nowMs() - beganMs < hours * 60 * minuteMs) {
    const before = ordersAt(rig.pebble)
    const reply = await rig.ask(csr)
    if (firstText === '') firstText = reply.text
    if (ordersAt(rig.pebble) > before) {
      assert.equal(reply.status, 421, reply.text)
      failedAtMs.push(clock.nowMs())
    } else {
      assert.equal(reply.status, 429, reply.text)
      assert.ok(Number(reply.headers.get('retry-after')) > 0)
    }
    clock.pass(full ? minuteMs : 2 * minuteMs)
  }
  assert.match(firstText, /wrong-0\.example\.test/)
  const worst = Math.max(
    ...failedAtMs.map((startMs) => failedAtMs.filter((at) => at >= startMs && at < startMs + 60 * minuteMs).length),
  )
  assert.ok(worst <= 8, `${worst} failures in an hour`)
  const stories = ordersAt(rig.pebble)
  await rig.pebble.clearA('wrong-0.example.test')
  const curedMs = clock.nowMs()
  let reply = await rig.ask(csr)
  while (reply.status !== 200 && clock.nowMs() - curedMs < dayMs) {
    clock.pass(minuteMs)
    reply = await rig.ask(csr)
  }
  assert.equal(reply.status, 200, reply.text)
  await assertInvariants(rig, { invalidOrders: stories })
  return {
    'failed validations in the worst hour (a bucket of 4, filled again in an hour)': worst,
    'failed validations an hour, afterwards': rounded((failedAtMs.length - 4) / hours),
    'time until the certificate, once the cause is gone (min)': Math.round((clock.nowMs() - curedMs) / minuteMs),
  }
}

/** A certificate that is renewed by the timer, and a name that is gone from the DNS. */
async function runZombie(full: boolean): Promise<Figures> {
  const clock = createTestClock()
  await using rig = await startRig({ clock, caRules: caAt(clock, 90 * dayMs) })
  const [csr = ''] = makeCsrs('zombie', 1)
  const first = await rig.ask(csr)
  assert.equal(first.status, 200, first.text)
  await rig.pebble.setA('zombie-0.example.test', [nobody])
  // With another account: Pebble gives a valid authorization again now and then, also when it is told never to.
  await rig.server.stop()
  rmSync(join(rig.folder, 'account'), { recursive: true })
  await rig.restart()
  const days = full ? 24 : 5
  clock.pass(58 * dayMs)
  const counts: number[] = []
  for (let day = 0; day < 4 + days; day++) {
    const before = ordersAt(rig.pebble)
    // Small steps, as the timer takes them; the CA has a moment for each.
    for (let i = 0; i < 48; i++) {
      clock.pass(dayMs / 48)
      await rig.idle()
    }
    counts.push(ordersAt(rig.pebble) - before)
  }
  const failing = counts.slice(counts.findIndex((count) => count > 0))
  // The first tries come minutes and hours apart: a day that begins late has its last in the next.
  const steady = failing.slice(2)
  assert.ok(steady.length >= days - 2, `tries a day: ${counts.join(', ')}`)
  assert.ok(Math.max(...steady) <= 2, `tries a day: ${counts.join(', ')}`)
  const issued = rig.pebble.issuedCount()
  assert.equal(issued, 1, `${issued} certificates; tries a day: ${counts.join(', ')}`)
  await assertInvariants(rig, { invalidOrders: ordersAt(rig.pebble) - 1, kept: new Map([[csr, first.text]]) })
  return {
    'tries on the first day': failing[0] ?? 0,
    'tries a day, afterwards': rounded(steady.reduce((sum, count) => sum + count, 0) / steady.length),
    'days of failing': failing.length,
  }
}

async function runUnusual(full: boolean): Promise<Figures> {
  const count = full ? 30 : 3
  const cases: Readonly<Record<string, readonly Rule[]>> = {
    'valid authorizations given again': [],
    'shuffled lists': faults.shuffledLists(),
    'unknown challenge types': faults.unknownChallenges(),
    'all of it': [...faults.shuffledLists(), ...faults.unknownChallenges()],
  }
  const figures: Record<string, string | number> = {}
  await using rig = await startRig({ pebble: { authzReuse: 100 } })
  for (const [name, rules] of Object.entries(cases)) {
    rig.setRules(rules)
    const replies = await Promise.all(
      Array.from({ length: count }, () => rig.ask(makeCsr({ names: ['a.example.test', 'b.example.test'] }))),
    )
    const successes = replies.filter(({ status }) => status === 200).length
    assert.equal(successes, count, replies.find(({ status }) => status !== 200)?.text)
    figures[name] = percent(successes, count)
  }
  figures['challenges answered for all of them'] = requestsTo(rig.proxy, 'challenge').length
  await assertInvariants(rig)
  return figures
}

/** RFC 8555 §7.1.3: these never change. A CA that changes them is not followed into nowhere. */
async function runChanged(): Promise<Figures> {
  const clock = createTestClock(20)
  await using rig = await startRig({ clock, rules: faults.changedAuthorizations() })
  const [csr = ''] = makeCsrs('changed', 1)
  const reply = await rig.ask(csr)
  rig.setRules([])
  await until('the certificate', async () => (await rig.ask(csr)).status === 200)
  const orders = ordersAt(rig.pebble)
  assert.ok(orders <= 2)
  await assertInvariants(rig, { invalidOrders: 1 })
  return { 'status meanwhile': reply.status, 'orders until the certificate': orders }
}

export const invalidOrders: readonly Scenario[] = [
  {
    row: 9,
    fault: 'a name cannot be validated; limit-failures = 4/1h; its host asks again and again',
    expected:
      'the CA’s words reach the host; failed validations stay within the limit, then 429 with a true Retry-After, and the CA is not asked; cured as soon as the limit allows',
    run: runWrongAnswers,
  },
  {
    row: 28,
    fault: 'the name of a certificate that the timer renews is gone',
    expected: 'after the first day one try a day; the certificate is answered to its end',
    run: runZombie,
  },
  {
    row: 10,
    fault: 'valid authorizations, shuffled lists, unknown challenge types',
    expected: 'skipped, matched by identifier, ignored: every host gets its certificate',
    run: runUnusual,
  },
  {
    row: 10,
    fault: 'an order has other URLs when it is read again',
    expected: 'that order is given up, at most one more is made',
    run: runChanged,
  },
]
