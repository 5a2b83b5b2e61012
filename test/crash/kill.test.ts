// The server is killed with SIGKILL on its way to a certificate, against a real CA and a real DNS server. A sample:
// `npm run soak` does hundreds, with points by chance.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requirePeer } from '../peers/peers.ts'
import { runCampaign } from './campaign.ts'
import { formatPlan, parsePlan } from './crash-plan.ts'
import { formatFailpoint, parseFailpoint } from './failpoint.ts'

/** Where much can be lost: around what the CA does once, and around what we write about it. */
const plans = [
  'first http-01; 0; file link account.pem#1:after',
  'first http-01; 0; POST /sign-me-up#2:after',
  'first http-01; 0; POST /order-plz#1:during',
  'first http-01; 50; POST /order-plz#1:after; POST /order-plz#1:before',
  'first http-01; 0; update orders#1:after; insert into answers#2:after',
  'first http-01; 50; POST /chalZ#2:after',
  'first http-01; 0; answer GET /.well-known#1:before',
  'first http-01; 0; POST /finalize-order#1:during; POST /certZ#1:after',
  'first http-01; 0; insert into certificates#1:after',
  'first http-01; 0; delete from orders#1:before',
  'first http-01; 0; answer POST /sign#1:before',
  'first dns-01; 0; dns update#1:after',
  'first dns-01; 0; update orders#3:before; dns update#3:before',
  'first dns-01; 50; POST /certZ#1:after; dns update#1:during',
  'first files; 0; file write cert.pem#1:half',
  'first files; 0; file rename cert.pem#1:before',
  'renewal http-01; 0; POST /order-plz#1:after',
  'renewal http-01; 50; POST /finalize-order#1:after',
  'renewal dns-01; 0; insert into certificates#1:before',
  'renewal files; 0; file rename issued-by.json#1:after',
  'renewal files; 0; insert into register#1:before; 300 ms',
].map(parsePlan)

test('killed at any step: one certificate for one need, none lost, nothing left behind', async (t) => {
  for (const peer of ['pebble', 'pebble-challtestsrv', 'named', 'openssl'] as const) if (!requirePeer(t, peer)) return
  const { results, violations } = await runCampaign({ plans, parallel: 4 })
  const found = results.flatMap((run) => run.violations.map((violation) => `${formatPlan(run.plan)}: ${violation}`))
  assert.deepEqual([...found, ...violations], [])
  // Luck with nonces moves some points; a run that dies nowhere has shown nothing.
  const alive = results.filter(({ deaths }) => deaths.length === 0).map(({ plan }) => formatPlan(plan))
  assert.ok(alive.length <= 2, `never came to the point where they were to be killed: ${alive.join(', ')}`)
})

test('a point and a plan can be written down and read again', () => {
  for (const plan of plans) assert.deepEqual(parsePlan(formatPlan(plan)), plan)
  assert.deepEqual(parseFailpoint('17:before'), { event: 17, at: 'before' })
  const event = { label: 'update orders', nth: 2 }
  assert.deepEqual(parseFailpoint(formatFailpoint(event, 'after')), { event, at: 'after' })
  assert.throws(() => parseFailpoint('update orders:after'), /no failpoint/)
  assert.throws(() => parsePlan('second http-01; 0'), /none of/)
})
