// The one pipeline over records, an issuer, a storage and a clock that are values.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  again,
  ask,
  createClock,
  createIssuer,
  createRecords,
  createStorage,
  createWorld,
  dayMs,
  done,
  failed,
  failureOf,
  hourMs,
  makeChain,
  makeCsr,
  otherKey,
  serialOf,
  startMs,
  stranger,
} from '../../test/issuance-world.ts'
import { ProblemError, type Retry } from '../acme/problem.ts'
import type { Advance, CertificateStorage } from '../plugin-api.ts'

// the plain way ----------------------------------------------------------------------------------

test('a certificate is issued, kept, and nothing of the order is left', async () => {
  const { issuance, orders } = createWorld()
  const { issuer, calls } = createIssuer((_call, nth) => (nth < 2 ? again({ nth }) : done()))
  const { storage, chains } = createStorage()
  const record = await ask(issuance, { issuer, storage })
  assert.equal(record.source, 'issued')
  assert.deepEqual([...chains.values()], [record.chain.pem])
  assert.deepEqual(calls, [
    { progress: undefined, resumed: false },
    { progress: { nth: 0 }, resumed: false },
    { progress: { nth: 1 }, resumed: false },
  ])
  assert.deepEqual(orders.calls, ['claim', 'save', 'save', 'finish'])
  assert.equal(orders.rows.size, 0)
  assert.equal(issuance.inFlight, 0)
})

test('every step is saved before the next is asked for', async () => {
  const { issuance, orders } = createWorld()
  const { issuer } = createIssuer(({ progress }, nth) => {
    assert.deepEqual(
      [...orders.rows.values()].map((row) => row.progress),
      [progress],
    )
    return nth < 4 ? again({ nth }) : done()
  })
  assert.equal((await ask(issuance, { issuer })).source, 'issued')
})

test('a step that says when is not followed earlier', async () => {
  const { issuance, clock } = createWorld()
  const { issuer } = createIssuer((_call, nth) => {
    if (nth === 0) return again({}, startMs + 5000)
    assert.ok(clock.nowMs() >= startMs + 5000, `asked after ${clock.nowMs() - startMs} ms`)
    return done()
  })
  await ask(issuance, { issuer })
})

// single flight ----------------------------------------------------------------------------------

test('two at once: one run of the issuer, one certificate for both', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer(() => done())
  const { storage } = createStorage()
  const both = [
    ask(issuance, { issuer, storage }),
    ask(issuance, { issuer, storage, posted: 'the same, posted otherwise' }),
  ]
  const [first, second] = await Promise.all(both)
  assert.equal(calls.length, 1)
  assert.equal(first?.chain.pem, second?.chain.pem)
})

test('two at once that fail, fail both, and the next one tries anew', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer((_call, nth) => {
    if (nth === 0) throw failed('newOrder')
    return done()
  })
  const results = await Promise.allSettled([ask(issuance, { issuer }), ask(issuance, { issuer })])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.equal(calls.length, 1)
  assert.equal((await ask(issuance, { issuer })).source, 'issued')
})

test('another request, issuer or profile is another need', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer(() => done())
  const staging = createIssuer(() => done(), 'staging')
  const other = createIssuer(() => done(makeChain({ name: 'b.example.org' })))
  await Promise.all([
    ask(issuance, { issuer }),
    ask(issuance, { issuer, profile: 'shortlived' }),
    ask(issuance, { issuer: staging.issuer }),
    ask(issuance, { issuer: other.issuer, csr: makeCsr('b.example.org') }),
  ])
  assert.deepEqual([calls.length, staging.calls.length, other.calls.length], [2, 1, 1])
})

