// Looking at our own answer before the CA is told: what is definitely wrong stops the order, everything else does not.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { CheckFinding } from '../src/plugin-api.ts'
import { combineFindings } from '../src/self-check/by-family.ts'
import { checkHttp } from '../src/self-check/http-check.ts'
import { createPlaceFinder, type FindPlaces, type Places } from '../src/self-check/places.ts'
import { isPublicAddress } from '../src/self-check/public-address.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { makeTlsIdentity } from './peers/tls-identity.ts'
import { startNginx } from './peers/web-servers.ts'

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA'
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`
const path = `/.well-known/acme-challenge/${token}`

describe('addresses', () => {
  const inside = [
    ...['127.0.0.1', '127.255.0.1', '0.0.0.0', '10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
    ...['169.254.169.254', '100.64.0.1', '198.18.0.1', '192.0.2.1', '224.0.0.1', '240.0.0.1', '255.255.255.255'],
    ...['::', '::1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '64:ff9b::7f00:1', '64:ff9b::808:808'],
    ...['2002:7f00:1::', '2001::1', 'fc00::1', 'fd00:ec2::254', 'fe80::1', 'ff02::1', '2001:db8::1'],
  ]
  for (const address of inside) test(`${address} is not public`, () => assert.equal(isPublicAddress(address), false))
  for (const address of ['8.8.8.8', '172.32.0.1', '193.0.0.1', '2606:4700::1', '2a00:1450::1'])
    test(`${address} is public`, () => assert.equal(isPublicAddress(address), true))
})

const clock = { monotonicMs: () => performance.now() }
const finder = (more: Partial<Parameters<typeof createPlaceFinder>[0]> = {}) =>
  createPlaceFinder({ resolver: undefined, firstPort: 80, instead: undefined, isAllowed: () => false, ...more }, clock)

function wordsOf(places: Places): string {
  return 'unknown' in places ? places.unknown : places.places.map(({ address, port }) => `${address}:${port}`).join(' ')
}

test('where a name is asked', async (t) => {
  assert.match(wordsOf(await finder()('127.0.0.1', 80)), /is 127\.0\.0\.1 here, which is no public address/)
  assert.equal(wordsOf(await finder({ isAllowed: (ip) => ip === '127.0.0.1' })('127.0.0.1', 80)), '127.0.0.1:80')
  const instead = { host: '127.0.0.1', port: 8080 }
  assert.equal(wordsOf(await finder({ instead })('www.example.org', 80)), '127.0.0.1:8080')
  assert.equal(wordsOf(await finder({ instead })('www.example.org', 443)), '127.0.0.1:443', 'after a redirect')
  if (!requirePeer(t, 'pebble-challtestsrv')) return
  await using pebble = await startPebble()
  await pebble.setA('a.example.test', ['9.9.9.9'])
  await pebble.setAaaa('a.example.test', ['2606:4700::1'])
  const find = finder({ resolver: `127.0.0.1:${pebble.dnsPort}` })
  assert.equal(wordsOf(await find('a.example.test', 80)), '2606:4700::1:80 9.9.9.9:80')
  assert.match(wordsOf(await find('b.example.test', 80)), /no public address/, 'challtestsrv says 127.0.0.1 by default')
})

test('a name that does not resolve is remembered for a moment, a silent resolver for longer', async () => {
  let nowMs = 0
  const closed = await freePort()
  const find = createPlaceFinder(
    { resolver: `127.0.0.1:${closed}`, firstPort: 80, instead: undefined, isAllowed: () => false },
    { monotonicMs: () => nowMs },
  )
  const startedMs = performance.now()
  assert.match(wordsOf(await find('a.example.test', 80)), /could not be looked up \(ECONNREFUSED\)/)
  for (let i = 0; i < 100; i++) assert.match(wordsOf(await find(`${i}.example.test`, 80)), /could not be looked up/)
  nowMs = 40_000
  assert.match(wordsOf(await find('c.example.test', 80)), /c\.example\.test could not be looked up/, 'asked again')
  assert.ok(performance.now() - startedMs < 8000)
})

// one answer -------------------------------------------------------------------------------------

async function serve(server: Server): Promise<AsyncDisposable & { readonly port: number }> {
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => open.add(socket))
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done())
      for (const socket of open) socket.destroy()
    })
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: close }
}

/** Port 80 and 443 of every name are these. */
function placesAt(http: number, https = 1): FindPlaces {
  return async (_host, port) => ({ places: [{ address: '127.0.0.1', port: port === 80 ? http : https }] })
}

function check(findPlaces: FindPlaces, signal = AbortSignal.timeout(5000)): Promise<CheckFinding> {
  const challenge = { url: 'https://ca/1', type: 'http-01', token, status: 'pending' } as const
  const identifier = { type: 'dns', value: 'www.example.org' } as const
  return checkHttp({ identifier, challenge, keyAuthorization }, findPlaces, 'acmems/test', signal)
}

async function checkAnswer(answer: RequestListener, signal?: AbortSignal): Promise<CheckFinding> {
  await using server = await serve(createHttp(answer))
  return await check(placesAt(server.port), signal)
}

function assertFinding(finding: CheckFinding, outcome: CheckFinding['outcome'], reason: RegExp): void {
  assert.equal(finding.outcome, outcome, JSON.stringify(finding))
  assert.match('reason' in finding ? finding.reason : '', reason)
}

describe('http-01', () => {
  test('the right answer, asked for as a validator asks', async () => {
    const seen: string[] = []
    const finding = await checkAnswer((request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers['user-agent']}`)
      response.end(`${keyAuthorization}\r\n  `)
    })
    assert.deepEqual(finding, { outcome: 'visible' })
    assert.deepEqual(seen, [`GET ${path} www.example.org acmems/test`])
  })

  const wrong: readonly [string, RequestListener, RegExp][] = [
    [
      '404 from a web server that says its name',
      (_, response) => response.writeHead(404, { server: 'nginx/1.22.1' }).end('a page with <secrets>'),
      /^the token is not reachable at http:\/\/www\.example\.org\/\.well-known\/acme-challenge\/\S+: got 404 from nginx\/1\.22\.1 at 127\.0\.0\.1:\d+$/,
    ],
    ['a page', (_, response) => response.end('<html>hello'), /got something else from 127\.0\.0\.1/],
    ['another answer', (_, response) => response.end(`${token}.x`), /got something else/],
    ['too much', (_, response) => response.end(keyAuthorization.padEnd(2000)), /more than a key authorization/],
    [
      'a Server header that forges a line',
      (_, response) => {
        response.socket?.end(`HTTP/1.1 500 no\r\nServer: a\tb${'x'.repeat(500)}\r\nContent-Length: 0\r\n\r\n`)
      },
      /got 500 from a bx{50,57} at 127/,
    ],
    ['a redirect without a place', (_, response) => response.writeHead(302).end(), /got 302/],
    [
      'a redirect to a file',
      (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
      /redirect to file:/,
    ],
    [
      'a redirect in a circle',
      (_, response) => response.writeHead(301, { location: path }).end(),
      /more than 10 redirects/,
    ],
  ]
  for (const [name, answer, reason] of wrong)
    test(`${name} is wrong`, async () => assertFinding(await checkAnswer(answer), 'wrong', reason))

  test('what is no HTTP is wrong', async () => {
    await using server = await serve(createTcp((socket) => socket.end('220 mail ready\r\n')))
    assertFinding(await check(placesAt(server.port)), 'wrong', /is no HTTP/)
  })

  test('an endless answer is cut', async () => {
    const finding = await checkAnswer((_, response) => {
      const more = () => response.write('x'.repeat(65_536), () => !response.destroyed && more())
      more()
    })
    assertFinding(finding, 'wrong', /more than a key authorization/)
  })

  test('nobody there, nobody answering, a redirect to another port: not known', async () => {
    assertFinding(await check(placesAt(await freePort())), 'unknown', /connection refused/)
    assertFinding(await checkAnswer(() => undefined, AbortSignal.timeout(300)), 'unknown', /no answer in time/)
    const elsewhere =
      (location: string): RequestListener =>
      (_, response) =>
        response.writeHead(302, { location }).end()
    assertFinding(await checkAnswer(elsewhere('http://www.example.org:8080/x')), 'unknown', /port 8080/)
    assertFinding(await check(async () => ({ unknown: 'not here' })), 'unknown', /not here/)
    await using server = await serve(createHttp((_, response) => response.destroy()))
    assertFinding(await check(placesAt(server.port)), 'unknown', /cut/)
  })

  test('redirects to where nobody may send us are not followed', async () => {
    for (const location of [
      'http://127.0.0.1/',
      'http://2130706433/',
      'http://[::1]/',
      'https://169.254.169.254/latest/',
      'http://[::ffff:7f00:1]/',
    ]) {
      await using server = await serve(createHttp((_, response) => response.writeHead(302, { location }).end()))
      const outside = finder()
      const find: FindPlaces = (host, port) =>
        host === 'www.example.org' ? placesAt(server.port)(host, port) : outside(host, port)
      assertFinding(await check(find), 'unknown', /no public address/)
    }
  })

  test('a redirect to HTTPS is followed, whatever its certificate, and to other names', async () => {
    using folder = makeTempFolder('check')
    const identity = await makeTlsIdentity(folder.path)
    const tls = { cert: readFileSync(identity.certificateFile), key: readFileSync(identity.keyFile) }
    const hosts: string[] = []
    await using secure = await serve(
      createHttps(tls, (request, response) => {
        hosts.push(request.headers.host ?? '')
        if (request.url === '/there') response.end(keyAuthorization)
        else response.writeHead(404, { server: 'Apache' }).end()
      }),
    )
    const answer =
      (location: string): RequestListener =>
      (_, response) =>
        response.writeHead(301, { location }).end()
    await using right = await serve(createHttp(answer('https://other.example.org/there')))
    assert.deepEqual(await check(placesAt(right.port, secure.port)), { outcome: 'visible' })
    await using not = await serve(createHttp(answer('https://www.example.org/')))
    assertFinding(
      await check(placesAt(not.port, secure.port)),
      'wrong',
      /redirected to https:\/\/www\.example\.org, got 404 from Apache/,
    )
    assert.deepEqual(hosts, ['other.example.org', 'www.example.org'])
  })
})

