// docs/reverse-proxies.md, block by block: the real web servers with exactly what is shown there, other addresses apart.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, request as httpRequest, type RequestOptions, type Server } from 'node:http'
import { createServer as createSecureServer, request as httpsRequest } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Acmems, accountAt, startAcmems } from './acmems.ts'
import { checkout, readSnippet, readSnippets } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { freePort, type PeerName, requirePeer } from './peers/peers.ts'
import { makeTlsIdentity, type TlsIdentity } from './peers/tls-identity.ts'
import { startApache, startHaproxy, startNginx, type WebServer } from './peers/web-servers.ts'

const document = 'docs/reverse-proxies.md'

const webServers = {
  nginx: { peer: 'nginx', start: startNginx },
  apache: { peer: 'apache2', start: startApache },
  haproxy: { peer: 'haproxy', start: startHaproxy },
} as const satisfies Record<string, { peer: PeerName; start: unknown }>
type Kind = keyof typeof webServers
const kinds = ['nginx', 'apache', 'haproxy'] as const

function requireAll(t: TestContext, ...names: readonly PeerName[]): boolean {
  return names.every((name) => requirePeer(t, name) !== undefined)
}

/** A block of the document at other addresses; each of them must stand there, and none may be forgotten. */
function adapt(mark: string, changes: Readonly<Record<string, string>>): string {
  const adapted = Object.entries(changes).reduce(
    (text, [from, to]) => {
      assert.ok(text.includes(from), `"${mark}" does not say ${from}`)
      return text.replaceAll(from, to)
    },
    readSnippet(document, mark),
  )
  assert.doesNotMatch(adapted, /192\.0\.2\.|:::|\[::\]|\/etc\//, 'something of the document is left')
  return adapted
}

/** Where each one listens, as it is written there. */
function listenAt(kind: Kind, port: 80 | 443, ownPort: number): Record<string, string> {
  const own = `127.0.0.1:${ownPort}`
  const more = port === 443 ? ' ssl' : ' default_server'
  if (kind === 'nginx')
    return { [`listen ${port}${more}`]: `listen ${own}${more}`, [`listen [::]:${port}${more};`]: '' }
  return kind === 'apache' ? { [`*:${port}`]: own } : { [`bind :::${port} v4v6`]: `bind ${own}` }
}

type Reply = { readonly status: number; readonly text: string; readonly location: string | undefined }

function ask(send: typeof httpRequest, options: RequestOptions, body?: string | readonly string[]): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = send({ agent: false, host: '127.0.0.1', ...options }, (response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += String(chunk)
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, location: response.headers.location }))
    })
    outgoing.on('error', reject)
    // Several pieces have no length that is known beforehand, so they go as chunks.
    if (typeof body === 'object') for (const piece of body) outgoing.write(piece)
    outgoing.end(typeof body === 'string' ? body : undefined)
  })
}

