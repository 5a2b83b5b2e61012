// The transport against an HTTP client that is a value: every request is seen, every answer is written here.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import { ProblemError } from '../acme/problem.ts'
import type { AccountKey, HttpReply, HttpRequest, PluginContext } from '../plugin-api.ts'
import { createAccount, findAccount } from './accounts.ts'
import { downloadChain } from './certificates.ts'
import { answerChallenge } from './challenges.ts'
import { createOrder, fetchOrder } from './orders.ts'
import { type AcmeTransport, createTransport, type Signer } from './transport.ts'

const directoryUrl = 'https://ca.example/directory'
const orderUrl = 'https://ca.example/order/1'
const userAgent = 'acmems/1 node/24'
const hourMs = 3_600_000

const key: AccountKey = {
  alg: 'ES256',
  publicJwk: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' },
  sign: async () => new Uint8Array([1, 2, 3]),
}
const account: Signer = { key, accountUrl: 'https://ca.example/acct/1' }

type Sent = HttpRequest & { readonly url: string }
type Answer = {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: unknown
}
/** What the CA says to a POST; an Error is a connection that broke. */
type Answers = (sent: Sent, nth: number) => Answer | Error

function replyOf({ status = 200, headers = {}, body = {} }: Answer): HttpReply {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return {
    status,
    headers: new Map(Object.entries(headers).map(([name, value]) => [name, [value].flat()])),
    body: Buffer.from(text),
  }
}

const directory: JsonObject = {
  newNonce: 'https://ca.example/new-nonce',
  newAccount: 'https://ca.example/new-account',
  newOrder: 'https://ca.example/new-order',
}

function problem(type: string, status: number, nonce?: string, more: Answer['headers'] = {}): Answer {
  const body = { type: `urn:ietf:params:acme:error:${type}`, detail: `the CA says ${type}` }
  return { status, body, headers: { ...more, ...(nonce === undefined ? {} : { 'replay-nonce': nonce }) } }
}

function createWorld(answers: Answers = () => ({}), others: Answers = () => ({ status: 404 })) {
  const sent: Sent[] = []
  const world = { nowMs: Date.UTC(2026, 10, 21), freshNonces: 0 }
  let posts = 0
  const abort = new AbortController()
  const context: PluginContext = {
    signal: abort.signal,
    clock: { nowMs: () => world.nowMs, monotonicMs: () => world.nowMs, sleep: async () => undefined },
    log: { debug() {}, info() {}, warn() {}, error() {} },
    randomBytes: (length) => new Uint8Array(length),
    http: {
      async request(url, request) {
        const one = { ...request, url }
        sent.push(one)
        const answer = choose(one)
        if (answer instanceof Error) throw answer
        return replyOf(answer)
      },
    },
  }
  function choose(one: Sent): Answer | Error {
    if (one.method === 'POST') return answers(one, posts++)
    const other = others(one, sent.length - 1)
    if (other instanceof Error || other.status !== 404) return other
    if (one.method === 'GET') return { body: directory }
    return { headers: { 'replay-nonce': `fresh${++world.freshNonces}` } }
  }
  const transport = createTransport(directoryUrl, userAgent, () => world.nowMs)
  const sentBy = (method: Sent['method']) => sent.filter((one) => one.method === method)
  return { ...{ world, transport, context, sent, sentBy, abort }, nonces: () => sentBy('POST').map(nonceOf) }
}

function jwsOf(sent: Sent | undefined): { header: JsonObject; payload: string } {
  const jws: unknown = JSON.parse(String(sent?.body))
  assert.ok(isJsonObject(jws))
  const header: unknown = JSON.parse(Buffer.from(String(jws.protected), 'base64url').toString())
  assert.ok(isJsonObject(header))
  return { header, payload: Buffer.from(String(jws.payload), 'base64url').toString() }
}

function nonceOf(sent: Sent): string {
  return String(jwsOf(sent).header.nonce)
}