test('what IPv6 says counts where there is IPv6', () => {
  const visible: CheckFinding = { outcome: 'visible' }
  const wrong: CheckFinding = { outcome: 'wrong', reason: 'wrong' }
  const unknown: CheckFinding = { outcome: 'unknown', reason: 'nobody knows' }
  const judge = (v4: readonly CheckFinding[], v6: readonly CheckFinding[]) =>
    combineFindings([
      ...v4.map((finding) => ({ place: { address: '192.0.2.1', port: 80 }, finding })),
      ...v6.map((finding) => ({ place: { address: '2001:db8::1', port: 80 }, finding })),
    ]).outcome
  assert.equal(judge([visible], []), 'visible')
  assert.equal(judge([wrong], []), 'wrong')
  assert.equal(judge([visible, wrong], []), 'wrong')
  assert.equal(judge([unknown], []), 'unknown')
  assert.equal(judge([visible], [wrong]), 'wrong')
  assert.equal(judge([wrong], [visible]), 'visible')
  assert.equal(judge([wrong], [unknown]), 'unknown')
  assert.equal(judge([visible], [unknown]), 'visible')
})

// the whole way ----------------------------------------------------------------------------------

function configuration(pebble: Pebble, keys: string): string {
  return `${accountAt(pebble)}[verification "v"]\n${keys}[auth "all of it"]\nip = 127.0.0.0/8\ndomain = **.example.test\n`
}