test('every block is tested here', () => {
  const shown = readFileSync(join(checkout, document), 'utf8').match(/```(nginx|apache|haproxy)\n/g)
  const marks = readSnippets(document).map(({ mark }) => mark)
  const here = [
    ...kinds.flatMap((kind) => [`${kind} challenges`, `${kind} sign`]),
    'nginx two acmems',
    'haproxy two acmems',
    'nginx tls-alpn',
    'haproxy tls-alpn',
  ]
  assert.deepEqual(marks.filter((mark) => mark !== 'configuration').sort(), here.sort())
  assert.equal(shown?.length, here.length)
})

// validation -------------------------------------------------------------------------------------

type Seen = { readonly path: string; readonly host: string; readonly status: number }

/** Stands between a web server and a responder, and remembers what the one asked and the other said. */
async function startRelay(
  targetPort: number,
  port = 0,
): Promise<AsyncDisposable & { readonly port: number; readonly seen: Seen[] }> {
  const seen: Seen[] = []
  const server: Server = createServer((incoming, outgoing) => {
    const { url = '', method = '', headers } = incoming
    const onward = httpRequest(
      { host: '127.0.0.1', port: targetPort, path: url, method, headers, agent: false },
      (answer) => {
        seen.push({ path: url, host: headers.host ?? '', status: answer.statusCode ?? 0 })
        outgoing.writeHead(answer.statusCode ?? 0, answer.headers)
        answer.pipe(outgoing)
      },
    )
    onward.on('error', () => outgoing.destroy())
    onward.end()
  })
  await new Promise<void>((ready) => server.listen(port, '127.0.0.1', ready))
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done())
      server.closeAllConnections()
    })
  return { port: (server.address() as AddressInfo).port, seen, [Symbol.asyncDispose]: close }
}

function startServerAt(pebble: Pebble, responderPort: number): Promise<Acmems> {
  return startAcmems(`[account]
acme-server = ${pebble.directoryUrl}
accept-terms-of-service = yes
ca-file = ${pebble.caFile}
[verification "http"]
type = http01
listener = 127.0.0.1:${responderPort}
[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
`)
}

async function assertIssued(acmems: Acmems, names: readonly string[]): Promise<void> {
  const reply = await postCsr(acmems.signUrl, makeCsr({ names }))
  assert.equal(reply.status, 200, reply.text + acmems.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), names.map((name) => `DNS:${name}`).sort())
}

for (const kind of kinds) {
  test(`${kind}: Pebble validates through it, and everything else goes where it should`, async (t) => {
    const { peer, start } = webServers[kind]
    if (!requireAll(t, 'pebble', 'pebble-challtestsrv', 'openssl', peer)) return
    const [httpPort, responderPort] = [await freePort(), await freePort()]
    await using pebble = await startPebble({ httpPort, authzReuse: 0 })
    await using acmems = await startServerAt(pebble, responderPort)
    await using relay = await startRelay(responderPort)
    const changes = { '192.0.2.10:1380': `127.0.0.1:${relay.port}`, ...listenAt(kind, 80, httpPort) }
    await using web = await start(adapt(`${kind} challenges`, changes), { httpPort })
    await assertIssued(acmems, ['www.example.test', 'example.org.example.test'])
    assert.ok(relay.seen.length >= 2 && relay.seen.every(({ status }) => status === 200), web.log())
    assert.deepEqual([...new Set(relay.seen.map(({ host }) => host.replace(/:\d+$/, '')))].sort(), [
      'example.org.example.test',
      'www.example.test',
    ])
    const unknown = await ask(httpRequest, { port: httpPort, path: '/.well-known/acme-challenge/unknown' })
    assert.deepEqual([unknown.status, unknown.text], [404, 'not found\n'])
    const page = await ask(httpRequest, { port: httpPort, path: '/page?x=1', headers: { host: 'www.example.org' } })
    assert.deepEqual([page.status, page.location], [301, 'https://www.example.org/page?x=1'])
  })
}

/** Two acmems, each with an account and a state of its own, behind one web server. */
async function startTwo(kind: 'nginx' | 'haproxy', change = (snippet: string) => snippet) {
  await using stack = new AsyncDisposableStack()
  const httpPort = await freePort()
  const pebble = stack.use(await startPebble({ httpPort, authzReuse: 0 }))
  const ports = [await freePort(), await freePort()] as const
  const [one, two] = await Promise.all(ports.map((port) => startServerAt(pebble, port)))
  assert.ok(one !== undefined && two !== undefined)
  stack.use(one)
  stack.use(two)
  const relays = [stack.use(await startRelay(ports[0])), stack.use(await startRelay(ports[1]))] as const
  const web = stack.use(await startInFrontOfTwo(kind, httpPort, [relays[0].port, relays[1].port], change))
  const owned = stack.move()
  return { one, two, relays, web, httpPort, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

function startInFrontOfTwo(
  kind: 'nginx' | 'haproxy',
  httpPort: number,
  ports: readonly [number, number],
  change = (snippet: string) => snippet,
): Promise<WebServer> {
  const backends = { '192.0.2.10:1380': `127.0.0.1:${ports[0]}`, '192.0.2.11:1380': `127.0.0.1:${ports[1]}` }
  if (kind === 'nginx') {
    const snippet = adapt('nginx two acmems', { ...backends, ...listenAt('nginx', 80, httpPort) })
    return startNginx(change(snippet), { httpPort })
  }
  // The document shows only what is different: the frontend is the one for a single acmems.
  const single = adapt('haproxy challenges', { ...listenAt('haproxy', 80, httpPort), '192.0.2.10': '127.0.0.1' })
  const frontend = single.slice(0, single.indexOf('\nbackend ') + 1)
  return startHaproxy(change(`${frontend}${adapt('haproxy two acmems', backends)}`), { httpPort })
}

for (const kind of ['nginx', 'haproxy'] as const) {
  test(`two acmems behind one ${kind}: each gets certificates while the other says 404`, async (t) => {
    if (!requireAll(t, 'pebble', 'pebble-challtestsrv', 'openssl', webServers[kind].peer)) return
    await using world = await startTwo(kind)
    const { one, two, relays } = world
    for (const [acmems, own, other] of [
      [one, relays[0], relays[1]],
      [two, relays[1], relays[0]],
    ] as const) {
      const before = { own: own.seen.length, other: other.seen.length }
      await assertIssued(acmems, ['a.example.test', 'b.example.test'])
      const ownStatuses = new Set(own.seen.slice(before.own).map(({ status }) => status))
      const otherStatuses = new Set(other.seen.slice(before.other).map(({ status }) => status))
      assert.deepEqual([[...ownStatuses], [...otherStatuses]], [[200], [404]], 'the other was asked, and did not know')
    }
    await Promise.all([assertIssued(one, ['c.example.test']), assertIssued(two, ['c.example.test'])])
    const unknown = await ask(httpRequest, { port: world.httpPort, path: '/.well-known/acme-challenge/unknown' })
    assert.deepEqual([unknown.status, unknown.text], [404, 'not found\n'])
  })
}

test('two acmems behind one nginx that does not ask the other: no certificate', async (t) => {
  if (!requireAll(t, 'pebble', 'pebble-challtestsrv', 'openssl', 'nginx')) return
  await using world = await startTwo('nginx', (snippet) => snippet.replace(' http_404', ''))
  const reply = await postCsr(world.one.signUrl, makeCsr({ names: ['a.example.test', 'b.example.test'] }))
  assert.equal(reply.status, 421, reply.text)
})

for (const kind of ['nginx', 'haproxy'] as const) {
  test(`${kind}: one of two that was away for a moment is asked again at once`, async (t) => {
    if (!requireAll(t, webServers[kind].peer)) return
    const know = (answers: Readonly<Record<string, string>>) =>
      createServer(({ url = '' }, response) => {
        response.statusCode = answers[url] === undefined ? 404 : 200
        response.end(answers[url] ?? 'not found\n')
      })
    const path = '/.well-known/acme-challenge/token'
    const [first, second] = [know({ [path]: 'answer' }), know({})]
    await using stack = new AsyncDisposableStack()
    const ports = [await freePort(), await freePort()] as const
    const listen = (server: Server, port: number) =>
      new Promise<void>((ready) => server.listen(port, '127.0.0.1', ready))
    const close = (server: Server) =>
      new Promise<void>((done) => {
        server.close(() => done())
        server.closeAllConnections()
      })
    await listen(second, ports[1])
    stack.defer(() => close(second))
    const httpPort = await freePort()
    stack.use(await startInFrontOfTwo(kind, httpPort, ports))
    for (let i = 0; i < 4; i++) assert.notEqual((await ask(httpRequest, { port: httpPort, path })).status, 200)
    await listen(first, ports[0])
    stack.defer(() => close(first))
    for (let i = 0; i < 4; i++) assert.equal((await ask(httpRequest, { port: httpPort, path })).text, 'answer')
  })
}

// validation by TLS ------------------------------------------------------------------------------

for (const kind of ['nginx', 'haproxy'] as const) {
  test(`${kind}: Pebble validates by acme-tls/1 through it, and other TLS goes to the web server`, async (t) => {
    const more = kind === 'nginx' ? (['ngx_stream_module.so'] as const) : []
    if (!requireAll(t, 'pebble', 'pebble-challtestsrv', 'openssl', webServers[kind].peer, ...more)) return
    using folder = makeTempFolder('proxy')
    const identity = await makeTlsIdentity(folder.path)
    const tls = { cert: readFileSync(identity.certificateFile), key: readFileSync(identity.keyFile) }
    const website = createSecureServer(tls, ({ headers }, response) => response.end(`the page of ${headers.host}`))
    await new Promise<void>((ready) => website.listen(0, '127.0.0.1', ready))
    await using stack = new AsyncDisposableStack()
    stack.defer(() => {
      website.close()
    })
    const [tlsPort, responderPort] = [await freePort(), await freePort()]
    const changes = {
      '192.0.2.10:13443': `127.0.0.1:${responderPort}`,
      '127.0.0.1:8443': `127.0.0.1:${(website.address() as AddressInfo).port}`,
      ...(kind === 'nginx'
        ? { 'listen 443;': `listen 127.0.0.1:${tlsPort};`, 'listen [::]:443;': '' }
        : { 'bind :::443 v4v6': `bind 127.0.0.1:${tlsPort}` }),
    }
    const snippet = adapt(`${kind} tls-alpn`, changes)
    stack.use(
      kind === 'nginx'
        ? await startNginx('', { httpPort: tlsPort, stream: snippet })
        : await startHaproxy(snippet, { httpPort: tlsPort }),
    )
    const pebble = stack.use(await startPebble({ tlsPort, authzReuse: 0 }))
    const acmems = stack.use(
      await startAcmems(
        `${accountAt(pebble)}[verification "tls"]\ntype = tlsalpn01\nlistener = 127.0.0.1:${responderPort}\nself-check-address = 127.0.0.1:${tlsPort}\n[auth "all of it"]\nip = 127.0.0.0/8\ndomain = **.example.test\n`,
      ),
    )
    await assertIssued(acmems, ['www.example.test', 'b.example.test'])
    const page = await ask(httpsRequest, {
      ...{ port: tlsPort, path: '/', headers: { host: 'www.example.test' }, servername: 'www.example.test' },
      rejectUnauthorized: false,
    } as RequestOptions)
    assert.deepEqual([page.status, page.text], [200, 'the page of www.example.test'])
  })
}

// POST /sign -------------------------------------------------------------------------------------

const configuration =
  readSnippets(document).find(({ mark, text }) => mark === 'configuration' && text.includes('[mgmt]'))?.text ?? ''

/** The document's configuration, where one address of this machine is the hosts' network. */
function signConfiguration(change = (text: string) => text): string {
  assert.match(configuration, /^listener = 127\.0\.0\.1:1313\ntrusted-proxy = 127\.0\.0\.1\n/m)
  const own = configuration.replace(/^listener = .*\n/m, '').replace('192.0.2.0/24', '127.0.0.2')
  return `[account]\ntype = local\n${change(own)}`
}

function startInFrontOfSign(
  kind: Kind,
  tlsPort: number,
  mgmtPort: number,
  identity: TlsIdentity,
  folder: string,
): Promise<WebServer> {
  const own = { '127.0.0.1:1313': `127.0.0.1:${mgmtPort}` }
  const listen = listenAt(kind, 443, tlsPort)
  if (kind === 'haproxy') {
    const both = join(folder, 'both.pem')
    writeFileSync(both, readFileSync(identity.certificateFile, 'utf8') + readFileSync(identity.keyFile, 'utf8'))
    return startHaproxy(adapt('haproxy sign', { ...own, ...listen, '/etc/haproxy/acmems.pem': both }), {
      httpPort: tlsPort,
    })
  }
  const files = {
    '/etc/ssl/acmems/fullchain.pem': identity.certificateFile,
    '/etc/ssl/acmems/key.pem': identity.keyFile,
  }
  return webServers[kind].start(adapt(`${kind} sign`, { ...own, ...listen, ...files }), { httpPort: tlsPort })
}

const csr = makeCsr({ names: ['www.example.org'] })

for (const kind of kinds) {
  test(`${kind} with TLS: the host's own address decides, whatever it writes about itself`, async (t) => {
    if (!requireAll(t, 'openssl', webServers[kind].peer)) return
    using folder = makeTempFolder('proxy')
    const identity = await makeTlsIdentity(folder.path)
    await using acmems = await startAcmems(signConfiguration())
    const tlsPort = await freePort()
    await using web = await startInFrontOfSign(kind, tlsPort, acmems.mgmtPort, identity, folder.path)
    const ca = readFileSync(identity.caFile, 'utf8')
    const post = (
      localAddress: string,
      headers: Record<string, string> = {},
      body: string | readonly string[] = csr,
      path = '/sign',
    ) => ask(httpsRequest, { port: tlsPort, method: 'POST', path, localAddress, headers, ...{ ca } }, body)

    const issued = await post('127.0.0.2')
    assert.equal(issued.status, 200, issued.text + web.log() + acmems.log())
    assert.deepEqual(namesOf(certificatesOf(issued.text)[0]), ['DNS:www.example.org'])
    const stranger = await post('127.0.0.3')
    assert.equal(stranger.status, 403)
    assert.match(stranger.text, /127\.0\.0\.3/, 'it is told which address was seen')
    for (const forged of ['127.0.0.2', '127.0.0.2, 127.0.0.2', '127.0.0.2, 127.0.0.1', ', 127.0.0.2', 'unknown']) {
      assert.equal((await post('127.0.0.3', { 'x-forwarded-for': forged })).status, 403, forged)
      assert.equal((await post('127.0.0.2', { 'x-forwarded-for': forged })).status, 200, forged)
    }
    for (const name of ['x-real-ip', 'forwarded', 'x-client-ip', 'true-client-ip']) {
      const value = name === 'forwarded' ? 'for=127.0.0.2' : '127.0.0.2'
      assert.equal((await post('127.0.0.3', { [name]: value })).status, 403, name)
    }

    // What acmems says comes through as it is.
    const unreadable = await post('127.0.0.2', {}, 'no request')
    assert.equal(unreadable.status, 415)
    assert.match(unreadable.text, /^this is no certificate request/)
    const large = await post('127.0.0.2', {}, 'x'.repeat(5000))
    assert.deepEqual([large.status, /max-size/.test(large.text)], [413, true], large.text)
    const chunked = await post('127.0.0.2', {}, [csr.slice(0, 100), csr.slice(100)])
    assert.equal(chunked.status, kind === 'haproxy' ? 411 : 200, 'as the document says')
    for (const path of ['/', '/other']) assert.equal((await post('127.0.0.2', {}, csr, path)).status, 404, path)
  })
}

test('the proxies wait longer than acmems does', () => {
  const waits = {
    nginx: [/proxy_read_timeout (\d+)s/],
    apache: [/timeout=(\d+)/],
    haproxy: [/timeout server (\d+)s/, /timeout client (\d+)s/],
  }
  for (const kind of kinds) {
    for (const wait of waits[kind])
      assert.ok(Number(wait.exec(readSnippet(document, `${kind} sign`))?.[1]) >= 150, kind)
  }
})

/** Posts to acmems itself from an address, with headers as a proxy there would write them. */
function postAs(acmems: Acmems, localAddress: string, forwardedFor: string | string[] | undefined): Promise<Reply> {
  const headers = forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor }
  return ask(httpRequest, { port: acmems.mgmtPort, method: 'POST', path: '/sign', localAddress, headers }, csr)
}

