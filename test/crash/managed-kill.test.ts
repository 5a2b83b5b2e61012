// acmems renew killed with SIGKILL while it gets, installs and renews: a folder, separate files, a sealed box. A sample:
// `npm run soak -- --only managed` does hundreds, with points by chance.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requirePeer } from '../peers/peers.ts'
import { formatManagedPlan, parseManagedPlan, runManagedCampaign } from './managed-campaign.ts'

/** Around what cannot be taken back: the next key, the link, each of the files, what we remember, the box. */
const local = [
  'first; file rename next.key.pem#1:after',
  'first; file rename web#1:before',
  'first; insert into boxes#1:after',
  'renewal; file write next.key.pem#1:half',
  'renewal; file symlink web#1:after',
  'renewal; file rename web#1:after',
  'renewal; file rename fullchain#1:after; 400 ms',
  'renewal; file rename key#1:before',
  'renewal; file rename key#1:after',
  'renewal; file rename certificate.json#3:after',
  'renewal; delete from boxes#1:after',
].map(parseManagedPlan)

const pebble = [
  'first; file rename certificate.json#1:after',
  'first; POST /order-plz#1:during',
  'renewal; POST /finalize-order#1:during',
  'renewal; POST /certZ#1:after',
  'renewal; file rename web#1:before',
].map(parseManagedPlan)

test('a plan can be written down and read again', () => {
  for (const plan of [...local, ...pebble]) assert.deepEqual(parseManagedPlan(formatManagedPlan(plan)), plan)
  assert.throws(() => parseManagedPlan('second; 7 ms'), /none of/)
})

for (const [ca, plans] of [
  ['local', local],
  ['pebble', pebble],
] as const)
  test(`killed at any step, ${ca}: never a wrong pair, nothing lost, nothing left, the hook told`, async (t) => {
    for (const peer of ['openssl', 'pebble', 'pebble-challtestsrv'] as const) if (!requirePeer(t, peer)) return
    const results = await runManagedCampaign({ plans, parallel: 3, ca })
    const found = results.flatMap(({ plan, violations, evidence }) =>
      violations.map((violation) => `${formatManagedPlan(plan)}: ${violation}\n${evidence}`),
    )
    assert.deepEqual(found, [])
    const alive = results.filter(({ deaths }) => deaths.length === 0).map(({ plan }) => formatManagedPlan(plan))
    assert.ok(alive.length <= 1, `never came to the point where they were to be killed: ${alive.join(', ')}`)
    assert.ok(results.every(({ reads }) => reads > 0))
  })
