// Row 21: the CA has something against our account.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { makeCsrs } from '../../bench/csrs.ts'
import { type FaultProxy, startFaultProxy } from '../faults/fault-proxy.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { postCsr } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { askUntilGiven, assertInvariants, calm, configFor, ordersAt, requestsTo, startRig, startServer } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

/** Another CA at the same address that knows nothing of us. */
async function runRestarted(full: boolean): Promise<Figures> {
  using folder = makeTempFolder('restarted')
  const httpPort = await freePort()
  const address = { folder: join(folder.path, 'tls'), port: await freePort(), seed: 7, rules: [] }
  const proxyBefore = (pebble: Pebble): Promise<FaultProxy> =>
    startFaultProxy({ ...address, upstreamUrl: pebble.directoryUrl, upstreamCaFile: pebble.caFile })
  await using former = await startPebble({ ...calm, httpPort })
  const formerProxy = await proxyBefore(former)
  await using server = await startServer(configFor(former, formerProxy), folder.path)
  const count = full ? 50 : 5
  const [kept = '', ...csrs] = makeCsrs('restarted', count + 1)
  const first = await postCsr(server.signUrl, kept)
  assert.equal(first.status, 200, first.text)
  await formerProxy.stop()
  await former.stop()
  await using fresh = await startPebble({ ...calm, httpPort })
  await using proxy = await proxyBefore(fresh)
  const given = await Promise.all(csrs.map((csr) => askUntilGiven(() => postCsr(server.signUrl, csr))))
  assert.deepEqual([...new Set(given.map(({ reply }) => reply.status))], [200], given[0]?.reply.text)
  assert.equal((await postCsr(server.signUrl, kept)).text, first.text, 'I1')
  const accounts = fresh.log().match(/There are now (\d+) accounts/g)?.length ?? 0
  assert.deepEqual([accounts, ordersAt(fresh), fresh.issuedCount()], [1, count, count])
  assert.ok(proxy.log.length > 0)
  return {
    'hosts at once': count,
    'accounts made': accounts,
    'orders a certificate': ordersAt(fresh) / count,
    'longest time until the certificate (s)': rounded(Math.max(...given.map(({ elapsedMs }) => elapsedMs)) / 1000),
  }
}

const troubles: Readonly<Record<string, () => readonly Rule[]>> = {
  deactivated: faults.accountDeactivated,
  'terms changed': faults.termsChanged,
}

async function runRefused(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  await using other = await startPebble({ ...calm, alwaysValid: true })
  for (const [name, rules] of Object.entries(troubles)) {
    const clock = createTestClock()
    await using rig = await startRig({
      clock,
      account: 'fallback = other',
      config: `[issuer "other"]\ntype = acme\nacme-server = ${other.directoryUrl}\nca-file = ${other.caFile}\naccept-terms-of-service = yes\n`,
    })
    const asks = full ? 120 : 24
    const [kept = '', ...csrs] = makeCsrs('refused', asks + 1)
    const first = await rig.ask(kept)
    assert.equal(first.status, 200, first.text)
    rig.setRules(rules())
    const startedMs = performance.now()
    const replies = [await rig.ask(csrs[0] ?? '')]
    const fallbackMs = performance.now() - startedMs
    const from = rig.proxy.log.length
    for (const csr of csrs.slice(1)) {
      clock.pass(3_600_000 / asks)
      replies.push(await rig.ask(csr))
    }
    assert.deepEqual([...new Set(replies.map(({ status }) => status))], [200], replies[0]?.text)
    const orders = requestsTo(rig.proxy, 'newOrder', from).length
    assert.ok(orders <= 15, `${orders} orders sent in an hour`)
    rig.setRules([])
    await assertInvariants(rig, { kept: new Map([[kept, first.text]]) })
    figures[`${name}: time until the fallback’s certificate (s)`] = rounded(fallbackMs / 1000)
    figures[`${name}: orders sent to that CA in the next hour, of ${asks} asked for`] = orders
  }
  return figures
}

/** Nobody else is there: hosts are told, and the CA is left alone. */
async function runAlone(): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  for (const [name, rules] of Object.entries(troubles)) {
    await using rig = await startRig()
    const [kept = '', csr = ''] = makeCsrs('alone', 2)
    const first = await rig.ask(kept)
    rig.setRules(rules())
    const from = rig.proxy.log.length
    const replies = await Promise.all(Array.from({ length: 10 }, () => rig.ask(csr)))
    assert.ok(
      replies.every(({ status }) => status === 500 || status === 503),
      replies[0]?.text,
    )
    assert.match(replies[0]?.text ?? '', /account|terms/)
    const orders = requestsTo(rig.proxy, 'newOrder', from).length
    assert.ok(orders <= 1, `${orders} orders sent`)
    rig.setRules([])
    await assertInvariants(rig, { kept: new Map([[kept, first.text]]) })
    figures[`${name}: what hosts are told`] = replies[0]?.text.trim() ?? ''
  }
  return figures
}

export const accounts: readonly Scenario[] = [
  {
    row: 21,
    fault: 'the CA has lost everything, our account too',
    expected: 'the account is made again, once, and every host gets its certificate; kept ones are answered',
    run: runRestarted,
  },
  {
    row: 21,
    fault: 'the account is deactivated, or new terms want to be accepted; there is a fallback',
    expected:
      'the fallback is asked at once; the CA that refused is asked again ever more rarely, at most every half hour in the end',
    run: runRefused,
  },
  {
    row: 21,
    fault: 'the same without a fallback',
    expected: 'hosts are told what is wrong, as no fault of theirs; kept certificates are answered',
    run: runAlone,
  },
]
