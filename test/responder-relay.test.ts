// A responder that asks others for tokens which nobody left with it.
import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { request } from 'undici'
import { systemClock } from '../src/clock.ts'
import { createHttpClient } from '../src/http/http-client.ts'
import { openListener } from '../src/http/listener.ts'
import { createResponder } from '../src/responder/responder.ts'
import { createTokenRelay, findAlsoBy } from '../src/responder/token-relay.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA'
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`
const path = `/.well-known/acme-challenge/${token}`
const silent = { debug() {}, info() {}, warn() {}, error() {} }

async function serve(answer: RequestListener) {
  const seen: IncomingMessage[] = []
  const server = createServer((incoming, response) => {
    seen.push(incoming)
    answer(incoming, response)
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done())
      server.closeAllConnections()
    })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, [Symbol.asyncDispose]: close }
}

/** A responder that knows nothing itself. */
async function startRelaying(relays: readonly string[]) {
  const http = createHttpClient([])
  const context = {
    ...{ http, clock: systemClock, log: silent, signal: new AbortController().signal },
    randomBytes: (length: number) => new Uint8Array(length),
  }
  const relay = createTokenRelay(relays, context)
  const responder = createResponder(
    findAlsoBy(
      () => relay,
      async () => undefined,
    ),
    (error) => assert.fail(String(error)),
  )
  const listener = await openListener('127.0.0.1:0', responder, { maxConnections: 100, requestTimeoutMs: 5000 })
  return {
    url: `http://${listener.boundAddress}`,
    async [Symbol.asyncDispose]() {
      await listener.close(0)
      await http[Symbol.asyncDispose]()
    },
  }
}

async function ask(url: string, headers: Record<string, string> = {}, at = path) {
  const { statusCode, body } = await request(url + at, { headers: { host: 'www.example.org', ...headers } })
  return { status: statusCode, text: await body.text() }
}

test('an unknown token is asked for elsewhere, with its path and host and nothing else', async () => {
  await using away = await serve((_, response) => response.writeHead(404).end('not found'))
  await using knows = await serve((_, response) => response.end(keyAuthorization))
  await using relaying = await startRelaying([`http://127.0.0.1:${await freePort()}`, away.url, knows.url])
  const headers = {
    cookie: 'secret',
    authorization: 'Bearer secret',
    'x-forwarded-for': '192.0.2.9',
    'user-agent': 'validator',
  }
  const reply = await ask(relaying.url, headers, `${path}?query=secret`)
  assert.deepEqual(reply, { status: 200, text: keyAuthorization })
  for (const [incoming] of [away.seen, knows.seen]) {
    assert.equal(incoming?.url, path)
    assert.equal(incoming?.headers.host, 'www.example.org')
    assert.ok(!JSON.stringify(incoming?.headers).includes('secret'))
    assert.equal(incoming?.headers['x-forwarded-for'], undefined)
  }
  assert.equal((await ask(relaying.url, { host: '[2001:DB8::1]:80' })).status, 200)
  assert.equal(knows.seen.at(-1)?.headers.host, '[2001:db8::1]')
  const before = knows.seen.length
  for (const none of ['short', `${token}.x`, 'a'.repeat(200)])
    assert.equal((await ask(relaying.url, {}, `/.well-known/acme-challenge/${none}`)).status, 404)
  assert.equal((await ask(relaying.url, { 'acmems-relayed': '1' })).status, 404)
  assert.equal(knows.seen.length, before, 'none of these was asked for')
})

test('what is no key authorization of the token is not passed on', async () => {
  const answers: RequestListener[] = [
    (_, response) => response.end(`${token}.short`),
    (_, response) => response.end(`${keyAuthorization}\n`),
    (_, response) => response.end(`x${keyAuthorization}`),
    (_, response) => response.end('<html>'),
    (_, response) => response.end('x'.repeat(5000)),
    (_, response) => response.writeHead(500).end(keyAuthorization),
    (_, response) => response.writeHead(302, { location: '/elsewhere' }).end(keyAuthorization),
    (_, response) => response.destroy(),
    () => undefined,
  ]
  for (const answer of answers) {
    await using other = await serve(answer)
    await using relaying = await startRelaying([other.url])
    assert.deepEqual(await ask(relaying.url), { status: 404, text: 'not found\n' })
  }
})

test('two that name each other, and very many questions at once', async () => {
  const target: { url?: string } = {}
  let asked = 0
  await using loop = await serve((incoming, response) => {
    asked += 1
    request(target.url + (incoming.url ?? ''), { headers: incoming.headers as Record<string, string> }).then(
      ({ statusCode }) => response.writeHead(statusCode).end(),
      () => response.destroy(),
    )
  })
  await using relaying = await startRelaying([loop.url])
  target.url = relaying.url
  assert.equal((await ask(relaying.url)).status, 404)
  assert.equal(asked, 1)
  await using slow = await serve(() => undefined)
  await using busy = await startRelaying([slow.url])
  const replies = await Promise.all(Array.from({ length: 60 }, () => ask(busy.url)))
  assert.ok(replies.every(({ status }) => status === 404))
  assert.ok(slow.seen.length <= 20, `${slow.seen.length} at once`)
})

test('two acmems with separate states, one of which has port 80: each gets its certificate', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble({ authzReuse: 0 })
  const behind = await freePort()
  const configuration = (listener: number, relay: number) =>
    `${accountAt(pebble)}[verification "web"]\ntype = http01\nlistener = 127.0.0.1:${listener}\nrelay = http://127.0.0.1:${relay}\n[auth "all of it"]\nip = 127.0.0.0/8\ndomain = **.example.test\n`
  await using front = await startAcmems(configuration(pebble.httpPort, behind))
  await using back = await startAcmems(configuration(behind, pebble.httpPort))
  for (const acmems of [back, front]) {
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test', 'b.example.test'] }))
    assert.equal(reply.status, 200, reply.text)
  }
})
