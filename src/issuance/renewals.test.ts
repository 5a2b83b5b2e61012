// Renewing ahead of need over a real state, with an issuer that is a value and a clock that jumps.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  createClock,
  dayMs,
  done,
  grantFor,
  hostKey,
  hourMs,
  makeChain,
  makeCsr,
  otherKey,
  startMs,
} from '../../test/issuance-world.ts'
import { ProblemError } from '../acme/problem.ts'
import type { RenewalInfoReply } from '../acme/renewal-info.ts'
import type { Advance, IssuanceEvent, Issuer, PluginContext } from '../plugin-api.ts'
import { openState } from '../state/state.ts'
import type { Csr } from '../x509/csr.ts'
import { createAbandonment } from './abandonment.ts'
import { createIssuance } from './issue.ts'
import type { IssueRequest } from './kept.ts'
import { needOf } from './need.ts'
import { renewalDueAtMs } from './renewal.ts'
import { createRenewals, type StoredRequest } from './renewals.ts'

const name = 'www.example.org'
type Reply = RenewalInfoReply | undefined

/** A server on a state of its own; `requests` are what blocks allow today, by what was posted. */
async function createFleet() {
  const stack = new AsyncDisposableStack()
  const folder = stack.adopt(mkdtempSync(join(tmpdir(), 'acmems-renewals-')), (path) =>
    rmSync(path, { recursive: true }),
  )
  const clock = createClock()
  const url = `sqlite:${join(folder, 'state.db')}`
  const state = stack.use(await openState(url, () => clock.nowAtMs, assert.ifError))
  const silent = () => undefined
  const context: PluginContext = {
    ...{ signal: new AbortController().signal, clock },
    randomBytes: (length: number) => new Uint8Array(length).fill(128),
    log: { debug: silent, info: silent, warn: silent, error: silent },
    http: { request: () => Promise.reject(new Error('no network here')) },
  }
  const world = {
    orders: [] as { readonly atMs: number; readonly canWait: boolean; readonly replaces: boolean }[],
    polls: [] as number[],
    answerOf: (_nth: number): Advance => fresh(),
    renewalInfoOf: (_nth: number): Reply => undefined,
    allowed: true,
    abandoned: 0,
    caMs: undefined as number | undefined,
  }
  const fresh = (toMs = clock.nowAtMs + 90 * dayMs, key = hostKey) =>
    done(makeChain({ fromMs: clock.nowAtMs - hourMs, toMs, key }))
  const issuer: Issuer = {
    key: 'CA',
    async advance(_grant, _progress, _resumed, { canWait = false, predecessorDer }) {
      world.orders.push({ atMs: clock.nowAtMs, canWait, replaces: predecessorDer !== undefined })
      return world.answerOf(world.orders.length - 1)
    },
    async renewalInfo() {
      world.polls.push(clock.nowAtMs)
      return world.renewalInfoOf(world.polls.length - 1)
    },
    timeMs: async () => world.caMs ?? clock.nowAtMs,
    async abandon() {
      world.abandoned += 1
    },
  }
  const storage = {
    find: state.certificates.findChain,
    keep: state.certificates.saveChain,
    forget: state.certificates.removeChain,
  }
  const requests = new Map<string, IssueRequest>()
  const requestFor = (csr: Csr, posted: string): IssueRequest => {
    const request = {
      ...{ grant: grantFor(csr), postedBytes: Buffer.from(posted) },
      means: { issuer, storage, solvers: [] },
    }
    requests.set(posted, request)
    return request
  }
  const issuance = createIssuance({
    ...{ orders: state.orders, register: state.register, outages: state.outages, holder: 'me', context },
    blockedKeys: { has: state.register.isKeyBlocked },
    repeat: () => ({ [Symbol.dispose]: silent }),
  })
  const events: IssuanceEvent[] = []
  const renewals = createRenewals({
    ...{ issuance, register: state.register, orders: state.orders, context },
    requestOf({ postedBytes }: StoredRequest) {
      const request = requests.get(Buffer.from(postedBytes).toString())
      if (request === undefined || !world.allowed) throw new ProblemError('rejectedIdentifier', 'no block allows it')
      return request
    },
    abandon: createAbandonment({
      ...{ orders: state.orders, holder: 'me', context, issuers: () => [issuer], solvers: () => [] },
    }),
    tell: (event) => events.push(event),
  })
  const csr = makeCsr(name)
  /** Another server on the same state. */
  async function openAnother() {
    const other = stack.use(await openState(url, () => clock.nowAtMs, assert.ifError))
    const { findChain, saveChain, removeChain } = other.certificates
    const means = { issuer, storage: { find: findChain, keep: saveChain, forget: removeChain }, solvers: [] }
    const otherIssuance = createIssuance({
      ...{ orders: other.orders, register: other.register, outages: other.outages, holder: 'another', context },
      blockedKeys: { has: other.register.isKeyBlocked },
      repeat: () => ({ [Symbol.dispose]: silent }),
    })
    return { ask: () => otherIssuance.issue({ ...requestFor(csr, 'posted'), means }) }
  }
  return {
    ...{ clock, state, world, renewals, events, issuance, fresh, context, openAnother },
    /** From now on this issuer comes first, and the usual one stands in for it. */
    putBefore(first: Issuer, posted = 'posted'): IssueRequest {
      const { means, ...request } = requestFor(csr, posted)
      const both = { ...request, means: { ...means, issuer: first, fallback: means } }
      requests.set(posted, both)
      return both
    },
    ask: (posted = 'posted', asked = csr) => issuance.issue(requestFor(asked, posted)),
    /** Lets days go by, looking as often as the timer would. */
    async live(days: number, stepMs = 6 * hourMs) {
      for (const endMs = clock.nowAtMs + days * dayMs; clock.nowAtMs < endMs; ) {
        clock.nowAtMs += stepMs
        while ((await renewals.lookAtDue()) > 0);
      }
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const inWindow = (startDay: number, endDay: number, retryAfterMs?: number): RenewalInfoReply => ({
  outcome: 'window',
  info: { startMs: startMs + startDay * dayMs, endMs: startMs + endDay * dayMs },
  retryAfterMs,
})
const dayOf = (atMs: number | undefined) => Math.floor(((atMs ?? 0) - startMs) / dayMs)

test('without the CA’s word a certificate in use is renewed with a third of its life left, and replaces the old', async () => {
  await using fleet = await createFleet()
  await fleet.ask()
  await fleet.live(57)
  assert.equal(fleet.world.orders.length, 1)
  await fleet.live(3)
  assert.equal(fleet.world.orders.length, 2)
  assert.deepEqual([fleet.world.orders[1]?.replaces, fleet.world.orders[1]?.canWait], [true, true])
  assert.equal((await fleet.ask()).source, 'kept', 'the host gets the new one at once')
  assert.deepEqual(
    fleet.events.map(({ kind }) => kind),
    ['certificate.issued'],
  )
})

test('an issuer that still gives out the same certificate is asked again now and then, until there is another', async () => {
  await using fleet = await createFleet()
  const first = fleet.fresh()
  fleet.world.answerOf = () => first
  await fleet.ask()
  await fleet.live(60)
  const asked = fleet.world.orders.length
  await fleet.live(2, hourMs)
  const again = fleet.world.orders.length - asked
  assert.ok(again >= 5 && again <= 14, `${again} times in two days`)
  assert.equal((await fleet.ask()).source, 'kept')
  assert.equal(fleet.events.length, 0, 'nothing failed, and nothing was issued')
  fleet.world.answerOf = () => fleet.fresh()
  await fleet.live(0.5, hourMs)
  assert.deepEqual(
    fleet.events.map(({ kind }) => kind),
    ['certificate.issued'],
  )
  await fleet.live(85)
  assert.equal(fleet.events.length, 1, 'in use no longer')
})

test('the CA’s window is used, its instant kept while the window stays', async () => {
  await using fleet = await createFleet()
  fleet.world.renewalInfoOf = () => inWindow(40, 42)
  await fleet.ask()
  await fleet.live(40.9)
  assert.equal(fleet.world.orders.length, 1)
  await fleet.live(0.5)
  assert.equal(dayOf(fleet.world.orders[1]?.atMs), 41)
  assert.ok(fleet.world.polls.length > 100, 'asked four times a day')
})

test('a window that moves into the past renews at the next look, whatever was planned', async () => {
  await using fleet = await createFleet()
  fleet.world.renewalInfoOf = (nth) => (nth < 20 ? inWindow(59, 61) : inWindow(-2, -1))
  await fleet.ask()
  await fleet.live(6)
  assert.equal(dayOf(fleet.world.orders[1]?.atMs), 5)
})

test('a CA that gives nonsense, or a window beyond the end, never delays a renewal', async () => {
  for (const reply of [
    { outcome: 'long-term failure', reason: 'garbage' },
    { outcome: 'temporary failure', reason: '503' },
    inWindow(100, 200),
  ] as const) {
    await using fleet = await createFleet()
    fleet.world.renewalInfoOf = () => reply
    await fleet.ask()
    await fleet.live(85)
    assert.ok(fleet.world.orders.length >= 2, JSON.stringify(reply))
    assert.ok(dayOf(fleet.world.orders[1]?.atMs) < 82)
  }
})

test('what no host asks for is renewed once, and then let go; asking brings it back', async () => {
  await using fleet = await createFleet()
  await fleet.ask()
  await fleet.live(200)
  assert.equal(fleet.world.orders.length, 2)
  await fleet.ask()
  assert.equal(fleet.world.orders.length, 3, 'it had ended')
  await fleet.live(30)
  await fleet.ask()
  await fleet.live(40)
  assert.equal(fleet.world.orders.length, 4)
})

test('a newer request of the same block and names ends the renewal of the older', async () => {
  await using fleet = await createFleet()
  await fleet.ask('first', makeCsr(name, hostKey))
  fleet.clock.nowAtMs += 10 * dayMs
  fleet.world.answerOf = () => fleet.fresh(undefined, otherKey)
  await fleet.ask('second', { ...makeCsr(name, otherKey), der: Buffer.from('another request') })
  await fleet.live(75)
  assert.equal(fleet.world.orders.length, 3, 'only the newer is renewed')
})

test('two hosts that both go on asking are both renewed', async () => {
  await using fleet = await createFleet()
  const second = { ...makeCsr(name), der: Buffer.from('another request') }
  await fleet.ask('first')
  await fleet.ask('second', second)
  fleet.clock.nowAtMs += 10 * dayMs
  await fleet.ask('first')
  await fleet.ask('second', second)
  await fleet.live(55)
  assert.equal(fleet.world.orders.length, 4)
})

test('what failed comes again after minutes, then daily; the host gets the old one meanwhile', async () => {
  await using fleet = await createFleet()
  await fleet.ask()
  fleet.world.answerOf = () => {
    throw new ProblemError('connection', 'cannot be reached', { retry: { when: 'newOrder' } })
  }
  await fleet.live(85, hourMs)
  const perDay = Map.groupBy(fleet.world.orders, ({ atMs }) => dayOf(atMs))
  assert.ok((perDay.get(60)?.length ?? 0) <= 4, 'a handful on the first day')
  assert.ok((perDay.get(70)?.length ?? 0) <= 2, 'then one or two a day')
  assert.ok(fleet.world.orders.length > 20, 'and never given up')
  assert.equal((await fleet.ask()).source, 'kept')
  const [entry] = await fleet.state.register.list(1)
  assert.equal(entry?.lastError, 'cannot be reached')
  fleet.world.answerOf = () => fleet.fresh()
  await fleet.live(1.1, hourMs)
  assert.equal((await fleet.state.register.list(1))[0]?.lastError, undefined)
})

test('a CA that is away costs the certificate no patience: it comes back with the CA', async () => {
  await using fleet = await createFleet()
  await fleet.ask()
  await fleet.live(57)
  let away = true
  fleet.world.answerOf = () => {
    if (away) throw new ProblemError('serverInternal', 'no answer', { retry: { when: 'backoff' } })
    return fleet.fresh()
  }
  await fleet.live(10, hourMs / 4)
  const whileAway = fleet.world.orders.length
  assert.ok(whileAway < 10 * 24 * 2 * 6, 'twice an hour, six quick tries each')
  away = false
  await fleet.live(1 / 24, hourMs / 12)
  assert.equal(fleet.world.orders.length, whileAway + 1, 'within the hour')
})

test('a block that does not allow it any more: nothing is ordered', async () => {
  await using fleet = await createFleet()
  await fleet.ask()
  fleet.world.allowed = false
  await fleet.live(85)
  assert.equal(fleet.world.orders.length, 1)
  assert.match((await fleet.state.register.list(1))[0]?.lastError ?? '', /no block allows/)
})

test('a clock that runs ahead renews nothing', async () => {
  await using fleet = await createFleet()
  await fleet.ask()
  fleet.world.caMs = fleet.clock.nowAtMs + hourMs
  await fleet.live(85)
  assert.equal(fleet.world.orders.length, 1)
})

test('what a crash left behind is gone on with, or undone where it may not be', async () => {
  for (const allowed of [true, false]) {
    await using fleet = await createFleet()
    await fleet.ask()
    const [entry] = await fleet.state.register.list(1)
    assert.ok(entry !== undefined)
    const need = { ...entry, id: entry.id, issuerKey: 'CA' }
    await fleet.state.orders.claim(need, 'the dead', fleet.clock.nowAtMs, fleet.clock.nowAtMs + 1000)
    const saved = { progress: { order: 1 }, orderUrl: 'https://ca.example/1', steps: [], recoverable: false }
    await fleet.state.orders.save(need.id, 'the dead', saved, fleet.clock.nowAtMs, fleet.clock.nowAtMs + 1000)
    fleet.world.allowed = allowed
    fleet.clock.nowAtMs += 1001
    await fleet.renewals.lookAtDue()
    assert.equal(fleet.world.orders.length, allowed ? 2 : 1)
    assert.equal(fleet.world.abandoned, allowed ? 0 : 1)
    const [story] = await fleet.state.stories.list(1)
    assert.equal(story?.status, allowed ? 'issued' : 'abandoned')
    assert.deepEqual(await fleet.state.orders.unattended(fleet.clock.nowAtMs + dayMs, 9), [])
  }
})

test('what was left behind at an issuer that is away waits for it, though another one has helped out', async () => {
  for (const replacedSerial of [undefined, '01']) {
    await using fleet = await createFleet()
    await fleet.ask()
    let asked = 0
    const request = fleet.putBefore({
      key: 'away',
      async advance() {
        asked += 1
        return fleet.fresh()
      },
    })
    const need = { ...needOf(request, request.means), ...(replacedSerial === undefined ? {} : { replacedSerial }) }
    const { nowAtMs } = fleet.clock
    await fleet.state.orders.claim(need, 'the dead', nowAtMs, nowAtMs)
    const outage = { issuerKey: 'away', sinceMs: nowAtMs, failures: 1, untilMs: nowAtMs + hourMs, reason: 'it is away' }
    await fleet.state.outages.save(outage)
    fleet.clock.nowAtMs += 1
    await fleet.renewals.lookAtDue()
    assert.deepEqual(await fleet.state.orders.unattended(outage.untilMs - 1, 9), [], 'again and again, for nothing')
    fleet.clock.nowAtMs = outage.untilMs
    assert.equal((await fleet.state.orders.unattended(outage.untilMs, 9)).length, 1)
    await fleet.renewals.lookAtDue()
    assert.deepEqual(await fleet.state.orders.unattended(fleet.clock.nowAtMs + dayMs, 9), [])
    assert.equal(asked, 0, 'the certificate is there')
  }
})

test('what was left behind at the issuer that helped out is undone when the first one has given the certificate', async () => {
  await using fleet = await createFleet()
  const request = fleet.putBefore({ key: 'first', advance: async () => fleet.fresh() })
  await fleet.issuance.issue(request)
  const { fallback = request.means } = request.means
  const { nowAtMs } = fleet.clock
  const need = needOf(request, fallback)
  await fleet.state.orders.claim(need, 'the dead', nowAtMs, nowAtMs)
  const saved = { progress: { order: 1 }, orderUrl: 'https://ca.example/1', steps: [], recoverable: false }
  await fleet.state.orders.save(need.id, 'the dead', saved, nowAtMs, nowAtMs)
  fleet.clock.nowAtMs += 1
  await fleet.renewals.lookAtDue()
  assert.deepEqual(await fleet.state.orders.unattended(fleet.clock.nowAtMs + dayMs, 9), [])
  assert.deepEqual([fleet.world.abandoned, fleet.world.orders.length], [1, 0])
})

test('while a CA is away, the one that stands in for it renews once, and hosts get what it gave', async () => {
  await using fleet = await createFleet()
  let isAway = false
  let asked = 0
  const request = fleet.putBefore({
    key: 'first',
    async advance() {
      asked += 1
      if (isAway) throw new ProblemError('serverInternal', 'it is away', { retry: { when: 'backoff' } })
      return fleet.fresh()
    },
  })
  const before = await fleet.issuance.issue(request)
  isAway = true
  await fleet.live(70)
  assert.ok(asked > 1, 'it was tried')
  assert.equal(fleet.world.orders.length, 1, 'certificates of the other one')
  const { chain, source } = await fleet.issuance.issue(request)
  assert.equal(source, 'kept')
  assert.ok(chain.leaf.notBeforeMs > before.chain.leaf.notBeforeMs)
})

test('what another server renewed a moment ago is no reason for an order, whatever was looked up before', async () => {
  await using fleet = await createFleet()
  const another = await fleet.openAnother()
  const { chain } = await fleet.ask()
  fleet.clock.nowAtMs = renewalDueAtMs(chain.leaf, undefined) - 100
  assert.equal((await another.ask()).chain.leaf.serial, chain.leaf.serial)
  fleet.clock.nowAtMs += 200
  const renewed = await fleet.ask()
  assert.notEqual(renewed.chain.leaf.serial, chain.leaf.serial)
  assert.equal((await another.ask()).chain.leaf.serial, renewed.chain.leaf.serial)
  assert.equal(fleet.world.orders.length, 2)
})
