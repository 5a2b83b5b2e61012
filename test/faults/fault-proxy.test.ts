// Every fault is seen by a plain client as it is described, in front of a real CA.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeTempFolder } from '../peers/child.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { findPeer, freePort, requirePeer } from '../peers/peers.ts'
import { ask } from './ask.ts'
import { type FaultProxy, type FaultProxyOptions, startFaultProxy } from './fault-proxy.ts'
import type { Action, LogEntry, Rule } from './rule.ts'
import * as faults from './scenarios.ts'

const cleanup = new AsyncDisposableStack()
let world: { readonly pebble: Pebble; readonly proxy: FaultProxy } | undefined
const seed = 7
const peers = ['pebble', 'pebble-challtestsrv', 'openssl'] as const

function startProxy(pebble: Pebble, rules: readonly Rule[] = [], more: Partial<FaultProxyOptions> = {}) {
  return startFaultProxy({ upstreamUrl: pebble.directoryUrl, upstreamCaFile: pebble.caFile, seed, rules, ...more })
}

before(async () => {
  if (!peers.every((name) => findPeer(name) !== undefined)) return
  const pebble = cleanup.use(await startPebble())
  world = { pebble, proxy: cleanup.use(await startProxy(pebble)) }
})

after(() => cleanup.disposeAsync())

/** The world with the rules that the test is about. */
function inWorld(t: TestContext, rules: readonly Rule[] = []): typeof world {
  for (const name of peers) if (requirePeer(t, name) === undefined) return undefined
  assert.ok(world !== undefined)
  world.proxy.setRules(rules)
  return world
}

const at = (entry: LogEntry | undefined) => ({
  actions: entry?.actions,
  forwarded: entry?.forwarded,
  status: entry?.status,
})

test('host and path reach the CA as the client wrote them, and connections are kept', async (t) => {
  const { pebble, proxy } = inWorld(t) ?? {}
  if (!pebble || !proxy) return
  const answer = await ask(proxy)
  assert.equal(JSON.parse(answer.text).newOrder, new URL('/order-plz', proxy.directoryUrl).href)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  let connections = 0
  const createConnection = agent.createConnection.bind(agent)
  agent.createConnection = (...args) => {
    connections += 1
    return createConnection(...args)
  }
  for (let i = 0; i < 3; i++) assert.equal((await ask(proxy, { agent })).status, 200)
  agent.destroy()
  assert.equal(connections, 1)
})

test('its TLS identity can be kept', async (t) => {
  const { pebble } = inWorld(t) ?? {}
  if (!pebble) return
  using folder = makeTempFolder('faults-kept')
  const caOfOne = async () => {
    await using proxy = await startProxy(pebble, [], { folder: folder.path })
    assert.equal((await ask(proxy)).status, 200)
    return readFileSync(proxy.caFile, 'utf8')
  }
  assert.equal(await caOfOne(), await caOfOne())
})

test('the same seed decides the same, another one otherwise', async (t) => {
  const { pebble, proxy } = inWorld(t) ?? {}
  if (!pebble || !proxy) return
  const rules = faults.serverErrors(0.5)
  const run = async (wanted: number) => {
    await using own = await startProxy(pebble, rules, { seed: wanted })
    for (let i = 0; i < 24; i++) await ask(own, i % 3 === 0 ? { path: '/nonce-plz', method: 'HEAD' } : {})
    return own.log.map(({ status }) => status)
  }
  const [first, second, other] = await Promise.all([run(1), run(1), run(2)])
  assert.deepEqual(first, second)
  assert.notDeepEqual(first, other)
  const failed = first.filter((status) => (status ?? 0) >= 500).length
  assert.ok(failed > 4 && failed < 20, `${failed} of 24 at 0.5`)
  assert.deepEqual([...new Set(first)].sort(), [200, 500, 502, 504])
})