test('404 from nginx: the order stops, the CA is not told, and works when nginx is cured', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'nginx') || !requirePeer(t, 'openssl')) return
  const httpPort = await freePort()
  const responderPort = await freePort()
  await using pebble = await startPebble({ httpPort, authzReuse: 0 })
  const http = `type = http01\nlistener = 127.0.0.1:${responderPort}\nself-check-address = 127.0.0.1:${httpPort}\n`
  await using acmems = await startAcmems(configuration(pebble, http))
  const csr = makeCsr({ names: ['www.example.test', 'example.example.test'] })
  const location = `location /.well-known/acme-challenge/ { proxy_pass http://127.0.0.1:${responderPort}; proxy_set_header Host $host; }`
  const server = (more: string) => `server { listen 127.0.0.1:${httpPort}; ${more} }`
  {
    await using _ = await startNginx(server('return 404;'), { httpPort })
    const refused = await postCsr(acmems.signUrl, csr)
    assert.equal(refused.status, 421, refused.text)
    assert.match(
      refused.text,
      /the token is not reachable at http:\/\/www\.example\.test\/\.well-known\/acme-challenge\/\S+: got 404 from nginx\/\S+ at 127\.0\.0\.1/,
    )
    assert.match(refused.text, /http:\/\/example\.example\.test/)
    assert.match(refused.text, /the CA was not told/)
  }
  assert.equal(pebble.requests().get('POST /chalZ/') ?? 0, 0, 'no challenge was answered')
  await using _ = await startNginx(server(location), { httpPort })
  const reply = await postCsr(acmems.signUrl, csr)
  assert.equal(reply.status, 200, reply.text)
})