test('who looked before the other kept, and asks after it finished, orders nothing', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer(() => done())
  const { storage, seen } = createStorage()
  const gate = Promise.withResolvers<void>()
  const slow: CertificateStorage = {
    ...storage,
    async find(request, context) {
      const isSecond = seen.finds === 1
      const found = await storage.find(request, context)
      // It has looked, and is slow to hear what it saw.
      if (isSecond) await gate.promise
      return found
    },
  }
  const first = ask(issuance, { issuer, storage: slow })
  const second = ask(issuance, { issuer, storage: slow })
  const issued = await first
  gate.resolve()
  assert.equal((await second).chain.pem, issued.chain.pem)
  assert.equal(calls.length, 1)
})

// what is kept -----------------------------------------------------------------------------------

test('kept and fresh: answered, and nobody is asked', async () => {
  const kept = makeChain()
  const { issuance, orders } = createWorld()
  const { issuer, calls } = createIssuer(() => done())
  const record = await ask(issuance, { issuer, storage: createStorage(kept).storage })
  assert.equal(record.source, 'kept')
  assert.equal(record.chain.leaf.serial, serialOf(kept))
  assert.deepEqual([calls, orders.calls], [[], []])
})

test('kept and due: renewed', async () => {
  const { issuance } = createWorld()
  const { issuer } = createIssuer(() => done())
  const { storage } = createStorage(makeChain({ fromMs: startMs - 80 * dayMs, toMs: startMs + 10 * dayMs }))
  assert.equal((await ask(issuance, { issuer, storage })).source, 'issued')
  assert.equal((await ask(issuance, { issuer, storage })).source, 'kept')
})

test("renew-within is the operator's", async () => {
  const { issuance } = createWorld()
  const { issuer } = createIssuer(() => done())
  const kept = makeChain({ fromMs: startMs - 10 * dayMs, toMs: startMs + 80 * dayMs })
  const early = { ...createStorage(kept).storage, renewWithinMs: 85 * dayMs }
  const late = { ...createStorage(kept).storage, renewWithinMs: 79 * dayMs }
  assert.equal((await ask(issuance, { issuer, storage: late })).source, 'kept')
  assert.equal((await ask(issuance, { issuer, storage: early })).source, 'issued')
})

test('kept, due, and renewing fails: the good one is the answer, and the log says why', async () => {
  const kept = makeChain({ fromMs: startMs - 80 * dayMs, toMs: startMs + 10 * dayMs })
  for (const error of [failed('never'), failed('newOrder'), failed('backoff'), new Error('unforeseen')]) {
    const { issuance, logs } = createWorld()
    const { issuer } = createIssuer(() => {
      throw error
    })
    const record = await ask(issuance, { issuer, storage: createStorage(kept).storage })
    assert.deepEqual([record.source, record.chain.leaf.serial], ['kept', serialOf(kept)])
    assert.ok(logs.some(({ level }) => level === 'warn'))
  }
})

test('what must not be handed out is no answer, whatever the CA does', async () => {
  const useless: Readonly<Record<string, string>> = {
    expired: makeChain({ fromMs: startMs - 90 * dayMs, toMs: startMs - 1 }),
    'not valid yet': makeChain({ fromMs: startMs + 2 * hourMs }),
    'for another key': makeChain({ key: otherKey }),
    'for another name': makeChain({ name: 'b.example.org' }),
    'cut off': makeChain().slice(0, -200),
    garbage: 'garbage',
    empty: '',
  }
  for (const [what, kept] of Object.entries(useless)) {
    const { issuance } = createWorld()
    const { issuer } = createIssuer(() => {
      throw failed('never')
    })
    await failureOf(ask(issuance, { issuer, storage: createStorage(kept).storage })).catch(() => assert.fail(what))
  }
})

test('a disk that refuses a new certificate keeps it from nobody', async () => {
  const { issuance, logs, orders } = createWorld()
  const { issuer } = createIssuer(() => done())
  const storage: CertificateStorage = {
    find: async () => undefined,
    keep: () => Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })),
    forget: async () => undefined,
  }
  assert.equal((await ask(issuance, { issuer, storage })).source, 'issued')
  assert.ok(logs.some(({ level }) => level === 'error'))
  assert.equal(orders.rows.size, 1, 'what came of the order is not lost: it is kept the next time')
})

