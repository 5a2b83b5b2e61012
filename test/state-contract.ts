// What every database must do for the state: the same tests on each.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import type { AnswerRecord } from '../src/acme/answer-record.ts'
import type { RateBucket, RateLedger } from '../src/acme/rate-limit.ts'
import {
  type Need,
  type OrderOutcome,
  type OrderRecord,
  type RegisterEntry,
  type SavedStep,
  unclaimedMs,
} from '../src/issuance/records.ts'
import { planRenewal } from '../src/issuance/renewal-plan.ts'
import type { Progress } from '../src/plugin-api.ts'
import type { BegunBox } from '../src/state/boxes.ts'
import type { State } from '../src/state/state.ts'
import type { Csr } from '../src/x509/csr.ts'

export const nowMs = Date.UTC(2026, 10, 21)
export const leaseMs = 60_000

/** Handles on one database, as several processes have them; closed with it. */
export type World = AsyncDisposable & { open(now?: () => number): Promise<State> }

export const answer: AnswerRecord = {
  type: 'http-01',
  token: 'token-1',
  host: 'www.example.org',
  keyAuthorization: 'token-1.thumbprint',
  expiresAtMs: nowMs + 1000,
}

const csr = { der: Buffer.from('request') } as Pick<Csr, 'der'> as Csr
export const key = { csr, issuerKey: 'acme:https://ca.example/directory', profile: undefined }

export const need: Need = {
  ...{ id: 'need-1', issuerKey: 'ca', names: ['www.example.org'], block: 'web' },
  ...{ postedBytes: Buffer.from('posted'), remoteAddress: '192.0.2.1' },
}

const box: BegunBox = {
  ...{ name: 'printer', block: 'printers', sealedKeyPem: 'sealed' },
  recipientSpkiDer: new Uint8Array(Buffer.from('key')),
  csrDer: new Uint8Array(Buffer.from('request')),
}

/** As it is read: octets in plain arrays. */
const plainBox = (draft: BegunBox): BegunBox => ({ ...draft, csrDer: new Uint8Array(draft.csrDer) })

const step = (progress: Progress, orderUrl?: string): SavedStep => ({
  ...{ progress, orderUrl, recoverable: false },
  steps: [{ atMs: nowMs, note: 'a step' }],
})

/** As claimed for the first time. */
const claimed = {
  ...{ need, progress: undefined, orderUrl: undefined, steps: [], attempts: 1 },
  beganAtMs: nowMs,
}

const issued: OrderOutcome = { outcome: 'issued', serial: '01' }

function claim(state: State, holder: string, atMs = nowMs, wanted = need): Promise<OrderRecord | undefined> {
  return state.orders.claim(wanted, holder, atMs, atMs + leaseMs)
}