test('tls-alpn-01: another TLS server at the port', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('check')
  const identity = await makeTlsIdentity(folder.path)
  await using web = await serve(
    createHttps({ cert: readFileSync(identity.certificateFile), key: readFileSync(identity.keyFile) }),
  )
  await using pebble = await startPebble()
  const tls = (address: string) =>
    `type = tlsalpn01\nlistener = 127.0.0.1:${pebble.tlsPort}\nself-check-address = ${address}\n`
  await using wrong = await startAcmems(configuration(pebble, tls(`127.0.0.1:${web.port}`)))
  const csr = makeCsr({ names: ['www.example.test'] })
  const refused = await postCsr(wrong.signUrl, csr)
  assert.equal(refused.status, 421, refused.text)
  assert.match(
    refused.text,
    /www\.example\.test is not shown at 127\.0\.0\.1:\d+: .*(acme-tls\/1|no application protocol)/,
  )
  await wrong.stop()
  await using right = await startAcmems(configuration(pebble, tls(`127.0.0.1:${pebble.tlsPort}`)))
  const reply = await postCsr(right.signUrl, csr)
  assert.equal(reply.status, 200, reply.text)
})

test('a name that means nothing here, self-check = no, and a name that means another host here', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
  const http = `type = http01\nlistener = 127.0.0.1:${pebble.httpPort}\n`
  await using stranger = await serve(createHttp((_, response) => response.writeHead(404).end()))
  for (const more of [
    '',
    `self-check = no\nself-check-address = 127.0.0.1:${stranger.port}\n`,
    `resolver = 127.0.0.1:${pebble.dnsPort}\n`,
    `resolver = 127.0.0.1:${await freePort()}\n`,
    `self-check-address = 127.0.0.1:${await freePort()}\n`,
  ]) {
    await using acmems = await startAcmems(configuration(pebble, http + more))
    const startedMs = performance.now()
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.example.test'] }))
    assert.equal(reply.status, 200, reply.text)
    assert.ok(performance.now() - startedMs < 8000)
  }
})
