// Row 7: the CA has done it, and nobody heard.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import type { EndpointKind, Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { assertInvariants, ordersAt, type Rig, startRig } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

const endpoints = ['newAccount', 'newOrder', 'challenge', 'finalize', 'certificate'] as const

function accountsAt({ pebble }: Rig): number {
  return Number(/^.*There are now (\d+) accounts in memory/m.exec(pebble.log().split('\n').reverse().join('\n'))?.[1])
}

async function runEach(): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  await Promise.all(
    endpoints.map(async (endpoint) => {
      await using rig = await startRig({ rules: faults.lostReplies([endpoint]) })
      const [csr = ''] = makeCsrs('lost', 1)
      const { reply, asks } = await rig.askUntilGiven(csr, { pauseMs: 300 })
      assert.equal(reply.status, 200, `${endpoint}: ${reply.text}`)
      assert.ok(
        rig.proxy.log.some(({ actions }) => actions.includes('cutAfter')),
        `${endpoint} was lost`,
      )
      const made = [accountsAt(rig), ordersAt(rig.pebble), rig.pebble.issuedCount()]
      assert.deepEqual(made, [1, 1, 1], `${endpoint}: accounts, orders, certificates`)
      await assertInvariants(rig, { kept: new Map([[csr, reply.text]]) })
      figures[`${endpoint}: accounts, orders, certificates, asks`] = [...made, asks].join(', ')
    }),
  )
  return figures
}

/** Of all that is written, so much is lost; many hosts at once. */
async function runMany(full: boolean): Promise<Figures> {
  const [count, speed] = full ? [50, 1] : [6, 5]
  const rules = endpoints.map(
    (endpoint: EndpointKind): Rule => ({ endpoint, probability: 0.3, action: { do: 'cutAfter' } }),
  )
  await using rig = await startRig({ rules, clock: createTestClock(speed) })
  const csrs = makeCsrs('lost', count)
  const given = await Promise.all(csrs.map((csr) => rig.askUntilGiven(csr, { pauseMs: 1000 / speed })))
  const successes = given.filter(({ reply }) => reply.status === 200).length
  assert.equal(successes, count, given.find(({ reply }) => reply.status !== 200)?.reply.text)
  const [orders, certificates] = [ordersAt(rig.pebble), rig.pebble.issuedCount()]
  assert.equal(certificates, count)
  const lost = rig.proxy.log.filter(({ actions }) => actions.includes('cutAfter')).length
  rig.setRules([])
  // A list as long as that of fifty is read in part only: see docs/reliability.md.
  if (!full) assert.equal(orders, count, 'orders')
  await assertInvariants(rig, { invalidOrders: orders - count })
  return {
    'replies lost': lost,
    'certificates a need': rounded(certificates / count),
    'orders a certificate': rounded(orders / count),
    accounts: accountsAt(rig),
  }
}

export const lostReplies: readonly Scenario[] = [
  {
    row: 7,
    fault: 'one reply lost: of newAccount, newOrder, a challenge, finalize, the download',
    expected:
      'the account is found by its key, the order in the account’s list, all else by reading the order again: one of each',
    run: runEach,
  },
  {
    row: 7,
    fault: '30 % of the replies to what is written lost, many hosts at once',
    expected: 'one certificate a need; one order, where the CA lists the account’s orders',
    run: runMany,
  },
]
