// Row 30: what the CA hands out is not what was asked for.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { certificatesOf } from '../host.ts'
import { caAt } from './ca-time.ts'
import { assertInvariants, ordersAt, readState, startRig } from './rig.ts'
import type { Figures, Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

const dayMs = 24 * 3_600_000

const forged = (forgery: () => faults.Forgery): Rule[] => [
  { endpoint: 'certificate', action: { do: 'replaceBody', body: (chain) => faults.forgeChain(chain, forgery()) } },
]

const forgeries: Readonly<Record<string, (nowMs: () => number) => readonly Rule[]>> = {
  'another key': faults.wrongKey,
  'other names': () => faults.wrongNames(['other.example']),
  expired: (nowMs) => forged(() => ({ notBeforeMs: nowMs() - 2 * dayMs, notAfterMs: nowMs() - dayMs })),
  'valid in two hours': (nowMs) => forged(() => ({ notBeforeMs: nowMs() + 2 * 3_600_000 })),
  'a private key in it': faults.privateKeyInChain,
  'a broken chain': faults.brokenChain,
}

/** New ones: refused, and had as soon as the CA is right again. */
async function runNew(): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  await using rig = await startRig()
  let spoilt = 0
  for (const [name, rules] of Object.entries(forgeries)) {
    const [csr = ''] = makeCsrs(name.replaceAll(' ', '-'), 1)
    rig.setRules(rules(Date.now))
    const refused = await rig.ask(csr)
    assert.ok(refused.status >= 500, `${name}: ${refused.text}`)
    assert.match(refused.text, /cannot be used|is none/)
    assert.deepEqual(certificatesOf(refused.text), [])
    const kept = readState(rig.folder, 'select chain_pem from certificates').length
    spoilt += 1
    rig.setRules([])
    const given = await rig.askUntilGiven(csr)
    assert.equal(given.reply.status, 200, `${name}: ${given.reply.text}`)
    assert.equal(kept, spoilt - 1, `${name}: a bad one was kept`)
    figures[`${name}: kept or answered`] = 0
  }
  await assertInvariants(rig, { invalidOrders: spoilt })
  return { ...figures, 'orders for each, with the good one at last': ordersAt(rig.pebble) / spoilt }
}

/** In place of a renewal: the one that is there stays. */
async function runRenewals(): Promise<Figures> {
  const clock = createTestClock()
  const config = '[storage "state"]\ntype = state\nrenew-within = 89\n'
  await using rig = await startRig({ clock, config, caRules: caAt(clock) })
  const [csr = ''] = makeCsrs('renewed', 1)
  const first = await rig.ask(csr)
  assert.equal(first.status, 200, first.text)
  let withheld = 0
  for (const rules of Object.values(forgeries)) {
    rig.setRules(rules(() => clock.nowMs()))
    // Past what the last failure asks us to wait.
    clock.pass(2 * dayMs)
    const reply = await rig.ask(csr)
    if (reply.text !== first.text) withheld += 1
  }
  assert.equal(withheld, 0, 'I1')
  rig.setRules([])
  await assertInvariants(rig, { invalidOrders: ordersAt(rig.pebble) })
  return { 'good certificates replaced by a bad one': withheld, tried: Object.keys(forgeries).length }
}

/** Not as usual, and good. */
async function runHarmless(): Promise<Figures> {
  const harmless: Readonly<Record<string, () => readonly Rule[]>> = {
    'valid in a minute': () => faults.futureCertificate(60_000),
    'only the leaf': faults.withoutIntermediate,
  }
  const figures: Record<string, string | number> = {}
  await using rig = await startRig({
    account: 'preferred-chain = A root that nobody has',
    pebble: { alternateRoots: 2, chainLength: 3 },
  })
  for (const [name, rules] of Object.entries(harmless)) {
    const [csr = ''] = makeCsrs(name.replaceAll(' ', '-'), 1)
    rig.setRules(rules())
    const reply = await rig.ask(csr)
    assert.equal(reply.status, 200, `${name}: ${reply.text}`)
    figures[name] = 'taken'
  }
  rig.setRules([])
  const [csr = ''] = makeCsrs('long', 1)
  const reply = await rig.ask(csr)
  assert.equal(certificatesOf(reply.text).length, 4, reply.text)
  await assertInvariants(rig)
  return { ...figures, 'three intermediates, and a preferred chain that the CA has not': 'the CA’s own chain' }
}

export const wrongCertificates: readonly Scenario[] = [
  {
    row: 30,
    fault:
      'the certificate is for another key, other names, expired, not valid yet, holds a private key, or has a broken chain',
    expected: 'neither kept nor answered; the host is told why; ordered anew when it asks again',
    run: runNew,
  },
  {
    row: 30,
    fault: 'the same in place of a renewal',
    expected: 'the good certificate stays and is answered',
    run: runRenewals,
  },
  {
    row: 30,
    fault: 'valid only in a minute, only the leaf, a long chain, no such preferred chain',
    expected: 'taken',
    run: runHarmless,
  },
]