test('which requests a rule is about: endpoint, nth, range, times, when', async (t) => {
  const { proxy } = inWorld(t) ?? {}
  if (!proxy) return
  const action: Action = { do: 'status', status: 503 }
  const statuses = async (rule: Omit<Rule, 'action'>) => {
    proxy.setRules([{ ...rule, action }])
    const all: number[] = []
    for (let i = 0; i < 4; i++) {
      await ask(proxy, { path: '/nonce-plz', method: 'HEAD' })
      all.push((await ask(proxy)).status)
    }
    return all
  }
  assert.deepEqual(await statuses({ endpoint: 'directory', nth: 2 }), [200, 503, 200, 200])
  assert.deepEqual(await statuses({ endpoint: 'directory', nth: { from: 3 } }), [200, 200, 503, 503])
  assert.deepEqual(await statuses({ endpoint: ['directory', 'order'], nth: { from: 2, to: 3 } }), [200, 503, 503, 200])
  assert.deepEqual(await statuses({ endpoint: 'directory', times: 1 }), [503, 200, 200, 200])
  assert.deepEqual(await statuses({ endpoint: 'newNonce' }), [200, 200, 200, 200])
  assert.deepEqual(await statuses({ when: ({ method }) => method === 'GET' }), [503, 503, 503, 503])
  assert.deepEqual(await statuses({ nth: { from: 1, to: 4 } }), [503, 503, 200, 200], 'any endpoint counts')
})

test('answers of its own: problems, pages, nothing', async (t) => {
  const { pebble, proxy } = inWorld(t) ?? {}
  if (!pebble || !proxy) return
  const tell = (action: Action) => {
    proxy.setRules([{ action }])
    return ask(proxy)
  }
  const limited = await tell({
    ...{ do: 'status', status: 429, retryAfter: '17', problemType: 'rateLimited', detail: 'too much' },
    headers: { Link: ['<https://a.example>;rel="help"', '<https://b.example>;rel="index"'] },
  })
  assert.deepEqual(
    [limited.status, limited.headers['content-type'], limited.headers['retry-after'], limited.headers.link],
    [429, 'application/problem+json', '17', '<https://a.example>;rel="help", <https://b.example>;rel="index"'],
  )
  assert.deepEqual(JSON.parse(limited.text), {
    ...{ type: 'urn:ietf:params:acme:error:rateLimited', detail: 'too much', status: 429 },
  })
  assert.deepEqual(at(proxy.log.at(-1)), { actions: ['status'], forwarded: false, status: 429 })
  proxy.setRules([...faults.rateLimitedNewOrder('120'), ...faults.termsChanged()])
  const newOrder = await ask(proxy, { path: '/order-plz', method: 'POST' })
  assert.deepEqual([newOrder.status, newOrder.headers['retry-after']], [429, '120'], 'the first ending wins')
  assert.match(String(newOrder.headers.link), /rel="help"/)
  proxy.setRules(faults.termsChanged())
  const terms = await ask(proxy, { path: '/order-plz', method: 'POST' })
  assert.match(
    `${terms.status} ${terms.headers.link} ${terms.text}`,
    /^403 .*rel="terms-of-service" .*:userActionRequired/,
  )
  const page = await tell({ do: 'status', status: 502, html: true })
  assert.match(`${page.status} ${page.headers['content-type']} ${page.text}`, /^502 text\/html.*<html>/s)

  const html = await tell({ do: 'html' })
  assert.match(`${html.status} ${html.headers['content-type']} ${html.text}`, /^200 text\/html.*<html>/s)
  const empty = await tell({ do: 'emptyBody' })
  assert.deepEqual([empty.status, empty.text], [200, ''])
  assert.deepEqual(at(proxy.log.at(-1)), { actions: ['emptyBody'], forwarded: false, status: 200 })
  const atCa = pebble.requests().get('GET /dir') ?? 0
  assert.equal((await tell({ do: 'status', status: 504, forwarded: true })).status, 504)
  assert.equal(pebble.requests().get('GET /dir'), atCa + 1, 'the CA has done it')
})

