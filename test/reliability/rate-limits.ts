// Row 3: the CA takes no more orders for some names.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import { isJsonObject, type JsonObject } from '../../src/acme/json-object.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { certificatesOf } from '../host.ts'
import { assertInvariants, requestsTo, startRig } from './rig.ts'
import type { Figures, Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

const minuteMs = 60_000

/** 429 to orders with this name only. */
function limitedName(name: string, retryAfter: string): Rule[] {
  const isAbout = (identifier: JsonObject) => identifier.value === name
  return faults.rateLimitedNewOrder(retryAfter).map((rule) => ({
    ...rule,
    when: ({ payload }) =>
      Array.isArray(payload?.identifiers) && payload.identifiers.filter(isJsonObject).some(isAbout),
  }))
}

async function runLimitedName(full: boolean): Promise<Figures> {
  const clock = createTestClock()
  const others = full ? 50 : 5
  await using rig = await startRig({ clock, rules: limitedName('limited-0.example.test', '3600') })
  const [csr = ''] = makeCsrs('limited', 1)
  const refused = await rig.ask(csr)
  assert.equal(refused.status, 429, refused.text)
  assert.match(refused.text, /too many new orders recently.*https:\/\/ca\.example\/docs\/rate-limits/)
  assert.ok(Math.abs(Number(refused.headers.get('retry-after')) - 3600) < 60, 'the CA’s own Retry-After is passed on')
  const from = rig.proxy.log.length
  for (let i = 0; i < 11; i++) {
    clock.pass(5 * minuteMs)
    assert.equal((await rig.ask(csr)).status, 429)
  }
  const early = requestsTo(rig.proxy, 'newOrder', from).length
  const replies = await Promise.all(makeCsrs('other', others).map((other) => rig.ask(other)))
  const delayed = replies.filter(({ status }) => status !== 200).length
  rig.setRules([])
  clock.pass(6 * minuteMs)
  const given = await rig.ask(csr)
  assert.equal(given.status, 200, given.text)
  assert.deepEqual([early, delayed], [0, 0])
  await assertInvariants(rig)
  return { 'early requests for the same names': early, [`of ${others} other certificates delayed`]: delayed }
}

async function runRestart(): Promise<Figures> {
  const clock = createTestClock()
  await using rig = await startRig({ clock, rules: limitedName('limited-0.example.test', '3600') })
  const [csr = ''] = makeCsrs('limited', 1)
  assert.equal((await rig.ask(csr)).status, 429)
  clock.pass(minuteMs)
  await rig.restart()
  const from = rig.proxy.log.length
  assert.equal((await rig.ask(csr)).status, 429)
  const early = requestsTo(rig.proxy, 'newOrder', from).length
  assert.equal(early, 0)
  return { 'early requests after a restart': early }
}

/** A renewal that is refused: the certificate that is there is answered. */
async function runRenewal(): Promise<Figures> {
  const clock = createTestClock()
  const config = '[storage "state"]\ntype = state\nrenew-within = 2159h\n'
  await using rig = await startRig({ clock, config, pebble: { validityPeriodSeconds: 90 * 24 * 3600 } })
  const [csr = ''] = makeCsrs('limited', 1)
  const first = await rig.ask(csr)
  assert.equal(first.status, 200, first.text)
  rig.setRules(limitedName('limited-0.example.test', '3600'))
  clock.pass(2 * 3600_000)
  const from = rig.proxy.log.length
  for (let i = 0; i < 10; i++) {
    const kept = await rig.ask(csr)
    assert.equal(kept.text, first.text)
    clock.pass(5 * minuteMs)
  }
  const asked = requestsTo(rig.proxy, 'newOrder', from).length
  assert.ok(asked <= 1, `${asked} orders were asked for`)
  rig.setRules([])
  await assertInvariants(rig, { kept: new Map() })
  assert.equal(certificatesOf(first.text).length, 2)
  return { 'orders asked for in 50 minutes': asked, 'kept certificate answered': '10 of 10' }
}

export const rateLimits: readonly Scenario[] = [
  {
    row: 3,
    fault: '429 rateLimited with Retry-After to orders for one name',
    expected:
      'its words, its help link and its Retry-After reach the host; not asked again for these names before the time; other names go on at once',
    run: runLimitedName,
  },
  {
    row: 3,
    fault: '429, then a restart',
    expected: 'still not asked again before the time',
    run: runRestart,
  },
  {
    row: 3,
    fault: '429 to a renewal',
    expected: 'the kept certificate is answered',
    run: runRenewal,
  },
]
