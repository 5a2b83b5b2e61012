// Row 8: a CA that has taken the order and does not finish it.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import * as faults from '../faults/scenarios.ts'
import { startPebble } from '../peers/pebble.ts'
import { until } from '../until.ts'
import { assertInvariants, calm, ordersAt, requestsTo, startRig } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

async function runStuck(): Promise<Figures> {
  // The host waits two minutes: at three times this, a busy machine has not finalized anything by then.
  const speed = 20
  const clock = createTestClock(speed)
  await using other = await startPebble({ ...calm, alwaysValid: true })
  await using rig = await startRig({
    clock,
    account: 'fallback = other',
    config: `[issuer "other"]\ntype = acme\nacme-server = ${other.directoryUrl}\nca-file = ${other.caFile}\naccept-terms-of-service = yes\n`,
    rules: faults.stuckProcessing(),
  })
  const [csr = ''] = makeCsrs('stuck', 1)
  const startedMs = clock.monotonicMs()
  const reply = await rig.ask(csr)
  const fallbackMs = clock.monotonicMs() - startedMs
  assert.equal(reply.status, 200, reply.text)
  assert.deepEqual([rig.pebble.issuedCount(), other.issuedCount()], [1, 1])
  const finalizedAtMs = requestsTo(rig.proxy, 'finalize')[0]?.atMs ?? Number.NaN
  const polls = requestsTo(rig.proxy, 'order').map(({ atMs }) => ((atMs - finalizedAtMs) * speed) / 60_000)
  const inMinute = (minute: number) => polls.filter((at) => at >= minute && at < minute + 1).length
  assert.ok(inMinute(0) <= 14, `${inMinute(0)} polls in the first minute`)
  assert.ok(inMinute(1) <= 4, `${inMinute(1)} polls in the second minute`)
  // Now it is finished; the server goes on by itself.
  rig.setRules([])
  const curedMs = clock.monotonicMs()
  for (let passed = 0; requestsTo(rig.proxy, 'certificate').length === 0; passed++) {
    assert.ok(passed < 720, 'two hours are over before the order is gone on with')
    clock.pass(10_000)
    await rig.idle()
  }
  const resumedMs = clock.monotonicMs() - curedMs
  assert.deepEqual([ordersAt(rig.pebble), rig.pebble.issuedCount()], [1, 1], 'nothing was ordered twice')
  await until('the new certificate', async () => (await rig.ask(csr)).text !== reply.text)
  await assertInvariants(rig)
  return {
    'polls in the first and second minute': `${inMinute(0)}, ${inMinute(1)}`,
    'time until the fallback’s certificate (s)': rounded(fallbackMs / 1000),
    'time until the first order is finished, once it can be (s)': rounded(resumedMs / 1000),
    'orders and certificates at the first CA': `${ordersAt(rig.pebble)}, ${rig.pebble.issuedCount()}`,
  }
}

/** No other CA: the host is told to come back, and it goes on from there. */
async function runAlone(): Promise<Figures> {
  const clock = createTestClock(60)
  await using rig = await startRig({ clock, rules: faults.stuckProcessing() })
  const [csr = ''] = makeCsrs('stuck', 1)
  const asks = 3
  for (let i = 0; i < asks; i++) {
    const reply = await rig.ask(csr)
    assert.equal(reply.status, 503, reply.text)
    assert.ok(reply.headers.has('retry-after'))
    if (i === 1) await rig.restart()
  }
  rig.setRules([])
  const given = await rig.askUntilGiven(csr)
  assert.equal(given.reply.status, 200, given.reply.text)
  assert.deepEqual([ordersAt(rig.pebble), rig.pebble.issuedCount()], [1, 1])
  await assertInvariants(rig)
  return { 'orders after three vain asks and a restart': ordersAt(rig.pebble), certificates: rig.pebble.issuedCount() }
}

export const stuckOrders: readonly Scenario[] = [
  {
    row: 8,
    fault: 'orders stay processing; there is a fallback',
    expected:
      'polled at most some 12 times in the first minute and ever more rarely; after two minutes the fallback is asked; the first order is finished when it can be',
    run: runStuck,
  },
  {
    row: 8,
    fault: 'orders stay processing; there is no other CA',
    expected: '503 with Retry-After; asked again, also after a restart, it goes on with the same order',
    run: runAlone,
  },
]