async function failureOf(attempt: Promise<unknown>): Promise<ProblemError> {
  const error = await attempt.then(
    () => assert.fail('it should have failed'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof ProblemError, String(error))
  return error
}

function post(world: { transport: AcmeTransport; context: PluginContext }, url = orderUrl) {
  return world.transport.post(url, undefined, account, world.context)
}

// what is sent -----------------------------------------------------------------------------------

test('every request says who we are, is bounded in octets and time, and can be aborted', async () => {
  const world = createWorld()
  await post(world)
  assert.deepEqual(world.sent.map(({ method }) => method).sort(), ['GET', 'HEAD', 'POST'])
  for (const one of world.sent) {
    assert.equal(one.headers?.['user-agent'], userAgent, one.method)
    assert.ok(one.maxBytes > 0 && one.maxBytes <= 1024 * 1024, `${one.method} of ${one.maxBytes} octets`)
    assert.ok(one.timeoutMs > 0 && one.timeoutMs <= 60_000, `${one.method} of ${one.timeoutMs} ms`)
    assert.equal(one.signal, world.context.signal)
  }
})

test('a POST is a flattened JWS: alg, nonce, url, and kid or jwk, never both', async () => {
  const world = createWorld()
  await post(world, 'https://ca.example/x?y=%41#z')
  await world.transport.post(orderUrl, { a: 1 }, { key }, world.context)
  const [byAccount, byKey] = world.sentBy('POST')
  assert.equal(byAccount?.headers?.['content-type'], 'application/jose+json')
  assert.deepEqual(jwsOf(byAccount), {
    header: { alg: 'ES256', kid: account.accountUrl, nonce: 'fresh1', url: 'https://ca.example/x?y=%41#z' },
    payload: '',
  })
  assert.deepEqual(jwsOf(byKey), {
    header: { alg: 'ES256', jwk: key.publicJwk, nonce: 'fresh2', url: orderUrl },
    payload: '{"a":1}',
  })
})

test('the type that is wanted is asked for', async () => {
  const world = createWorld()
  await world.transport.post(orderUrl, undefined, account, world.context, 'application/pem-certificate-chain')
  assert.equal(world.sentBy('POST')[0]?.headers?.accept, 'application/pem-certificate-chain')
})

for (const url of ['http://ca.example/order/1', 'file:///etc/passwd', 'javascript:1', '/order/1', '']) {
  test(`an address that is no https URL is not asked: ${JSON.stringify(url)}`, async () => {
    const world = createWorld()
    assert.equal((await failureOf(post(world, url))).code, 'serverInternal')
    assert.deepEqual(world.sentBy('POST'), [])
  })
}

// nonces -----------------------------------------------------------------------------------------

test("each answer's nonce, also an error's, is the next request's", async () => {
  const world = createWorld((_sent, nth) =>
    nth === 1 ? problem('malformed', 400, 'n2') : { headers: { 'replay-nonce': `n${nth + 1}` } },
  )
  await post(world)
  await failureOf(post(world))
  await post(world)
  assert.deepEqual(world.nonces(), ['fresh1', 'n1', 'n2'])
  assert.equal(world.world.freshNonces, 1)
})

test('requests at once have a nonce each', async () => {
  const world = createWorld()
  await Promise.all(Array.from({ length: 8 }, () => post(world)))
  assert.equal(new Set(world.nonces()).size, 8)
})

test('a nonce whose request broke is spent', async () => {
  const world = createWorld((_sent, nth) => (nth === 0 ? new Error('ECONNRESET') : {}))
  await failureOf(post(world))
  await post(world)
  assert.deepEqual(world.nonces(), ['fresh1', 'fresh2'])
})

test('badNonce: again with the nonce of the error', async () => {
  const world = createWorld((_sent, nth) => (nth < 3 ? problem('badNonce', 400, `again${nth}`) : { body: { ok: 1 } }))
  assert.equal((await post(world)).bodyText, '{"ok":1}')
  assert.deepEqual(world.nonces(), ['fresh1', 'again0', 'again1', 'again2'])
  const urls = world.sentBy('POST').map(({ url }) => url)
  assert.deepEqual(new Set(urls), new Set([orderUrl]))
})

test('badNonce without a new one: a fresh one is fetched, and those kept are as stale', async () => {
  const world = createWorld((_sent, nth) => {
    if (nth < 3) return { headers: { 'replay-nonce': `kept${nth}` } }
    return nth === 3 ? problem('badNonce', 400) : {}
  })
  await Promise.all([post(world), post(world), post(world)])
  await post(world)
  assert.deepEqual(world.nonces().slice(3), ['kept2', 'fresh4'])
})

test('RFC 8555 §6.5.1: a nonce that is not base64url is ignored, wherever it comes from', async () => {
  const world = createWorld((_sent, nth) => (nth === 0 ? problem('badNonce', 400, 'not a nonce!') : {}))
  await post(world)
  assert.deepEqual(world.nonces(), ['fresh1', 'fresh2'])
  const broken = createWorld(undefined, ({ method }) =>
    method === 'HEAD' ? { headers: { 'replay-nonce': 'no nonce' } } : { status: 404 },
  )
  await failureOf(post(broken))
  assert.deepEqual(broken.sentBy('POST'), [])
})

test('badNonce for ever comes to an end that can be tried again later', async () => {
  const world = createWorld((_sent, nth) => problem('badNonce', 400, `again${nth}`))
  const error = await failureOf(post(world))
  assert.deepEqual([error.code, error.retry], ['serverInternal', { when: 'backoff' }])
  const count = world.sentBy('POST').length
  assert.ok(count >= 5 && count <= 20, `${count} requests`)
})

test('a CA that hands out no nonce is a failing server', async () => {
  for (const answer of [{ status: 200 }, { status: 503, body: '<html>' }]) {
    const world = createWorld(undefined, ({ method }) => (method === 'HEAD' ? answer : { status: 404 }))
    const error = await failureOf(post(world))
    assert.equal(error.code, 'serverInternal')
    assert.deepEqual(error.retry, { when: 'backoff' })
  }
})

test('no nonce is ever used twice, whatever the CA answers and how many ask at once', async () => {
  const answer = fc.constantFrom('ok', 'ok without nonce', 'badNonce', 'badNonce without nonce', 'problem', 'broken')
  await fc.assert(
    fc.asyncProperty(
      fc.array(answer, { maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
      async (script, batches) => {
        const world = createWorld((_sent, nth): Answer | Error => {
          const nonce = `n${nth}`
          switch (script[nth] ?? 'ok') {
            case 'badNonce':
              return problem('badNonce', 400, nonce)
            case 'badNonce without nonce':
              return problem('badNonce', 400)
            case 'problem':
              return problem('malformed', 400, nonce)
            case 'broken':
              return new Error('ECONNRESET')
            case 'ok without nonce':
              return {}
            default:
              return { headers: { 'replay-nonce': nonce } }
          }
        })
        for (const size of batches) await Promise.allSettled(Array.from({ length: size }, () => post(world)))
        const nonces = world.nonces()
        assert.equal(new Set(nonces).size, nonces.length, nonces.join(' '))
      },
    ),
  )
})

// the directory ----------------------------------------------------------------------------------

test('the directory is fetched once, also when many ask at once, and again after an hour', async () => {
  const world = createWorld()
  await Promise.all(Array.from({ length: 5 }, () => world.transport.directory(world.context)))
  await post(world)
  assert.equal(world.sentBy('GET').length, 1)
  world.world.nowMs += hourMs + 1
  await world.transport.directory(world.context)
  assert.equal(world.sentBy('GET').length, 2)
})

test('a directory that could not be had is asked for again', async () => {
  let attempts = 0
  const failures: (Answer | Error)[] = [
    new Error('ECONNREFUSED'),
    { status: 503 },
    { body: '<html>' },
    { body: { newNonce: 1 } },
  ]
  const world = createWorld(undefined, ({ method }) =>
    method === 'GET' ? (failures[attempts++] ?? { body: directory }) : { status: 404 },
  )
  for (const _ of failures) {
    const error = await failureOf(world.transport.directory(world.context))
    assert.deepEqual([error.code, error.retry], ['serverInternal', { when: 'backoff' }])
  }
  assert.equal((await world.transport.directory(world.context)).newOrderUrl, 'https://ca.example/new-order')
})

test("an address where no directory is names the host, and is never the caller's fault", async () => {
  for (const answer of [
    { status: 301, headers: { location: '/x' } },
    { status: 410, body: '<html>' },
    { status: 403 },
    { body: '<html>' },
  ]) {
    const world = createWorld(undefined, () => answer)
    const error = await failureOf(world.transport.directory(world.context))
    assert.equal(error.code, 'serverInternal', `${answer.status}: ${error.message}`)
    assert.match(error.message, /ca\.example/)
  }
})

// errors -----------------------------------------------------------------------------------------

test("a problem document's words, names and help reach the person", async () => {
  const body = {
    type: 'urn:ietf:params:acme:error:rejectedIdentifier',
    detail: 'policy\r\nforbids',
    subproblems: [{ detail: 'on the list', identifier: { type: 'dns', value: 'a.example' } }],
  }
  const headers = { link: '<https://ca.example/docs/limits>;rel="help"' }
  const error = await failureOf(post(createWorld(() => ({ status: 400, body, headers }))))
  assert.equal(error.code, 'rejectedIdentifier')
  assert.equal(error.message, 'policy forbids; a.example: on the list (see https://ca.example/docs/limits)')
  assert.deepEqual(error.retry, { when: 'never' })
})

test('an answer that no CA wrote is judged by its status, and shows no markup', async () => {
  const expected: readonly (readonly [status: number, code: string, when: string])[] = [
    [500, 'serverInternal', 'backoff'],
    [502, 'serverInternal', 'backoff'],
    [503, 'serverInternal', 'backoff'],
    [504, 'serverInternal', 'backoff'],
    [429, 'rateLimited', 'backoff'],
    [403, 'unauthorized', 'never'],
    [404, 'malformed', 'never'],
  ]
  for (const [status, code, when] of expected) {
    const error = await failureOf(post(createWorld(() => ({ status, body: '<html><h1>Bad gateway</h1></html>' }))))
    assert.deepEqual([error.code, error.retry.when], [code, when], String(status))
    assert.doesNotMatch(error.message, /</)
    assert.match(error.message, new RegExp(String(status)))
  }
})

test('Retry-After in seconds, as a date, as garbage and absurd', async () => {
  const nowMs = Date.UTC(2026, 10, 21)
  const retry = async (status: number, type: string, value: string) => {
    const world = createWorld(() => problem(type, status, undefined, { 'retry-after': value }))
    return (await failureOf(post(world))).retry
  }
  assert.deepEqual(await retry(429, 'rateLimited', '17'), { when: 'notBefore', atMs: nowMs + 17_000 })
  assert.deepEqual(await retry(503, 'serverInternal', 'Sat, 21 Nov 2026 00:01:00 GMT'), {
    when: 'notBefore',
    atMs: nowMs + 60_000,
  })
  assert.deepEqual(await retry(503, 'serverInternal', 'whenever'), { when: 'backoff' })
  assert.deepEqual(await retry(429, 'rateLimited', '999999999'), { when: 'notBefore', atMs: nowMs + 24 * hourMs })
  assert.deepEqual(await retry(400, 'badCSR', '17'), { when: 'never' }, 'waiting makes no better request')
})

test('Retry-After of a good answer', async () => {
  const world = createWorld(() => ({ headers: { 'retry-after': '5' } }))
  assert.equal((await post(world)).retryAfterMs, 5000)
  assert.equal((await post(createWorld())).retryAfterMs, undefined)
})

test('a CA that cannot be reached: its host and the reason, and try again later', async () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED 192.0.2.1:443'), { code: 'ECONNREFUSED' })
  const error = await failureOf(post(createWorld(undefined, () => refused)))
  assert.equal(error.code, 'serverInternal')
  assert.deepEqual(error.retry, { when: 'backoff' })
  assert.match(error.message, /ca\.example.*ECONNREFUSED/)
  assert.equal(error.cause, refused)
})

test('an answer that is too large is a failing server', async () => {
  const world = createWorld(({ maxBytes }) => new Error(`an answer of more than ${maxBytes} bytes`))
  const error = await failureOf(post(world))
  assert.deepEqual([error.code, error.retry], ['serverInternal', { when: 'backoff' }])
  assert.match(error.message, /more than \d+ bytes/)
})

test('a server that stops is no failing CA', async () => {
  const reason = new Error('the server is stopping')
  const world = createWorld(undefined, () => {
    world.abort.abort(reason)
    return new Error('aborted')
  })
  await assert.rejects(post(world), reason)
})

// links ------------------------------------------------------------------------------------------

test('links by relation, however they are written', async () => {
  const link = [
    '<https://ca.example/directory>;rel="index"',
    '<https://ca.example/a,b;c>; rel="alternate", <https://ca.example/2>;rel=alternate',
    'garbage',
    '<https://ca.example/3> ; rel="alternate"',
  ]
  const { links } = await post(createWorld(() => ({ headers: { link } })))
  assert.deepEqual(links.get('index'), ['https://ca.example/directory'])
  assert.deepEqual(links.get('alternate'), ['https://ca.example/a,b;c', 'https://ca.example/2', 'https://ca.example/3'])
})

test('any Link header is read in short time, and never fails', async () => {
  // As much as an HTTP client lets through.
  const long = [`<${'a'.repeat(16_000)}`, '<'.repeat(16_000), `<a>${' '.repeat(16_000)};`, '<a>;rel=x,'.repeat(1600)]
  for (const link of long) {
    const startedMs = performance.now()
    await post(createWorld(() => ({ headers: { link } })))
    assert.ok(performance.now() - startedMs < 5000, `${link.slice(0, 10)}… took ${performance.now() - startedMs} ms`)
  }
})

// resources --------------------------------------------------------------------------------------

test('a chain comes with its alternates, few of them, and without those that cannot be had', async () => {
  const alternates = Array.from({ length: 40 }, (_, i) => `</cert/1/${i}>;rel="alternate"`)
  const certUrl = 'https://ca.example/cert/1'
  const world = createWorld(({ url }) => {
    if (url === certUrl) return { body: 'CHAIN', headers: { link: [...alternates] } }
    return url.endsWith('/1') ? { status: 500 } : { body: `ALT ${url}` }
  })
  const chain = await downloadChain(world.transport, account, certUrl, world.context)
  assert.equal(chain.chainPem, 'CHAIN')
  assert.equal(chain.alternatesPem[0], 'ALT https://ca.example/cert/1/0', 'a relative address is relative to the chain')
  assert.ok(chain.alternatesPem.length >= 2 && chain.alternatesPem.length <= 10, String(chain.alternatesPem.length))
})

test('an order needs its Location', async () => {
  const body = { status: 'pending', identifiers: [], authorizations: [], finalize: 'https://ca.example/f' }
  const request = { identifiers: [{ type: 'dns' as const, value: 'a.example' }] }
  const world = createWorld((_sent, nth) => ({
    body,
    headers: nth === 0 ? {} : { location: orderUrl, 'retry-after': '3' },
  }))
  assert.equal((await failureOf(createOrder(world.transport, account, request, world.context))).code, 'serverInternal')
  const reply = await createOrder(world.transport, account, request, world.context)
  assert.deepEqual([reply.order.url, reply.retryAfterMs], [orderUrl, 3000])
  assert.equal(world.sentBy('POST')[0]?.url, 'https://ca.example/new-order')
})

test('what is no order is a failing server', async () => {
  for (const body of ['<html>', '', '[]', '{"status":"odd"}', 'null']) {
    const world = createWorld(() => ({ body }))
    const error = await failureOf(fetchOrder(world.transport, account, orderUrl, world.context))
    assert.deepEqual([error.code, error.retry], ['serverInternal', { when: 'backoff' }], body)
  }
})

test('an account is found by its key, or there is none', async () => {
  const known = createWorld(() => ({ body: { status: 'valid' }, headers: { location: 'https://ca.example/acct/7' } }))
  assert.equal((await findAccount(known.transport, key, known.context))?.url, 'https://ca.example/acct/7')
  assert.equal(jwsOf(known.sentBy('POST')[0]).payload, '{"onlyReturnExisting":true}')
  const unknown = createWorld(() => problem('accountDoesNotExist', 400))
  assert.equal(await findAccount(unknown.transport, key, unknown.context), undefined)
  const closed = createWorld(() => problem('unauthorized', 403))
  assert.equal((await failureOf(findAccount(closed.transport, key, closed.context))).code, 'unauthorized')
})

test('a CA that binds accounts says so before the CA is asked', async () => {
  const world = createWorld(
    () => ({ body: { status: 'valid' }, headers: { location: 'https://ca.example/acct/7' } }),
    ({ method }) =>
      method === 'GET' ? { body: { ...directory, meta: { externalAccountRequired: true } } } : { status: 404 },
  )
  const wish = { termsOfServiceAgreed: true, contact: ['mailto:a@example.org'] }
  const error = await failureOf(createAccount(world.transport, key, wish, world.context))
  assert.equal(error.code, 'externalAccountRequired')
  assert.match(error.message, /eab-kid.*eab-hmac-key/)
  assert.deepEqual(world.sentBy('POST'), [])
  await createAccount(world.transport, key, { ...wish, binding: { kid: 'k', macKey: 'bWFj' } }, world.context)
  const payload: unknown = JSON.parse(jwsOf(world.sentBy('POST')[0]).payload)
  assert.ok(isJsonObject(payload) && isJsonObject(payload.externalAccountBinding))
  assert.deepEqual([payload.termsOfServiceAgreed, payload.contact], [true, ['mailto:a@example.org']])
})

test('a challenge is answered with {}; one that is answered already is no failure', async () => {
  const challenge = { url: 'https://ca.example/chal/1', type: 'http-01', token: 'a', status: 'pending' as const }
  const world = createWorld((_sent, nth) => (nth === 0 ? {} : problem(nth === 1 ? 'malformed' : 'unauthorized', 400)))
  await answerChallenge(world.transport, account, challenge, world.context)
  await answerChallenge(world.transport, account, challenge, world.context)
  assert.deepEqual(
    world.sentBy('POST').map((one) => jwsOf(one).payload),
    ['{}', '{}'],
  )
  const error = await failureOf(answerChallenge(world.transport, account, challenge, world.context))
  assert.equal(error.code, 'unauthorized')
})