/** @param makeWorld an empty database */
export function testStateContract(database: string, makeWorld: () => World | Promise<World>): void {
  // answers ----------------------------------------------------------------------------------------

  test(`${database}: an answer is found by exactly its type, token and host`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    await answers.put(answer)
    assert.equal(await answers.find(answer, nowMs), answer.keyAuthorization)
    for (const other of [
      { type: 'tls-alpn-01' },
      { token: 'token-2' },
      { token: 'TOKEN-1' },
      { host: 'example.org' },
      { token: "' OR 1=1 --" },
    ] as const)
      assert.equal(await answers.find({ ...answer, ...other }, nowMs), undefined, JSON.stringify(other))
  })

  test(`${database}: the same answer twice is one; a new one takes the place of the old`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    await answers.put(answer)
    await answers.put(answer)
    await answers.put({ ...answer, keyAuthorization: 'token-1.other', expiresAtMs: nowMs + 5000 })
    assert.equal(await answers.find(answer, nowMs + 4000), 'token-1.other')
    await answers.remove(answer)
    assert.equal(await answers.find(answer, nowMs), undefined)
  })

  test(`${database}: removing takes that one and no other, and nothing is no failure`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    const others: AnswerRecord[] = [
      { ...answer, host: 'other.example.org' },
      { ...answer, token: 'token-2' },
      { ...answer, type: 'tls-alpn-01' },
    ]
    for (const one of [answer, ...others]) await answers.put(one)
    await answers.remove(answer)
    await answers.remove(answer)
    assert.equal(await answers.find(answer, nowMs), undefined)
    for (const one of others) assert.equal(await answers.find(one, nowMs), one.keyAuthorization)
  })

  test(`${database}: what has expired is not told, and is gone after a start`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    await answers.put(answer)
    await answers.put({ ...answer, token: 'old', expiresAtMs: nowMs - 1 })
    assert.equal(await answers.find(answer, nowMs + 999), answer.keyAuthorization)
    assert.equal(await answers.find(answer, nowMs + 1000), undefined)
    assert.equal(await answers.find({ ...answer, token: 'old' }, nowMs - 2), answer.keyAuthorization)
    const { answers: later } = await world.open()
    assert.equal(await later.find({ ...answer, token: 'old' }, nowMs - 2), undefined)
    assert.equal(await later.find(answer, nowMs), answer.keyAuthorization)
  })

  test(`${database}: TXT values side by side, and what is below a name`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    const text = (host: string, value: string, more: Partial<AnswerRecord> = {}): AnswerRecord => ({
      ...{ type: 'dns-01', token: value, host, keyAuthorization: value, expiresAtMs: nowMs + 1000 },
      ...more,
    })
    const owner = '_acme-challenge.www.example.org'
    const below = (name: string) => answers.hasTextBelow(name, 'nothing.test', nowMs)
    for (const one of [
      text(owner, 'a'),
      text(owner, 'b'),
      text(owner, 'c', { keyAuthorization: 'a' }),
      text('x-y.other', 'd'),
    ])
      await answers.put(one)
    await answers.put({ ...answer, host: owner })
    assert.deepEqual([...(await answers.findTexts(owner, 'nothing.test', nowMs))].sort(), ['a', 'b'])
    assert.deepEqual([...(await answers.findTexts('x-y.other', owner, nowMs))].sort(), ['a', 'b', 'd'])
    assert.deepEqual(await answers.findTexts(owner, owner, nowMs + 1000), [])
    for (const [name, expected] of [
      ['org', true],
      ['example.org', true],
      ['www.example.org', true],
      [owner, false],
      ['xample.org', false],
      ['rg', false],
      ['ww.example.org', false],
      ['y.other', false],
      ['other', true],
      ['%', false],
      ['_', false],
    ] as const)
      assert.equal(await below(name), expected, name)
    assert.equal(await answers.hasTextBelow('nothing.test', 'org', nowMs), true)
    assert.equal(await answers.hasTextBelow('org', 'org', nowMs + 1000), false)
  })

  test(`${database}: what others publish is counted, and the newest kept`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    const publish = (publisher: string, host: string, value: string, expiresAtMs: number) =>
      answers.put({
        type: 'dns-01',
        token: `${publisher} ${value}`,
        host,
        keyAuthorization: value,
        expiresAtMs,
        publisher,
      })
    for (const [index, value] of ['a', 'b', 'c'].entries()) await publish('one', 'x.test', value, nowMs + 10 + index)
    await publish('one', 'y.test', 'a', nowMs + 5)
    await publish('two', 'x.test', 'a', nowMs + 5)
    assert.deepEqual(await answers.countPublished('one', 'x.test', nowMs), { all: 4, atHost: 3 })
    assert.deepEqual(await answers.countPublished('one', 'x.test', nowMs + 10), { all: 2, atHost: 2 })
    assert.deepEqual(await answers.countPublished('nobody', 'x.test', nowMs), { all: 0, atHost: 0 })
    await answers.keepNewest('one', 2)
    assert.deepEqual([...(await answers.findTexts('x.test', 'y.test', nowMs))].sort(), ['a', 'b', 'c'])
    assert.deepEqual(await answers.countPublished('one', 'x.test', nowMs), { all: 2, atHost: 2 })
    assert.deepEqual(await answers.countPublished('two', 'x.test', nowMs), { all: 1, atHost: 1 })
  })

  test(`${database}: accounts of the update API`, async () => {
    await using world = await makeWorld()
    const { dnsAccounts } = await world.open()
    const account = {
      ...{ username: 'u', passwordHash: 'h', fullName: 'x.acme.test', block: 'web' },
      ...{ allowFrom: ['192.0.2.0/24'], createdAtMs: nowMs },
    }
    await dnsAccounts.add(account)
    await assert.rejects(dnsAccounts.add({ ...account, username: 'v' }), 'a name belongs to one account')
    assert.deepEqual(await (await world.open()).dnsAccounts.find('u'), account)
    assert.equal(await dnsAccounts.find('U'), undefined)
    assert.deepEqual([await dnsAccounts.countOf('web'), await dnsAccounts.countOf('mail')], [1, 0])
  })

  test(`${database}: of several answers without a token in the question, the oldest is shown`, async () => {
    await using world = await makeWorld()
    const { answers } = await world.open()
    const shown = (host = answer.host) => answers.shown({ type: 'tls-alpn-01', host })
    const make = (token: string, afterMs: number): AnswerRecord => {
      const expiresAtMs = nowMs + 1_000_000 + afterMs
      return { ...answer, type: 'tls-alpn-01', token, keyAuthorization: `${token}.x`, expiresAtMs }
    }
    const [first, second] = [make('z', 0), make('a', 1)]
    assert.equal(await shown(), undefined)
    await answers.put(second)
    await answers.put(first)
    await answers.put(answer)
    await answers.put({ ...make('old', 0), expiresAtMs: nowMs - 1 })
    assert.equal(await shown(), 'z.x')
    assert.equal(await shown('example.org'), undefined)
    await answers.remove(first)
    assert.equal(await shown(), 'a.x')
    await answers.remove(second)
    assert.equal(await shown(), undefined)
  })

  // certificates -----------------------------------------------------------------------------------

  test(`${database}: a chain is found by its request, issuer and profile`, async () => {
    await using world = await makeWorld()
    const { certificates } = await world.open()
    assert.equal(await certificates.findChain(key), undefined)
    await certificates.saveChain(key, 'CHAIN')
    assert.equal(await certificates.findChain({ ...key, csr: { ...csr, der: Buffer.from('request') } }), 'CHAIN')
    const others = [
      { ...key, issuerKey: 'acme:https://staging.example/directory' },
      { ...key, profile: 'shortlived' },
      { ...key, csr: { ...csr, der: Buffer.from('another request') } },
    ]
    for (const other of others) assert.equal(await certificates.findChain(other), undefined)
  })

  test(`${database}: a chain kept later takes the place of the earlier; another process sees it a second later`, async () => {
    await using world = await makeWorld()
    let atMs = nowMs
    const one = await world.open(() => atMs)
    const two = await world.open(() => atMs)
    await one.certificates.saveChain(key, 'FIRST')
    await one.certificates.saveChain(key, 'SECOND')
    assert.equal(await one.certificates.findChain(key), 'SECOND', 'at once, where it was kept')
    await two.certificates.saveChain(key, 'THIRD')
    assert.equal(await one.certificates.findChain({ ...key, atOnce: true }), 'THIRD', 'where an order hangs on it')
    await two.certificates.saveChain(key, 'FOURTH')
    atMs += 1000
    assert.equal(await one.certificates.findChain(key), 'FOURTH')
  })

  // orders -----------------------------------------------------------------------------------------

  test(`${database}: a claimed need has its holder until it lets go, or its lease ends`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    assert.deepEqual(await claim(state, 'a'), claimed)
    assert.equal(await claim(state, 'b'), undefined)
    assert.equal(await claim(state, 'b', nowMs + leaseMs - 1), undefined)
    assert.equal((await claim(state, 'b', nowMs + leaseMs))?.attempts, 2)
    await state.orders.release(need.id, 'b', [], nowMs, nowMs)
    assert.equal((await claim(state, 'c'))?.attempts, 3)
  })

  test(`${database}: other needs are free`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await claim(state, 'a')
    assert.ok(await claim(state, 'b', nowMs, { ...need, id: 'need-2' }))
  })

  test(`${database}: the next claim gets what was saved last`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await claim(state, 'a')
    await state.orders.save(
      need.id,
      'a',
      step({ order: { url: 'https://ca.example/1' }, polls: 1 }),
      nowMs,
      nowMs + leaseMs,
    )
    await state.orders.save(
      need.id,
      'a',
      step({ order: { url: 'https://ca.example/1' }, polls: 2, ü: [null] }),
      nowMs,
      nowMs + leaseMs,
    )
    await state.orders.release(need.id, 'a', [], nowMs, nowMs)
    assert.deepEqual((await claim(state, 'b'))?.progress, {
      order: { url: 'https://ca.example/1' },
      polls: 2,
      ü: [null],
    })
  })

  test(`${database}: saving lengthens the lease`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await claim(state, 'a')
    await state.orders.save(need.id, 'a', step({}), nowMs + leaseMs - 1, nowMs + 2 * leaseMs)
    assert.equal(await claim(state, 'b', nowMs + leaseMs + 1), undefined)
  })

  test(`${database}: who lost the lease cannot save, finish or release for who has it now`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await claim(state, 'a')
    assert.ok(await claim(state, 'b', nowMs + leaseMs))
    await state.orders.save(need.id, 'b', step({ of: 'b' }), nowMs, nowMs + 3 * leaseMs)
    await assert.rejects(state.orders.save(need.id, 'a', step({ of: 'a' }), nowMs, nowMs + 9 * leaseMs), /lease/)
    await state.orders.finish(claimed, 'a', issued, nowMs)
    await state.orders.release(need.id, 'a', [], nowMs, nowMs)
    assert.equal(await claim(state, 'c', nowMs + 2 * leaseMs), undefined, 'b still has it')
    assert.deepEqual((await claim(state, 'c', nowMs + 3 * leaseMs))?.progress, { of: 'b' })
  })

  test(`${database}: saving what was never claimed, or is finished, is a lost lease`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await assert.rejects(state.orders.save(need.id, 'a', step({}), nowMs, nowMs + leaseMs), /lease/)
    await claim(state, 'a')
    await state.orders.finish(claimed, 'a', issued, nowMs)
    await assert.rejects(state.orders.save(need.id, 'a', step({}), nowMs, nowMs + leaseMs), /lease/)
  })

  test(`${database}: a finished need begins anew`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await claim(state, 'a')
    await state.orders.save(need.id, 'a', step({ old: true }), nowMs, nowMs + leaseMs)
    await state.orders.finish(claimed, 'a', issued, nowMs)
    assert.deepEqual(await claim(state, 'b'), claimed)
  })

  test(`${database}: of many claims at once, over two handles on one file, one wins`, async () => {
    await using world = await makeWorld()
    const states = [await world.open(), await world.open()]
    for (let round = 0; round < 20; round++) {
      const wanted = { ...need, id: `need-${round}` }
      const claims = await Promise.all(
        Array.from({ length: 8 }, (_, i) => {
          const state = states[i % 2]
          assert.ok(state !== undefined)
          return claim(state, `holder-${i}`, nowMs, wanted)
        }),
      )
      assert.equal(claims.filter((record) => record !== undefined).length, 1)
    }
  })

  // the register -----------------------------------------------------------------------------------

  const dayMs = 86_400_000
  const entry = (id: string, more: Partial<RegisterEntry> = {}): RegisterEntry => {
    const times = { notBeforeMs: nowMs, notAfterMs: nowMs + 90 * dayMs, issuedAtMs: nowMs, askedAtMs: nowMs }
    return {
      ...{
        id,
        block: 'web',
        issuer: 'default',
        storage: 'state',
        profile: undefined,
        names: ['a.example', 'b.example'],
      },
      ...{ postedBytes: Buffer.from('posted'), remoteAddress: '192.0.2.1', issuedBy: 'ca', serial: '01', ...times },
      ...{ plan: planRenewal(times, undefined, nowMs, 0.5), ...more },
    }
  }

  test(`${database}: an entry is found as it was recorded, by its id`, async () => {
    await using world = await makeWorld()
    const { register } = await world.open()
    for (const one of [
      entry('1'),
      entry('2', { profile: 'short', supersededAtMs: nowMs, revokedAtMs: nowMs + 1, lastError: 'a reason' }),
    ]) {
      await register.record(one, false)
      assert.deepEqual(await register.find(one.id), one)
    }
    assert.equal(await register.find('3'), undefined)
    await register.record(entry('1', { serial: '02' }), false)
    assert.equal((await register.find('1'))?.serial, '02', 'the newer takes the place of the older')
  })

  test(`${database}: a newer request of the block for the same names supersedes the older, in any order of names`, async () => {
    await using world = await makeWorld()
    const { register } = await world.open()
    await register.record(entry('old', { names: ['b.example', 'a.example'] }), true)
    await register.record(entry('other block', { block: 'mail' }), true)
    await register.record(entry('other names', { names: ['a.example'] }), true)
    await register.record(entry('renewal', { issuedAtMs: nowMs + 5 }), false)
    assert.equal((await register.find('old'))?.supersededAtMs, undefined, 'a renewal by the timer supersedes nothing')
    await register.record(entry('new', { issuedAtMs: nowMs + 7 }), true)
    assert.equal((await register.find('old'))?.supersededAtMs, nowMs + 7)
    for (const id of ['new', 'other block', 'other names'])
      assert.equal((await register.find(id))?.supersededAtMs, undefined, id)
  })

  test(`${database}: what is due is taken once, the nearest end first, and again when its time is over`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    const due = (id: string, notAfterMs: number) =>
      entry(id, { notAfterMs, plan: { ...entry(id).plan, checkAtMs: nowMs - 1 } })
    for (const [index, id] of ['c', 'a', 'b'].entries())
      await one.register.record(due(id, nowMs + (index + 1) * dayMs), false)
    await one.register.record(entry('later', { plan: { ...entry('later').plan, checkAtMs: nowMs + 1 } }), false)
    const taken = await Promise.all([
      one.register.takeDue(nowMs, nowMs + 1000, 2),
      two.register.takeDue(nowMs, nowMs + 1000, 2),
    ])
    const again = await one.register.takeDue(nowMs, nowMs + 1000, 9)
    const ids = [...taken.flat(), ...again].map(({ id }) => id)
    assert.deepEqual(ids.toSorted(), ['a', 'b', 'c'], 'each once, by whomever')
    const later = await two.register.takeDue(nowMs + 1000, nowMs + 2000, 2)
    assert.deepEqual(
      later.map(({ id }) => id),
      ['c', 'a'],
    )
  })

  test(`${database}: asking wakes what was put to sleep, and says whether it is known`, async () => {
    await using world = await makeWorld()
    const { register } = await world.open()
    await register.record(entry('1'), false)
    await register.savePlan('1', undefined, undefined, 'no block allows it')
    assert.deepEqual(await register.takeDue(nowMs + 99 * dayMs, nowMs + 100 * dayMs, 9), [])
    assert.equal(await register.noteAsked('1', nowMs + 5), true)
    assert.equal(await register.noteAsked('2', nowMs + 5), false)
    const [woken] = await register.takeDue(nowMs + 5, nowMs + 6, 9)
    assert.deepEqual([woken?.id, woken?.askedAtMs, woken?.lastError], ['1', nowMs + 5, 'no block allows it'])
  })

  test(`${database}: a certificate is found by its serial, the newest request first, and who watches is noted`, async () => {
    await using world = await makeWorld()
    const { register } = await world.open()
    await register.record(entry('1', { serial: 'AB01' }), false)
    await register.record(entry('2', { serial: 'AB01', issuedAtMs: nowMs + 5 }), false)
    assert.equal((await register.findBySerial('AB01'))?.id, '2')
    assert.equal(await register.findBySerial('AB'), undefined)
    await register.noteWatched('2', nowMs + 7)
    assert.equal((await register.findBySerial('AB01'))?.watchedAtMs, nowMs + 7)
    await register.record(entry('2', { serial: 'AB02' }), false)
    assert.equal((await register.find('2'))?.watchedAtMs, undefined, 'another certificate is watched anew')
  })

  test(`${database}: a revoked certificate is not woken; what ended and sleeps is thrown away`, async () => {
    await using world = await makeWorld()
    const { register } = await world.open()
    await register.record(entry('1'), false)
    await register.revoke('1', nowMs + 1)
    assert.equal((await register.find('1'))?.revokedAtMs, nowMs + 1)
    assert.deepEqual(await register.takeDue(nowMs + 200 * dayMs, nowMs + 201 * dayMs, 9), [])
    await register.record(entry('awake'), false)
    assert.equal(await register.removeEnded(nowMs + 91 * dayMs), 1)
    assert.deepEqual(
      (await register.list(9)).map(({ id }) => id),
      ['awake'],
    )
  })

  test(`${database}: a blocked key stays blocked`, async () => {
    await using world = await makeWorld()
    const { register } = await world.open()
    assert.equal(await register.isKeyBlocked('abc'), false)
    await register.blockKey('abc', 'keyCompromise', nowMs)
    await register.blockKey('abc', 'keyCompromise', nowMs + 1)
    assert.equal(await register.isKeyBlocked('abc'), true)
  })

  // what was left behind ---------------------------------------------------------------------------

  test(`${database}: what nobody works on can be gone on with, but not before its time`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    await claim(state, 'a')
    assert.deepEqual(await state.orders.unattended(nowMs, 9), [], 'somebody is at it')
    assert.deepEqual(await state.orders.unattended(nowMs + leaseMs, 9), [need], 'a lease that ended')
    await state.orders.release(need.id, 'a', [], nowMs, nowMs + 5000)
    assert.deepEqual(await state.orders.unattended(nowMs + 4999, 9), [])
    assert.deepEqual(await state.orders.unattended(nowMs + 5000, 9), [need])
    await state.orders.postpone(need.id, nowMs, nowMs + 9000)
    assert.deepEqual(await state.orders.unattended(nowMs + 8999, 9), [])
    assert.ok(await claim(state, 'b'), 'who asks need not wait for that')
  })

  test(`${database}: an order is in use by the need that has it`, async () => {
    await using world = await makeWorld()
    const { orders, ...state } = await world.open()
    await claim({ ...state, orders } as State, 'a')
    await orders.save(need.id, 'a', step({}, 'https://ca.example/order/1'), nowMs, nowMs + leaseMs)
    assert.equal(await orders.isOrderInUse('https://ca.example/order/1', 'another need'), true)
    assert.equal(await orders.isOrderInUse('https://ca.example/order/1', need.id), false)
    assert.equal(await orders.isOrderInUse('https://ca.example/order/2', 'another need'), false)
  })

  test(`${database}: the story of an order outlives it, and is told the newest first`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    const record = await claim(state, 'a')
    assert.ok(record !== undefined)
    await state.orders.save(need.id, 'a', step({}, 'https://ca.example/order/1'), nowMs, nowMs + leaseMs)
    const [open] = await state.stories.list(9)
    assert.deepEqual(
      [open?.status, open?.orderUrl, open?.steps.length],
      ['in progress', 'https://ca.example/order/1', 1],
    )
    const steps = [{ atMs: nowMs, note: 'order made' }]
    for (const _ of ['once', 'again, as after a crash'])
      await state.orders.finish({ ...record, steps }, 'a', { outcome: 'failed', reason: 'no such name' }, nowMs + 10)
    await claim(state, 'b', nowMs + 20)
    assert.deepEqual(
      (await state.stories.list(9)).map(({ status, reason }) => [status, reason]),
      [
        ['in progress', undefined],
        ['failed', 'no such name'],
      ],
    )
    await state.stories.removeOlder(nowMs + 11)
    assert.equal((await state.stories.list(9)).length, 1)
  })

  // rates ------------------------------------------------------------------------------------------

  const bucket = (limit: string, capacity = 3): RateBucket => ({
    ...{ issuerKey: 'ca', limit, subject: 'example.org', capacity, periodMs: capacity * 1000 },
  })

  test(`${database}: a bucket gives what it has, then one an interval, to all servers together`, async () => {
    await using world = await makeWorld()
    let atMs = nowMs
    const states = [await world.open(() => atMs), await world.open(() => atMs)]
    const take = (i: number) => states[i % 2]?.rates.take([bucket('orders')], 0)
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => take(i)))
    assert.equal(answers.filter((short) => short === undefined).length, 3)
    const short = answers.find((one) => one !== undefined)
    assert.deepEqual([short?.bucket.limit, short?.retryAtMs], ['orders', nowMs + 1250], 'an interval and a little')
    atMs += 1249
    assert.ok(await take(0))
    atMs += 1
    assert.equal(await take(1), undefined)
    assert.ok(await take(0))
  })

  test(`${database}: of several buckets all or none is taken, and a reserve is left`, async () => {
    await using world = await makeWorld()
    const { rates } = await world.open()
    assert.equal(await rates.take([bucket('small', 1)], 0), undefined)
    assert.equal((await rates.take([bucket('big', 10), bucket('small', 1)], 0))?.bucket.limit, 'small')
    for (let i = 0; i < 8; i++) assert.equal(await rates.take([bucket('big', 10)], 0.2), undefined, `the ${i + 1}th`)
    assert.ok(await rates.take([bucket('big', 10)], 0.2), 'two are left to those who cannot wait')
    for (let i = 0; i < 2; i++) assert.equal(await rates.take([bucket('big', 10)], 0), undefined)
    assert.ok(await rates.take([bucket('big', 10)], 0))
  })

  test(`${database}: what is given back can be taken again; what happened is charged; the CA's word counts`, async () => {
    await using world = await makeWorld()
    const { rates } = await world.open()
    await rates.charge(Array.from({ length: 5 }, () => bucket('failures')))
    assert.equal((await rates.take([bucket('failures')], 0))?.retryAtMs, nowMs + 3750, 'two more than there were')
    await rates.giveBack([bucket('failures'), bucket('failures'), bucket('failures')])
    assert.equal(await rates.take([bucket('failures')], 0), undefined)
    await rates.empty(bucket('told', 1000), nowMs + 60_000)
    assert.equal((await rates.take([bucket('told', 1000)], 0))?.retryAtMs, nowMs + 60_000)
    assert.deepEqual(
      (await rates.list(nowMs)).map(({ bucket: { limit } }) => limit),
      ['failures', 'told'],
    )
    await rates.removeFull(nowMs + 10_000)
    assert.deepEqual(
      (await rates.list(nowMs)).map(({ bucket: { limit } }) => limit),
      ['told'],
    )
  })

  test(`${database}: what the CA said is known by its subject, and a refilled bucket is as new`, async () => {
    await using world = await makeWorld()
    const { rates } = await world.open()
    await rates.empty({ ...bucket('told', 1), subject: 'a.example b.example', periodMs: 1 }, nowMs + 60_000)
    await rates.empty({ ...bucket('told', 1), subject: 'over', periodMs: 1 }, nowMs - 1)
    assert.equal(
      await rates.emptyUntil({ issuerKey: 'ca', limit: 'told', subject: 'a.example b.example' }),
      nowMs + 60_000,
    )
    assert.equal(
      await rates.emptyUntil({ issuerKey: 'another', limit: 'told', subject: 'a.example b.example' }),
      undefined,
    )
    await rates.charge([bucket('failures'), bucket('failures'), bucket('failures')])
    assert.ok(await rates.take([bucket('failures')], 0))
    await rates.refill([bucket('failures')])
    assert.equal(await rates.take([bucket('failures')], 0), undefined)
  })

  test(`${database}: requests that are not recorded are counted with all others, under aliases of one key`, async () => {
    await using world = await makeWorld()
    const [one, other] = [await world.open(), await world.open()]
    const taken = async (ledger: RateLedger | undefined) => (await ledger?.take([bucket('domain', 4)], 0)) === undefined
    const makeKey = () => Buffer.from('key of thirty-two octets or less')
    assert.equal(await taken(one.rates), true, 'before anybody needed an alias')
    assert.deepEqual((await one.rates.list(nowMs)).length, 1)
    const made = await Promise.all([one.aliases.ensure(makeKey, nowMs), other.aliases.ensure(makeKey, nowMs)])
    assert.deepEqual(made.toSorted(), [false, true])
    await one.rates.beginAliases(nowMs)
    await other.rates.beginAliases(nowMs)
    assert.equal(one.aliases.of('a'), other.aliases.of('a'))
    assert.notEqual(one.aliases.of('a'), one.aliases.of('b'))
    assert.equal(await taken(one.rates.unrecorded), true)
    assert.equal(await taken(other.rates), true)
    assert.equal(await taken(other.rates.unrecorded), true, 'four of four')
    for (const ledger of [one.rates, one.rates.unrecorded]) {
      const short = await ledger?.take([bucket('domain', 4)], 0)
      assert.equal(short?.bucket.subject, bucket('domain', 4).subject, 'told by the name that was asked about')
    }
    const used = new Map((await one.rates.list(nowMs)).map(({ bucket: { subject }, fullAtMs }) => [subject, fullAtMs]))
    const [plain = 0, all = 0] = [
      used.get(bucket('domain', 4).subject),
      used.get(one.aliases.of(bucket('domain', 4).subject)),
    ]
    assert.equal((all - nowMs) / (plain - nowMs), 2)
    await one.rates.empty(bucket('told', 1), nowMs + 60_000)
    assert.equal(await one.rates.unrecorded?.emptyUntil(bucket('told', 1)), nowMs + 60_000)
    await one.rates.unrecorded?.empty({ ...bucket('told', 1), subject: 'secret' }, nowMs + 60_000)
    assert.equal(await one.rates.emptyUntil({ ...bucket('told', 1), subject: 'secret' }), nowMs + 60_000)
    assert.ok((await one.rates.list(nowMs)).every(({ bucket: { subject } }) => subject !== 'secret'))
  })

  test(`${database}: an order that is not recorded waits for its host, is then given up, and has no story`, async () => {
    await using world = await makeWorld()
    const state = await world.open()
    const wanted: Need = { ...need, unrecorded: true }
    const record = await claim(state, 'me', nowMs, wanted)
    assert.ok(record)
    await state.scrubbing.run()
    await state.orders.releaseHolder('me')
    assert.deepEqual(await state.orders.unattended(nowMs + unclaimedMs - 1, 10), [])
    assert.equal((await claim(state, 'me', nowMs + leaseMs, wanted))?.attempts, 2, 'its host came back')
    await state.orders.releaseHolder('me')
    assert.deepEqual(await state.orders.unattended(nowMs + unclaimedMs + leaseMs - 1, 10), [])
    const [left] = await state.orders.unattended(nowMs + unclaimedMs + leaseMs, 10)
    assert.equal(left?.unrecorded, true)
    assert.equal((await state.orders.unattended(nowMs - 30 * unclaimedMs, 10)).length, 1, 'a clock that ran ahead')
    await claim(state, 'me', nowMs + leaseMs, wanted)
    assert.equal(state.scrubbing.isDue, false)
    await state.orders.finish(record, 'me', issued, nowMs)
    assert.equal(state.scrubbing.isDue, true)
    assert.deepEqual(await state.stories.list(10), [])
    await state.scrubbing.run()
    assert.equal(state.scrubbing.isDue, false)
  })

  test(`${database}: what a clock that ran ahead took does not bar the way for months`, async () => {
    await using world = await makeWorld()
    let atMs = nowMs + 30 * dayMs
    const { rates } = await world.open(() => atMs)
    for (let i = 0; i < 3; i++) await rates.take([bucket('orders')], 0)
    atMs = nowMs
    const short = await rates.take([bucket('orders')], 0)
    assert.ok(short !== undefined && short.retryAtMs <= nowMs + 6000, String(short?.retryAtMs))
    atMs += 6000
    assert.equal(await rates.take([bucket('orders')], 0), undefined)
  })

  // outages and servers ----------------------------------------------------------------------------

  test(`${database}: an outage is known until it is over`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    const outage = { issuerKey: 'ca', sinceMs: nowMs, failures: 1, untilMs: nowMs + 1000, reason: 'no answer' }
    assert.equal(await one.outages.find('ca'), undefined)
    await one.outages.save(outage)
    await one.outages.save({ ...outage, failures: 2 })
    assert.deepEqual(await two.outages.list(), [{ ...outage, failures: 2 }])
    await two.outages.clear('ca')
    assert.equal(await one.outages.find('ca'), undefined)
  })

  test(`${database}: servers are known as long as they are seen`, async () => {
    await using world = await makeWorld()
    const { servers } = await world.open()
    await servers.note('a', nowMs, nowMs)
    await servers.note('b', nowMs, nowMs)
    await servers.note('a', nowMs, nowMs + 5000)
    assert.deepEqual(await servers.seenSince(nowMs + 1), ['a'])
    await servers.removeUnseen(nowMs + 1)
    await servers.remove('a')
    assert.deepEqual(await servers.seenSince(0), [])
  })

  // what happened ----------------------------------------------------------------------------------

  test(`${database}: events are found by age, kind and name, the newest first, until they are too old`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    const event = {
      ...{ atMs: nowMs, kind: 'certificate.issued', names: ['a.example.org', 'b.example.org'], block: 'web' },
      ...{ remoteAddress: '192.0.2.1', facts: { serial: '01', count: 2 } },
    }
    const byHand = {
      ...event,
      atMs: nowMs + 1,
      kind: 'certificate.revoked',
      block: undefined,
      remoteAddress: undefined,
    }
    const other = { ...event, atMs: nowMs + 2, names: ['c.example.org'] }
    await one.audit.add([])
    await one.audit.add([event, byHand, other])
    assert.deepEqual(await two.audit.list(9), [other, byHand, event])
    assert.deepEqual(await two.audit.list(1), [other])
    assert.deepEqual(await two.audit.list(9, { sinceMs: nowMs + 2 }), [other])
    assert.deepEqual(await two.audit.list(9, { kind: 'certificate.revoked', name: 'b.example.org' }), [byHand])
    await two.audit.removeOlder(nowMs + 2)
    assert.deepEqual(await one.audit.list(9), [other])
  })

  // boxes ------------------------------------------------------------------------------------------

  test(`${database}: a begun box is found again, and nobody fetches it before its certificate is there`, async () => {
    await using world = await makeWorld()
    const { boxes } = await world.open()
    assert.equal(await boxes.findBegun('printer'), undefined)
    assert.deepEqual(await boxes.begin(box), box)
    assert.equal(await boxes.find('printer'), undefined)
    assert.equal(await boxes.findContent('printer'), undefined)
    const { boxes: later } = await world.open()
    assert.deepEqual(await later.findBegun('printer'), box)
    assert.deepEqual(await later.listBegun(), [box])
    assert.deepEqual(await later.list(), [])
  })

  test(`${database}: of several who begin a box at once, all get the same one`, async () => {
    await using world = await makeWorld()
    const worlds = [await world.open(), await world.open(), await world.open()]
    const drafts = worlds.map((_, index) => ({ ...box, csrDer: Buffer.of(index), sealedKeyPem: `sealed ${index}` }))
    const begun = await Promise.all(worlds.map(({ boxes }, index) => boxes.begin(drafts[index] ?? box)))
    assert.ok(drafts.some((draft) => isDeepStrictEqual(plainBox(draft), begun[0])))
    for (const one of begun) assert.deepEqual(one, begun[0])
  })

  test(`${database}: a complete box takes the place of the one before, in one step`, async () => {
    await using world = await makeWorld()
    let atMs = nowMs
    const { boxes } = await world.open(() => atMs)
    await boxes.begin(box)
    assert.equal(await boxes.complete('printer', box.csrDer, 'CHAIN 1'), true)
    assert.deepEqual(await boxes.find('printer'), { ...box, chainPem: 'CHAIN 1', updatedAtMs: nowMs })
    const { name, block, sealedKeyPem } = box
    assert.deepEqual(await boxes.findContent('printer'), { name, block, sealedKeyPem, chainPem: 'CHAIN 1' })
    assert.equal(await boxes.findBegun('printer'), undefined)
    assert.equal(await boxes.complete('printer', box.csrDer, 'CHAIN 1'), false, 'twice')

    atMs += 5000
    const next = { ...box, csrDer: new Uint8Array(Buffer.from('request 2')), sealedKeyPem: 'sealed 2' }
    await boxes.begin(next)
    assert.equal((await boxes.find('printer'))?.sealedKeyPem, box.sealedKeyPem)
    assert.equal(await boxes.complete('printer', box.csrDer, 'CHAIN 1'), false, "the former request's chain")
    assert.equal((await boxes.find('printer'))?.chainPem, 'CHAIN 1')
    const both = await Promise.all([1, 2].map(() => boxes.complete('printer', next.csrDer, 'CHAIN 2')))
    assert.deepEqual(both.sort(), [false, true])
    assert.deepEqual(await boxes.list(), [{ ...next, chainPem: 'CHAIN 2', updatedAtMs: nowMs + 5000 }])
  })

  test(`${database}: what is abandoned is forgotten, unless it is another by now; removing takes all`, async () => {
    await using world = await makeWorld()
    const { boxes } = await world.open()
    await boxes.begin(box)
    await boxes.complete('printer', box.csrDer, 'CHAIN')
    await boxes.begin(box)
    await boxes.begin({ ...box, name: 'other' })
    await boxes.abandon('printer', Buffer.from('another request'))
    assert.deepEqual(await boxes.findBegun('printer'), box)
    await boxes.abandon('printer', box.csrDer)
    assert.equal(await boxes.findBegun('printer'), undefined)
    assert.equal((await boxes.find('printer'))?.chainPem, 'CHAIN')
    await boxes.remove('printer')
    assert.equal(await boxes.find('printer'), undefined)
    assert.deepEqual(await boxes.listBegun(), [{ ...box, name: 'other' }])
  })

  test(`${database}: a registration is its block's: changed by it, taken for others, and there is an end`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    const wish = { name: 'laser', block: 'a', recipientPem: 'KEY', names: ['x.example.org'], keyType: 'ec-256' }
    assert.equal(await one.boxRegistrations.save(wish, 2), 'saved')
    assert.equal(await two.boxRegistrations.save({ ...wish, block: 'b' }, 2), 'taken')
    const changed = { ...wish, names: ['x.example.org', '192.0.2.1'] }
    assert.equal(await two.boxRegistrations.save(changed, 2), 'saved')
    assert.equal(await two.boxRegistrations.save({ ...wish, name: 'ink' }, 2), 'saved')
    assert.equal(await two.boxRegistrations.save({ ...wish, name: 'third' }, 2), 'full')
    assert.equal(await two.boxRegistrations.save(changed, 2), 'saved', 'what is there already')
    assert.deepEqual(await one.boxRegistrations.list(), [{ ...wish, name: 'ink' }, changed])
    assert.equal(await one.boxRegistrations.remove('ink'), true)
    assert.equal(await two.boxRegistrations.remove('ink'), false)
  })

  // signatures and enrolment -----------------------------------------------------------------------

  const nonce = 'a nonce that is used'
  const week = nowMs + 7 * 86_400_000

  test(`${database}: a nonce is good once for its key, whoever asks, and forgotten when it is over`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    assert.equal(await one.nonces.use('key', nonce, nowMs + 1000), true)
    assert.equal(await one.nonces.use('key', nonce, nowMs + 1000), false)
    assert.equal(await two.nonces.use('key', nonce, nowMs + 9000), false)
    assert.equal(await two.nonces.use('another', nonce, nowMs + 1000), true)
    assert.equal(await two.nonces.use('key', `${nonce}!`, nowMs + 2000), true)
    await one.nonces.removeExpired(nowMs + 1000)
    assert.equal(await two.nonces.use('key', `${nonce}!`, nowMs + 2000), false)
    assert.equal(await two.nonces.use('key', nonce, nowMs + 2000), true)
  })

  test(`${database}: of many with one nonce at once one gets it`, async () => {
    await using world = await makeWorld()
    const states = [await world.open(), await world.open(), await world.open()]
    const asked = Array.from({ length: 30 }, (_, i) => states[i % 3]?.nonces.use('key', nonce, nowMs + 1000))
    assert.equal((await Promise.all(asked)).filter(Boolean).length, 1)
  })

  test(`${database}: a token enrols one key, again for the same key, and not for ever`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    const token = { tokenHash: 'hash', block: 'fleet', label: 'web1', createdAtMs: nowMs, expiresAtMs: week }
    await one.enrolments.addToken(token)
    await one.enrolments.addToken({ ...token, tokenHash: 'other', label: undefined, expiresAtMs: nowMs + 5 })
    assert.deepEqual(
      (await two.enrolments.listTokens(nowMs)).map(({ tokenHash, label }) => [tokenHash, label]),
      [
        ['other', undefined],
        ['hash', 'web1'],
      ],
    )
    const used = await Promise.all(
      ['a', 'b', 'c', 'd'].map((keyId, i) => (i % 2 === 0 ? one : two).enrolments.useToken('hash', keyId, nowMs)),
    )
    const [winner] = used.filter((taken) => taken !== undefined)
    assert.equal(used.filter((taken) => taken !== undefined).length, 1)
    assert.deepEqual(winner, { ...token, usedBy: winner?.usedBy })
    assert.deepEqual(await two.enrolments.useToken('hash', winner?.usedBy ?? '', week - 1), winner)
    assert.equal(await two.enrolments.useToken('hash', winner?.usedBy ?? '', week), undefined)
    assert.equal(await two.enrolments.useToken('other', 'a', nowMs + 5), undefined)
    assert.equal(await two.enrolments.useToken('none', 'a', nowMs), undefined)
    assert.deepEqual(
      (await one.enrolments.listTokens(nowMs)).map(({ tokenHash }) => tokenHash),
      ['other'],
    )
    await one.enrolments.removeExpiredTokens(nowMs + 5)
    await one.enrolments.removeToken('hash')
    assert.equal(await two.enrolments.useToken('hash', winner?.usedBy ?? '', nowMs), undefined)
  })

  test(`${database}: an enrolled key is found until it is revoked, and does not come back`, async () => {
    await using world = await makeWorld()
    const [one, two] = [await world.open(), await world.open()]
    const enrolled = { keyId: 'key', block: 'fleet', spkiPem: 'PEM', label: undefined, createdAtMs: nowMs }
    assert.equal(await one.enrolments.addKey(enrolled), true)
    assert.equal(await two.enrolments.addKey({ ...enrolled, createdAtMs: nowMs + 1 }), true)
    assert.equal(await one.enrolments.addKey({ ...enrolled, block: 'other', label: 'x' }), true)
    assert.deepEqual((await two.enrolments.findKeys('key')).map(({ block }) => block).sort(), ['fleet', 'other'])
    assert.deepEqual(await two.enrolments.findKeys('KEY'), [])
    assert.equal(await two.enrolments.revokeKey('key', nowMs + 2), 2)
    assert.equal(await one.enrolments.revokeKey('key', nowMs + 3), 0)
    assert.deepEqual(await one.enrolments.findKeys('key'), [])
    assert.equal(await one.enrolments.addKey(enrolled), false)
    assert.deepEqual(
      (await one.enrolments.listKeys()).map(({ block, createdAtMs, revokedAtMs }) => [block, createdAtMs, revokedAtMs]),
      [
        ['fleet', nowMs, nowMs + 2],
        ['other', nowMs, nowMs + 2],
      ],
    )
  })

  test(`${database}: who picked up what is written down once, and looked at by one server at a time`, async () => {
    await using world = await makeWorld()
    const [one, two] = [(await world.open()).deployments, (await world.open()).deployments]
    const subject = { block: 'web', names: ['a.example', 'b.example'] }
    const end = { notBeforeMs: nowMs, notAfterMs: nowMs + 1000 }
    const pickUp = { ...subject, ...end, client: '192.0.2.7', serial: '0A', atMs: nowMs }
    await one.notePickUp(pickUp, nowMs + 5)
    await two.notePickUp({ ...pickUp, atMs: nowMs + 1 }, nowMs + 6)
    await one.notePickUp({ ...pickUp, client: '192.0.2.8' }, undefined)
    const turned = { block: 'web', names: ['b.example', 'a.example'] }
    assert.deepEqual((await two.pickUpsOf(turned)).map(({ client, atMs }) => [client, atMs]).sort(), [
      ['192.0.2.7', nowMs],
      ['192.0.2.8', nowMs],
    ])
    assert.deepEqual(await one.takeDue(nowMs + 4, nowMs + 50, 9), [])
    const taken = (
      await Promise.all([one.takeDue(nowMs + 5, nowMs + 50, 9), two.takeDue(nowMs + 5, nowMs + 50, 9)])
    ).flat()
    assert.deepEqual(taken, [{ ...pickUp, failures: 0 }])
    await one.lookAgain(pickUp, nowMs + 20, 1)
    assert.deepEqual(
      (await two.takeDue(nowMs + 20, nowMs + 60, 9)).map(({ failures }) => failures),
      [1],
    )
    // A newer one takes its place, also when it is being looked at.
    await two.notePickUp({ ...pickUp, serial: '0B', notBeforeMs: nowMs + 1, notAfterMs: nowMs + 2000 }, nowMs + 30)
    await one.lookAgain(pickUp, nowMs + 25, 2)
    assert.deepEqual(
      (await one.takeDue(nowMs + 90, nowMs + 100, 9)).map(({ serial }) => serial),
      ['0B'],
    )
    // Somebody writes `probe` later.
    await one.wakePickUps(new Set(['web', 'other']), nowMs)
    assert.equal((await one.takeDue(nowMs + 200, nowMs + 300, 9)).length, 3)
    await one.removeOld(nowMs + 1001 + 30 * 24 * 3_600_000)
    assert.deepEqual(
      (await two.pickUpsOf(subject)).map(({ serial }) => serial),
      ['0B'],
    )
  })

  test(`${database}: what was seen last at a place`, async () => {
    await using world = await makeWorld()
    const [one, two] = [(await world.open()).deployments, (await world.open()).deployments]
    const subject = { block: 'web', names: ['a.example'] }
    const seen = {
      ...{ place: 'a.example:443', serial: '0A', verdict: 'newest', servedSerial: '0A', servedUntilMs: nowMs + 9 },
      ...{ sinceMs: nowMs, seenAtMs: nowMs, failures: 0, told: false },
    }
    await one.saveSighting(subject, seen)
    const { servedSerial: _, servedUntilMs: __, ...unseen } = seen
    const later = { ...unseen, verdict: 'unreachable', reason: 'gone', failures: 2, told: true, seenAtMs: nowMs + 1 }
    await two.saveSighting(subject, later)
    await two.saveSighting({ ...subject, block: 'mail' }, seen)
    assert.deepEqual(await one.findSighting(subject, seen.place), later)
    assert.deepEqual(await one.findSighting(subject, 'b.example:443'), undefined)
    assert.deepEqual([...(await one.allSightings()).values()].flat().length, 2)
    await one.keepSightingsOf(new Set(['web']))
    assert.deepEqual(await one.sightingsOf({ ...subject, block: 'mail' }), [])
    await one.removeOld(nowMs + 100 * 24 * 3_600_000)
    assert.deepEqual(await one.sightingsOf(subject), [])
  })
}
