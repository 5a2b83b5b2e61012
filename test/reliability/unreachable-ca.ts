// Rows 1 and 2: a CA that fails, and one that says when to come back.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { assertInvariants, type Given, ordersAt, type Rig, startRig } from './rig.ts'
import { type Figures, median, percent, rounded, type Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

const hourMs = 3_600_000

/** Hosts that all ask, and again until they have it; then the faults end. */
async function askThrough(prefix: string, rules: readonly Rule[], full: boolean, isPatient: boolean): Promise<Figures> {
  const [count, speed] = full ? [12, 1] : [4, 5]
  const calmMs = await measureCalm(prefix, count)
  await using rig = await startRig({ rules, clock: createTestClock(speed) })
  const csrs = makeCsrs(prefix, count)
  const maxAsks = isPatient ? 300 : 60
  const given = await Promise.all(csrs.map((csr) => rig.askUntilGiven(csr, { pauseMs: 1000 / speed, maxAsks })))
  return await figuresOf(rig, csrs, given, calmMs, speed, isPatient)
}

async function figuresOf(
  rig: Rig,
  csrs: readonly string[],
  given: readonly Given[],
  calmMs: number,
  speed: number,
  mustAllSucceed: boolean,
): Promise<Figures> {
  const { pebble, proxy } = rig
  const successes = given.filter(({ reply }) => reply.status === 200).length
  // When to renew is asked by a timer.
  const count = () => proxy.log.filter(({ endpoint }) => endpoint !== 'renewalInfo').length
  const requests = count()
  const failure = given.find(({ reply }) => reply.status !== 200)?.reply.text
  if (mustAllSucceed) assert.equal(successes, csrs.length, failure)
  assert.ok(pebble.issuedCount() <= csrs.length, 'one certificate a need')
  assert.ok(ordersAt(pebble) <= csrs.length, 'one order a need')
  const kept = new Map(csrs.map((csr, i) => [csr, given[i]?.reply] as const))
  const good = [...kept].flatMap(([csr, reply]): [string, string][] =>
    reply?.status === 200 ? [[csr, reply.text]] : [],
  )
  rig.setRules([])
  // Else some orders are open still, and are gone on with later.
  if (successes === csrs.length) await assertInvariants(rig, { kept: new Map(good) })
  if (mustAllSucceed) assert.equal(count(), requests, 'a kept certificate is answered without the CA')
  const extraMs = (median(given.map(({ elapsedMs }) => elapsedMs)) - calmMs) * speed
  return {
    'hosts that got their certificate': percent(successes, csrs.length),
    'median extra time (s)': rounded(extraMs / 1000),
    'asks a certificate': rounded(given.reduce((sum, { asks }) => sum + asks, 0) / csrs.length),
    'requests a certificate': rounded(requests / csrs.length),
    'orders a certificate': rounded(ordersAt(pebble) / csrs.length),
  }
}

const calmTimes = new Map<number, Promise<number>>()

/** How long the same takes with nothing in the way. */
function measureCalm(prefix: string, count: number): Promise<number> {
  const known = calmTimes.get(count)
  if (known !== undefined) return known
  const measured = (async () => {
    await using rig = await startRig()
    const given = await Promise.all(makeCsrs(`${prefix}-calm`, count).map((csr) => rig.askUntilGiven(csr)))
    return median(given.map(({ elapsedMs }) => elapsedMs))
  })()
  calmTimes.set(count, measured)
  return measured
}

type Answer = { readonly retryAfter: string; readonly closedForMs: number }

/** 503 with this, then time passes; hosts go on asking. */
async function stayAway({ retryAfter, closedForMs }: Answer, isRegistered: boolean): Promise<Figures> {
  const clock = createTestClock()
  const stepMs = closedForMs / 20
  await using rig = await startRig({ clock, rules: isRegistered ? [] : faults.serviceUnavailable(retryAfter) })
  const [first = '', second = ''] = makeCsrs('closed', 2)
  if (isRegistered) assert.equal((await rig.ask(first)).status, 200)
  rig.setRules(faults.serviceUnavailable(retryAfter))
  const refused = await rig.ask(second)
  assert.equal(refused.status, 503, refused.text)
  const from = rig.proxy.log.length
  rig.setRules([])
  for (let i = 1; i < 20; i++) {
    clock.pass(i === 1 ? stepMs - 2000 : stepMs)
    if (i === 10) await rig.restart()
    const still = await rig.ask(second)
    assert.equal(still.status, 503, `at ${i}/20 of the time: ${still.text}`)
    assert.ok(Number(still.headers.get('retry-after')) > 0, 'Retry-After')
  }
  const inWindow = rig.proxy.log.length - from
  clock.pass(stepMs + 2 * 60_000)
  const reply = await rig.ask(second)
  assert.equal(reply.status, 200, reply.text)
  await assertInvariants(rig)
  return { 'requests in the forbidden time': inWindow }
}

async function runClosed(full: boolean): Promise<Figures> {
  const httpDate = new Date(Date.now() + 100_000).toUTCString()
  const answers: readonly (Answer & { readonly name: string })[] = [
    { name: '100 seconds', retryAfter: '100', closedForMs: 100_000 },
    { name: 'an HTTP-date', retryAfter: httpDate, closedForMs: 90_000 },
    { name: 'ten years, held to be a day', retryAfter: '315360000', closedForMs: 24 * hourMs },
  ]
  const figures: Record<string, string | number> = {}
  for (const answer of full ? answers : answers.slice(1)) {
    const { 'requests in the forbidden time': requests = -1 } = await stayAway(answer, true)
    figures[`requests in the forbidden time, ${answer.name}`] = requests
    assert.equal(requests, 0, answer.name)
  }
  return figures
}

/** What is no time at all: our own pause holds, and it is short. */
async function runNonsense(): Promise<Figures> {
  await using rig = await startRig()
  const csrs = makeCsrs('nonsense', 4)
  assert.equal((await rig.ask(csrs[0] ?? '')).status, 200)
  const times: number[] = []
  for (const [i, retryAfter] of ['-5', 'soon', '1e9'].entries()) {
    rig.setRules(faults.narrowRules(faults.serviceUnavailable(retryAfter), { endpoint: 'newOrder', times: 1 }))
    const { reply, elapsedMs } = await rig.askUntilGiven(csrs[i + 1] ?? '')
    assert.equal(reply.status, 200, `${retryAfter}: ${reply.text}`)
    times.push(elapsedMs)
  }
  await assertInvariants(rig)
  return { 'longest time until the certificate (s)': rounded(Math.max(...times) / 1000) }
}

const shares = (full: boolean) => (full ? [0.1, 0.3, 0.6] : [0.3])

async function runShares(
  prefix: string,
  full: boolean,
  rulesFor: (share: number) => readonly Rule[],
): Promise<Figures> {
  const all: Record<string, string | number> = {}
  for (const share of shares(full)) {
    const figures = await askThrough(prefix, rulesFor(share), full, share < 0.5)
    for (const [name, value] of Object.entries(figures)) all[`${share * 100} %: ${name}`] = value
  }
  return all
}

export const unreachableCa: readonly Scenario[] = [
  {
    row: 1,
    fault: '500, 502 and 504 at random, anywhere',
    expected:
      'up to 30 %, every host gets its certificate when it asks again; a step is repeated with growing, jittered pauses; one order and one certificate a need',
    run: (full) => runShares('errors', full, faults.serverErrors),
  },
  {
    row: 1,
    fault: '504 after the CA has done what was asked',
    expected: 'what the CA has is looked at before anything is repeated: one order and one certificate a need',
    run: (full) => runShares('late', full, faults.lateServerErrors),
  },
  {
    row: 1,
    fault: 'connections cut before or after the CA',
    expected: 'the same',
    run: (full) => runShares('cut', full, faults.cutEverywhere),
  },
  {
    row: 2,
    fault: '503 with Retry-After as seconds, as a date, and absurdly long',
    expected: 'no request before the time, also after a restart; more than a day counts as a day',
    run: runClosed,
  },
  {
    row: 2,
    fault: '503 with a Retry-After that is negative or no time',
    expected: 'as if it were not there: our own short pause',
    run: runNonsense,
  },
  {
    row: 2,
    fault: '503 with Retry-After at the very first request, before there is an account',
    expected: 'no request before the time, also after a restart',
    async run() {
      const figures = await stayAway({ retryAfter: '100', closedForMs: 100_000 }, false)
      assert.equal(figures['requests in the forbidden time'], 0)
      return figures
    },
  },
]
