// Rows 27 and 29: the first CA is away for long, and a profile is not offered any more.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { makeCsrs } from '../../bench/csrs.ts'
import * as faults from '../faults/scenarios.ts'
import { startPebble } from '../peers/pebble.ts'
import { until } from '../until.ts'
import { caAt } from './ca-time.ts'
import { assertInvariants, calm, startProxy, startRig } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'
import { createTestClock, type TestClock } from './test-clock.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

/** Two CAs, each behind a proxy that puts it into the test's time. */
async function startTwo(clock: TestClock, pebbleOptions = {}) {
  await using stack = new AsyncDisposableStack()
  const other = stack.use(await startPebble({ ...calm, alwaysValid: true }))
  const otherProxy = stack.use(await startProxy(other, caAt(clock, 45 * dayMs)))
  const rig = stack.use(
    await startRig({
      clock,
      caRules: caAt(clock, 45 * dayMs),
      account: 'fallback = other',
      config: `[issuer "other"]\ntype = acme\nacme-server = ${otherProxy.directoryUrl}\nca-file = ${otherProxy.caFile}\naccept-terms-of-service = yes\n`,
      pebble: { alwaysValid: true, ...pebbleOptions },
    }),
  )
  const owned = stack.move()
  return { rig, other, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function runAway(full: boolean): Promise<Figures> {
  const lengths = full ? [1, 3, 10] : [0.5]
  // All at once: what takes its time are the pauses between tries at a CA that is away, hundreds of them.
  const figures = await Promise.all(lengths.map((days) => runAwayFor(days, full ? 10 : 3, full ? 6 : 1)))
  return Object.assign({}, ...figures) as Figures
}

async function runAwayFor(days: number, count: number, speed: number): Promise<Figures> {
  const clock = createTestClock(speed)
  await using two = await startTwo(clock)
  const { rig, other } = two
  const csrs = makeCsrs('away', count)
  const first = await Promise.all(csrs.map((csr) => rig.ask(csr)))
  assert.deepEqual([...new Set(first.map(({ status }) => status))], [200])
  // A third of the 45 days is left in the midst of the outage.
  clock.pass(29 * dayMs)
  await rig.idle()
  rig.setRules(faults.unreachable())
  const from = rig.proxy.log.length
  const stepMs = hourMs
  let newHosts = 0
  let worstLeft = Number.POSITIVE_INFINITY
  for (let passed = 0; passed < days * dayMs; passed += stepMs) {
    clock.pass(stepMs)
    // Hosts ask, and new ones come.
    const [fresh = ''] = makeCsrs(`fresh-${passed}`, 1)
    if (passed % (6 * hourMs) === 0) {
      const reply = await rig.ask(fresh)
      newHosts += 1
      assert.equal(reply.status, 200, `after ${passed / hourMs} hours of ${days} days: ${reply.text}`)
    }
    await rig.idle()
    if (passed === dayMs / 4) await rig.restart()
  }
  const atDeadCa = rig.proxy.log.length - from
  const issuedElsewhere = other.issuedCount()
  assert.ok(issuedElsewhere <= count + newHosts, `${issuedElsewhere} certificates for ${count + newHosts} hosts`)
  for (const csr of csrs) {
    const reply = await rig.ask(csr)
    assert.equal(reply.status, 200, 'I1')
    const left = Date.parse(new X509Certificate(reply.text).validTo) - clock.nowMs()
    worstLeft = Math.min(worstLeft, left)
  }
  assert.ok(worstLeft > 0)
  rig.setRules([])
  const backMs = clock.nowMs()
  const before = rig.pebble.issuedCount()
  for (let i = 0; rig.pebble.issuedCount() === before && clock.nowMs() - backMs < dayMs; i++) {
    clock.pass(minuteMs)
    const reply = await rig.ask(makeCsrs(`back-${i}`, 1)[0] ?? '')
    assert.equal(reply.status, 200, `${i} minutes after it is back: ${reply.text}`)
  }
  const recoveryMin = (clock.nowMs() - backMs) / minuteMs
  assert.ok(recoveryMin <= 35, `${recoveryMin} minutes until the first CA is used again`)
  await assertInvariants(rig)
  return {
    [`${days} d: requests a day to the CA that is away`]: rounded(atDeadCa / days),
    [`${days} d: certificates from the fallback`]: issuedElsewhere,
    [`${days} d: least that any certificate had left (d)`]: rounded(worstLeft / dayMs),
    [`${days} d: time until the first CA is used again (min)`]: Math.ceil(recoveryMin),
  }
}

/** In the directory still, and refused; then gone from the directory, too. */
async function runProfiles(): Promise<Figures> {
  const clock = createTestClock()
  const profiles = { classic: { description: 'the usual', validityPeriodSeconds: 90 * 24 * 3600 } }
  await using rig = await startRig({ clock, account: 'profile = classic', pebble: { profiles } })
  const [first = '', second = ''] = makeCsrs('profile', 2)
  assert.equal((await rig.ask(first)).status, 200)
  rig.setRules(faults.advertisedProfiles(['modern']))
  clock.pass(2 * hourMs)
  const reply = await rig.ask(second)
  assert.equal(reply.status, 200, reply.text)
  assert.match(rig.server.log(), /does not offer the profile/)
  await assertInvariants(rig)
  return { 'profile gone from the directory': 'ordered without it, and a warning' }
}

async function runRefusedProfile(): Promise<Figures> {
  const profiles = { classic: { description: 'the usual', validityPeriodSeconds: 90 * 24 * 3600 } }
  await using rig = await startRig({ account: 'profile = classic', pebble: { profiles } })
  const [first = '', second = ''] = makeCsrs('profile', 2)
  assert.equal((await rig.ask(first)).status, 200)
  rig.setRules(faults.profileWithdrawn())
  const reply = await rig.ask(second)
  assert.equal(reply.status, 200, reply.text)
  await assertInvariants(rig)
  return { 'profile refused though it is in the directory': 'ordered without it' }
}

/** Certificates live ever more shortly; the renewals follow. */
async function runShorter(): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  await Promise.all(
    [90, 64, 45, 6].map(async (days) => {
      const clock = createTestClock()
      await using rig = await startRig({
        clock,
        caRules: caAt(clock, days * dayMs),
        rules: faults.directoryWithout('renewalInfo'),
        pebble: { alwaysValid: true },
      })
      const beganMs = clock.nowMs()
      assert.equal((await rig.ask(makeCsrs('shorter', 1)[0] ?? '')).status, 200)
      const dueShare = days < 10 ? 1 / 2 : 2 / 3
      clock.pass((dueShare - 0.03) * days * dayMs)
      await rig.idle()
      assert.equal(rig.pebble.issuedCount(), 1, `${days} d: too early`)
      const stepMs = (days * dayMs) / 400
      while (rig.pebble.issuedCount() === 1 && clock.nowMs() - beganMs < days * dayMs) {
        clock.pass(stepMs)
        await rig.idle()
      }
      const share = (clock.nowMs() - beganMs) / (days * dayMs)
      assert.ok(share <= dueShare + 0.03, `${days} d: renewed at ${share}`)
      await until('the renewal', () => rig.pebble.issuedCount() === 2)
      figures[`${days} d: renewed after`] = `${rounded(share * 100)} % of the lifetime`
    }),
  )
  return figures
}

export const fallback: readonly Scenario[] = [
  {
    row: 27,
    fault: 'the first of two CAs is away for days; a restart in between',
    expected:
      'the fallback issues; the first is asked ever more rarely, in the end every half hour, also after a restart; used again within some half hour when it is back',
    run: runAway,
  },
  {
    row: 29,
    fault: 'the profile is gone from the directory',
    expected: 'ordered without it, with a warning',
    run: runProfiles,
  },
  {
    row: 29,
    fault: 'the profile is refused though it is in the directory',
    expected: 'ordered once again without it',
    run: runRefusedProfile,
  },
  {
    row: 29,
    fault: 'certificates of 90, 64, 45 and 6 days',
    expected: 'renewed with a third of the actual lifetime left, a half of a short one',
    run: runShorter,
  },
]