test('past the proxy, nobody is believed', async () => {
  await using acmems = await startAcmems(signConfiguration())
  assert.equal((await postAs(acmems, '127.0.0.2', undefined)).status, 200)
  assert.equal((await postAs(acmems, '127.0.0.3', undefined)).status, 403)
  assert.equal((await postAs(acmems, '127.0.0.3', '127.0.0.2')).status, 403, 'a forged header')
  assert.equal((await postAs(acmems, '127.0.0.2', '127.0.0.3')).status, 200, 'only the own address counts')
})

test('of a chain of proxies, the rightmost hop that is none of them is the client', async () => {
  const chain = (text: string) =>
    text.replace('trusted-proxy = 127.0.0.1', 'trusted-proxy = 127.0.0.1\ntrusted-proxy = 127.0.1.0/24')
  await using acmems = await startAcmems(signConfiguration(chain))
  const expected: readonly (readonly [forwardedFor: string | string[], status: number])[] = [
    ['127.0.0.2', 200],
    ['127.0.0.2, 127.0.1.7', 200],
    ['127.0.0.3, 127.0.0.2, 127.0.1.7, 127.0.1.8', 200],
    ['127.0.0.2,127.0.0.3,127.0.1.7', 403],
    ['127.0.0.2, 127.0.0.3', 403],
    [['127.0.0.3', '127.0.0.2'], 200],
    [['127.0.0.2', '127.0.0.3'], 403],
    ['::ffff:127.0.0.2', 200],
    ['127.0.0.2, unknown', 403],
    ['127.0.0.2, _hidden, 127.0.1.7', 403],
    ['127.0.0.2,', 403],
    ['', 403],
  ]
  for (const [forwardedFor, status] of expected)
    assert.equal((await postAs(acmems, '127.0.0.1', forwardedFor)).status, status, JSON.stringify(forwardedFor))
})

test('without trusted-proxy everybody behind the proxy is the proxy', async () => {
  await using acmems = await startAcmems(signConfiguration((text) => text.replace(/^trusted-proxy.*\n/m, '')))
  assert.equal((await postAs(acmems, '127.0.0.1', '127.0.0.2')).status, 403)
  await using open = await startAcmems(
    signConfiguration((text) => text.replace(/^trusted-proxy.*\n/m, '').replace('ip = 127.0.0.2', 'ip = 127.0.0.1')),
  )
  assert.equal((await postAs(open, '127.0.0.1', '127.0.0.9')).status, 200, 'as the document warns')
})

test('a unix socket has no address, whatever is written', async () => {
  using folder = makeTempFolder('socket')
  const path = join(folder.path, 'mgmt.sock')
  await using _ = await startAcmems(
    signConfiguration((text) => text.replace('[mgmt]\n', `[mgmt]\nlistener = unix:${path}\n`)),
  )
  const socket = connect(path)
  socket.end(
    `POST /sign HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.2\r\nContent-Length: ${csr.length}\r\nConnection: close\r\n\r\n${csr}`,
  )
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  assert.match(answer, /^HTTP\/1\.1 403 /)
})