test('nor does a state that cannot be told that all is done', async () => {
  const { issuance, orders } = createWorld()
  orders.failOn('finish', new Error('database is locked'))
  const { issuer } = createIssuer(() => done())
  const { storage, seen } = createStorage()
  assert.equal((await ask(issuance, { issuer, storage })).source, 'issued')
  assert.equal(seen.keeps, 1)
})

// what an issuer sends ---------------------------------------------------------------------------

test('a chain that does not answer the request is refused and not kept', async () => {
  const leaf = makeChain().split('\n\n')[0] ?? ''
  const wrong: Readonly<Record<string, string>> = {
    'another key': makeChain({ key: otherKey }),
    'another name': makeChain({ name: 'b.example.org' }),
    expired: makeChain({ fromMs: startMs - 90 * dayMs, toMs: startMs - 1 }),
    'not valid yet': makeChain({ fromMs: startMs + 2 * hourMs }),
    "another CA's link": `${leaf}\n\n${stranger.pem}`,
    'something beside certificates': `${makeChain()}\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`,
    'cut off': makeChain().slice(0, -200),
    'no certificate': '<html>',
  }
  for (const [what, chainPem] of Object.entries(wrong)) {
    const { issuance, orders } = createWorld()
    const { issuer } = createIssuer(() => done(chainPem))
    const { storage, seen } = createStorage()
    const error = await failureOf(ask(issuance, { issuer, storage }))
    assert.deepEqual([error.code, error.retry, seen.keeps], ['serverInternal', { when: 'newOrder' }, 0], what)
    assert.match(error.message, /cannot be used/)
    assert.equal(orders.rows.size, 0, 'this order will never give another chain')
  }
})

// failures and resuming --------------------------------------------------------------------------

test('a step that failed is told so, with what was saved last', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer((_call, nth) => {
    if (nth === 1 || nth === 2) throw failed('backoff')
    return nth < 5 ? again({ nth }) : done()
  })
  await ask(issuance, { issuer })
  assert.deepEqual(calls, [
    { progress: undefined, resumed: false },
    { progress: { nth: 0 }, resumed: false },
    { progress: { nth: 0 }, resumed: true },
    { progress: { nth: 0 }, resumed: true },
    { progress: { nth: 3 }, resumed: false },
    { progress: { nth: 4 }, resumed: false },
  ])
})

test('a failure that no repeating helps ends at once, and the order is given up', async () => {
  for (const when of ['never', 'newOrder'] as const) {
    const { issuance, orders, clock } = createWorld()
    const error = failed(when)
    const { issuer, calls } = createIssuer((_call, nth) => {
      if (nth === 0) return again({ order: 1 })
      throw error
    })
    assert.equal(await failureOf(ask(issuance, { issuer })), error)
    assert.equal(calls.length, 2)
    assert.deepEqual([orders.rows.size, clock.sleepsMs], [0, []])
  }
})

test('what may pass is tried a few times, ever more slowly, and then kept for the next one who asks', async () => {
  const { issuance, orders, clock } = createWorld()
  const { issuer, calls } = createIssuer((_call, nth) => {
    if (nth === 0) return again({ order: 1 })
    throw failed('backoff', 'serverInternal')
  })
  const error = await failureOf(ask(issuance, { issuer }))
  assert.deepEqual(error.retry, { when: 'backoff' })
  assert.ok(calls.length > 3 && calls.length < 12, `${calls.length} tries`)
  assert.deepEqual(
    clock.sleepsMs,
    [...clock.sleepsMs].sort((a, b) => a - b),
  )
  assert.ok(clock.sleepsMs.every((ms) => ms > 0))
  const [row] = orders.rows.values()
  assert.deepEqual([row?.progress, row?.holder, row?.leaseUntilMs], [{ order: 1 }, undefined, 0])
})