test('connections end before the CA, after it, in the middle, or never', async (t) => {
  const { pebble, proxy } = inWorld(t) ?? {}
  if (!pebble || !proxy) return
  const atCa = () => pebble.requests().get('GET /dir') ?? 0
  const tell = (action: Action, timeoutMs?: number) => {
    proxy.setRules([{ action }])
    return ask(proxy, timeoutMs === undefined ? {} : { timeoutMs })
  }
  const before = atCa()
  await assert.rejects(tell({ do: 'cutBefore' }), { code: 'ECONNRESET' })
  assert.deepEqual(
    [atCa(), at(proxy.log.at(-1))],
    [before, { actions: ['cutBefore'], forwarded: false, status: undefined }],
  )
  await assert.rejects(tell({ do: 'cutAfter' }), { code: 'ECONNRESET' })
  assert.deepEqual(
    [atCa(), at(proxy.log.at(-1))],
    [before + 1, { actions: ['cutAfter'], forwarded: true, status: undefined }],
  )
  await assert.rejects(tell({ do: 'truncate' }), { message: 'aborted' })
  await assert.rejects(tell({ do: 'silence' }, 200), { name: 'AbortError' })
  await assert.rejects(tell({ do: 'endless' }), { message: 'far too much' })
  assert.equal(atCa(), before + 2)
})

test('delays, and bodies that drip', async (t) => {
  const { proxy } = inWorld(t) ?? {}
  if (!proxy) return
  const took = async (action: Action) => {
    proxy.setRules([{ action }])
    const startMs = performance.now()
    const { status, text } = await ask(proxy)
    assert.deepEqual([status, JSON.parse(text).newOrder !== undefined], [200, true])
    return { ms: performance.now() - startMs, length: text.length }
  }
  assert.ok((await took({ do: 'delay', ms: 300 })).ms >= 299)
  assert.ok((await took({ do: 'delay', ms: 300, at: 'after' })).ms >= 299)
  const { ms, length } = await took({ do: 'drip', bytesPerSecond: 1000 })
  assert.ok(ms > length * 0.8, `${length} bytes in ${ms} ms`)
})

test('answers of the CA with something changed', async (t) => {
  const { proxy } = inWorld(t) ?? {}
  if (!proxy) return
  const tell = async (...rules: Rule[]) => {
    proxy.setRules(rules)
    return ask(proxy)
  }
  const changed = await tell(
    { action: { do: 'replaceJson', body: (body) => ({ ...body, more: 1 }) } },
    { action: { do: 'rewriteDirectory', directory: ({ keyChange, ...rest }) => ({ ...rest, had: keyChange }) } },
    { action: { do: 'headers', add: { 'X-More': 'a' }, replace: { 'Cache-Control': 'b' }, remove: ['date'] } },
  )
  const body = JSON.parse(changed.text)
  assert.deepEqual(
    [body.more, body.keyChange, typeof body.had, typeof body.newOrder],
    [1, undefined, 'string', 'string'],
  )
  assert.deepEqual(
    [changed.headers['x-more'], changed.headers['cache-control'], changed.headers.date],
    ['a', 'b', undefined],
  )
  assert.deepEqual(proxy.log.at(-1)?.actions, ['replaceJson', 'rewriteDirectory', 'headers'])
  assert.equal(
    (await tell({ action: { do: 'replaceBody', body: (text) => text.toUpperCase() } })).text.includes('NEWORDER'),
    true,
  )
  const links = await tell(...faults.manyLinks(100_000))
  assert.equal(String(links.headers.link).split(', ').length, 100_000)
  const deep = await tell(...faults.deepJson(100_000))
  assert.ok(deep.text.startsWith('{"a":{"a":') && deep.text.length > 600_000)
})

