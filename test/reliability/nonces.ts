// Row 4: a CA that refuses nonces.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import * as faults from '../faults/scenarios.ts'
import { assertInvariants, ordersAt, startRig } from './rig.ts'
import { type Figures, percent, rounded, type Scenario } from './scenario.ts'

async function run(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  const count = full ? 30 : 3
  for (const share of full ? [20, 50, 90] : [50]) {
    await using rig = await startRig({ pebble: { nonceReject: share } })
    const csrs = makeCsrs('nonces', count)
    const given = await Promise.all(csrs.map((csr) => rig.askUntilGiven(csr)))
    const successes = given.filter(({ reply }) => reply.status === 200).length
    assert.equal(successes, count, given.find(({ reply }) => reply.status !== 200)?.reply.text)
    assert.equal(rig.pebble.issuedCount(), count)
    await assertInvariants(rig)
    figures[`${share} %: hosts that got their certificate`] = percent(successes, count)
    figures[`${share} %: asks a certificate`] = rounded(given.reduce((sum, { asks }) => sum + asks, 0) / count)
    figures[`${share} %: requests a certificate`] = rounded(rig.proxy.log.length / count)
    figures[`${share} %: orders a certificate`] = rounded(ordersAt(rig.pebble) / count)
  }
  return figures
}

/** Every answer brings a nonce that was used before. */
async function runHopeless(): Promise<Figures> {
  await using rig = await startRig({ rules: faults.narrowRules(faults.staleNonces(1), { endpoint: 'newOrder' }) })
  // No good one is ever handed out at newOrder; elsewhere they are.
  const rules = [...faults.staleNonces(1), { endpoint: 'newNonce', action: { do: 'staleNonce' } }] as const
  const [csr = ''] = makeCsrs('hopeless', 1)
  rig.setRules(rules)
  const from = rig.proxy.log.length
  const reply = await rig.ask(csr)
  const requests = rig.proxy.log.length - from
  rig.setRules([])
  const given = await rig.askUntilGiven(csr)
  assert.equal(given.reply.status, 200, given.reply.text)
  await assertInvariants(rig)
  return { 'requests until it gives up': requests, 'status then': reply.status }
}

export const nonces: readonly Scenario[] = [
  {
    row: 4,
    fault: 'badNonce to many good nonces',
    expected: 'repeated with the nonce of the error, at most ten times in a row; then as with a CA that fails',
    run,
  },
  {
    row: 4,
    fault: 'every nonce was used before',
    expected: 'bounded: it gives up after some requests, and goes on when the CA is well again',
    run: runHopeless,
  },
]