test('a CA that fails at every second request is not asked for ever', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer(({ resumed }) => {
    // Re-reading works, what comes after it never does.
    if (resumed) return again({ order: 1 })
    throw failed('backoff', 'serverInternal')
  })
  await failureOf(ask(issuance, { issuer }))
  assert.ok(calls.length <= 20, `${calls.length} requests`)
})

test('a short Retry-After is waited for, a long one is passed on', async () => {
  const attempt = async (waitMs: number) => {
    const { issuance, clock, orders } = createWorld()
    const retry: Retry = { when: 'notBefore', atMs: startMs + waitMs }
    const { issuer } = createIssuer((_call, nth) => {
      if (nth === 0) throw new ProblemError('rateLimited', 'too many', { retry })
      assert.ok(clock.nowMs() >= startMs + waitMs, 'too early')
      return done()
    })
    const result = await ask(issuance, { issuer }).catch((error: unknown) => error)
    return { result, clock, orders }
  }
  const short = await attempt(5000)
  assert.ok(!(short.result instanceof Error))
  const long = await attempt(hourMs)
  assert.ok(long.result instanceof ProblemError && long.result.code === 'rateLimited')
  assert.deepEqual(long.result.retry, { when: 'notBefore', atMs: startMs + hourMs })
  assert.equal(long.clock.nowMs(), startMs, 'the caller does not wait in vain')
  assert.equal(long.orders.rows.size, 1)
})

test('what nobody foresaw says nothing about itself', async () => {
  const { issuance } = createWorld()
  const { issuer } = createIssuer(() => {
    throw new TypeError('secret is not a function')
  })
  const error = await failureOf(ask(issuance, { issuer }))
  assert.equal(error.code, 'serverInternal')
  assert.doesNotMatch(error.message, /secret/)
})

test('an issuer that never ends is ended', async () => {
  const { issuance } = createWorld()
  const { issuer, calls } = createIssuer((_call, nth) => again({ nth }))
  await failureOf(ask(issuance, { issuer }))
  assert.ok(calls.length <= 5000, `${calls.length} steps`)
})

test('a CA that takes long: the caller is told to come back, and the order goes on from there', async () => {
  const { issuance, orders, clock } = createWorld()
  const { issuer } = createIssuer(() => again({ order: 1 }, clock.nowMs() + 10_000))
  const error = await failureOf(ask(issuance, { issuer }))
  assert.deepEqual([error.code, error.retry], ['serverInternal', { when: 'backoff' }])
  const waitedMs = clock.nowMs() - startMs
  assert.ok(waitedMs >= 60_000 && waitedMs <= 300_000, `${waitedMs} ms`)
  const [row] = orders.rows.values()
  assert.deepEqual(row?.progress, { order: 1 })
  const next = createIssuer(() => done())
  assert.equal((await ask(issuance, { issuer: next.issuer })).source, 'issued')
  assert.deepEqual(next.calls, [{ progress: { order: 1 }, resumed: true }])
})

test('a process that dies at any step: the next one goes on from what was saved, told that it resumes', async () => {
  const steps = 5
  for (let diesAt = 0; diesAt <= steps; diesAt++) {
    const orders = createRecords()
    const dying = createWorld(orders, 'dying')
    const reached = Promise.withResolvers<void>()
    const dead = createIssuer((_call, nth): Advance | Promise<Advance> => {
      if (nth < diesAt) return again({ nth })
      reached.resolve()
      return new Promise<never>(() => undefined)
    })
    // Never settles: nobody is there any more to hear of it.
    ask(dying.issuance, { issuer: dead.issuer }).catch(() => undefined)
    await reached.promise
    const next = createWorld(orders, 'next', createClock())
    next.clock.nowAtMs = startMs + hourMs
    const alive = createIssuer((_call, nth) => (nth === 0 ? again({ reread: true }) : done()))
    assert.equal((await ask(next.issuance, { issuer: alive.issuer })).source, 'issued')
    const expected = diesAt === 0 ? undefined : { nth: diesAt - 1 }
    assert.deepEqual(alive.calls[0], { progress: expected, resumed: true }, `after ${diesAt} steps`)
    assert.equal(orders.rows.size, 0)
  }
})