test('renewal information where the CA has none', async (t) => {
  const { proxy } = inWorld(t) ?? {}
  if (!proxy) return
  proxy.setRules(faults.ariWindow({ startInMs: 60_000, endInMs: 120_000 }, '99', 'https://ca.example/why'))
  const { renewalInfo } = JSON.parse((await ask(proxy)).text)
  const answer = await ask(proxy, { path: `${renewalInfo}/abc.def` })
  const body = JSON.parse(answer.text)
  assert.equal(answer.headers['retry-after'], '99')
  assert.ok(Math.abs(Date.parse(body.suggestedWindow.start) - Date.now() - 60_000) < 5000)
  assert.equal(body.explanationURL, 'https://ca.example/why')
  assert.deepEqual([proxy.log.at(-1)?.endpoint, proxy.log.at(-1)?.forwarded], ['renewalInfo', false])
  proxy.setRules(faults.ariEndBeforeStart())
  const { suggestedWindow } = JSON.parse((await ask(proxy, { path: `${renewalInfo}/abc.def` })).text)
  assert.ok(suggestedWindow.end < suggestedWindow.start)
  proxy.setRules(faults.ariGarbage())
  const texts = new Set<string>()
  for (let i = 0; i < 11; i++) texts.add((await ask(proxy, { path: `${renewalInfo}/abc.def` })).text)
  assert.equal(texts.size, 11)
  proxy.setRules(faults.ariError(404))
  assert.equal((await ask(proxy, { path: `${renewalInfo}/abc.def` })).status, 404)
})

test('a test can act at exactly one moment of a request, and is waited for', async (t) => {
  const { pebble, proxy } = inWorld(t) ?? {}
  if (!pebble || !proxy) return
  const events: string[] = []
  const atCa = () => pebble.requests().get('GET /dir') ?? 0
  const start = atCa()
  const note = (what: string) => async () => {
    await sleep(20)
    events.push(`${what} ${atCa() - start}`)
  }
  proxy.setRules([
    { action: { do: 'onRequest', before: note('before'), after: note('after'), answered: note('answered') } },
  ])
  await ask(proxy).then(() => events.push('got it'))
  while (events.length < 4) await sleep(5)
  assert.deepEqual(events, ['before 0', 'after 1', 'got it', 'answered 1'])
  proxy.setRules([
    { action: { do: 'onRequest', before: note('cut'), after: note('never') } },
    { action: { do: 'cutBefore' } },
  ])
  await assert.rejects(ask(proxy))
  assert.deepEqual(events.slice(4), ['cut 1'])
})

test('a function of a rule that throws cannot be mistaken for a fault', async (t) => {
  const { pebble } = inWorld(t) ?? {}
  if (!pebble) return
  const body = () => {
    throw new Error('a slip of the test')
  }
  const proxy = await startProxy(pebble, [{ action: { do: 'replaceJson', body } }])
  await assert.rejects(ask(proxy), { code: 'ECONNRESET' })
  assert.equal(proxy.log.at(-1)?.error, 'a slip of the test')
  await assert.rejects(proxy.stop(), /a slip of the test/)
})

test('a CA that is not there is said at the start, and is no answer later', async (t) => {
  if (!inWorld(t)) return
  await assert.rejects(
    startFaultProxy({ upstreamUrl: `https://127.0.0.1:${await freePort()}`, seed, rules: [] }),
    /the CA at https:\/\/127\.0\.0\.1:\d+\/dir cannot be reached: .*ECONNREFUSED/,
  )
  const pebble = await startPebble()
  await assert.rejects(startFaultProxy({ upstreamUrl: pebble.directoryUrl, seed, rules: [] }), /give the CA of its TLS/)
  await using proxy = await startProxy(pebble)
  assert.equal((await ask(proxy)).status, 200)
  await pebble.stop()
  await assert.rejects(ask(proxy), { code: 'ECONNRESET' })
  assert.match(proxy.log.at(-1)?.error ?? '', /^the CA did not answer/)
})