test('a server that stops lets go and keeps the progress', async () => {
  const { issuance, orders, abort } = createWorld()
  const { issuer } = createIssuer((_call, nth) => {
    if (nth === 0) return again({ order: 1 })
    abort.abort(new Error('the server is stopping'))
    throw failed('never')
  })
  await failureOf(ask(issuance, { issuer }))
  const [row] = orders.rows.values()
  assert.deepEqual([row?.progress, row?.leaseUntilMs], [{ order: 1 }, 0])
})

// other processes --------------------------------------------------------------------------------

test("while another holder's lease lasts, its certificate is waited for", async () => {
  const orders = createRecords()
  const { storage } = createStorage()
  const other = createWorld(orders, 'other')
  const me = createWorld(orders, 'me')
  const gate = Promise.withResolvers<void>()
  const theirs = createIssuer(async () => {
    await gate.promise
    return done()
  })
  const mine = createIssuer(() => done())
  const first = ask(other.issuance, { issuer: theirs.issuer, storage })
  while (!orders.calls.includes('claim')) await Promise.resolve()
  const second = ask(me.issuance, { issuer: mine.issuer, storage })
  while (me.clock.sleepsMs.length < 3) await Promise.resolve()
  gate.resolve()
  assert.equal((await second).chain.pem, (await first).chain.pem)
  assert.deepEqual([mine.calls.length, theirs.calls.length], [0, 1])
})

test("when another holder's lease has ended, its order is gone on with", async () => {
  const orders = createRecords()
  const need = createWorld(orders, 'other')
  const theirs = createIssuer((_call, nth): Advance | Promise<Advance> =>
    nth === 0 ? again({ order: 7 }) : new Promise<never>(() => undefined),
  )
  ask(need.issuance, { issuer: theirs.issuer }).catch(() => undefined)
  while (theirs.calls.length < 2) await Promise.resolve()
  const me = createWorld(orders, 'me')
  const mine = createIssuer(() => done())
  assert.equal((await ask(me.issuance, { issuer: mine.issuer })).source, 'issued')
  assert.deepEqual(mine.calls, [{ progress: { order: 7 }, resumed: true }])
  const waitedMs = me.clock.nowMs() - startMs
  assert.ok(waitedMs >= 50_000, `taken over after ${waitedMs} ms`)
})

test('another holder that never ends: the caller is told to come back', async () => {
  const orders = createRecords()
  const claim = orders.records.claim.bind(orders.records)
  orders.records.claim = async (need, holder, nowMs, leaseUntilMs) =>
    holder === 'me' ? undefined : claim(need, holder, nowMs, leaseUntilMs)
  const me = createWorld(orders, 'me')
  const { issuer, calls } = createIssuer(() => done())
  const error = await failureOf(ask(me.issuance, { issuer }))
  assert.deepEqual([error.code, error.retry, calls.length], ['serverInternal', { when: 'backoff' }, 0])
  assert.ok(me.clock.nowMs() - startMs <= 300_000)
})

test('a holder that lost its lease stops, and leaves the order to who has it now', async () => {
  const orders = createRecords()
  const { issuance } = createWorld(orders, 'me')
  const { issuer, calls } = createIssuer((_call, nth) => {
    for (const row of orders.rows.values()) Object.assign(row, { holder: 'other', leaseUntilMs: startMs + hourMs })
    return again({ nth })
  })
  await failureOf(ask(issuance, { issuer }))
  assert.equal(calls.length, 1, 'no further step of an order that is no longer ours')
  const [row] = orders.rows.values()
  assert.equal(row?.holder, 'other')
})
