// What a server serves, compared with what was issued: real nginx, its mail proxy with STARTTLS, openssl s_server.
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { describePlace, type ProbePlace, placesOf } from '../src/probe/probe-place.ts'
import { parseProbeTarget } from '../src/probe/probe-target.ts'
import { createProber } from '../src/probe/prober.ts'
import { type Leaf, makeLeaf } from './leaf-certificates.ts'
import { makeTempFolder } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { startNginx } from './peers/web-servers.ts'

const dayMs = 24 * 3_600_000
const signal = new AbortController().signal
const probe = createProber({ signal })

const at = (port: number, serverName: string | undefined, scheme: ProbePlace['scheme'] = 'tls'): ProbePlace => ({
  ...{ scheme, host: '127.0.0.1', port, serverName },
})
const files = ({ certificateFile, keyFile }: Leaf) =>
  `ssl_certificate ${certificateFile}; ssl_certificate_key ${keyFile};`

test('places are read, and written as they are read', () => {
  const read = (text: string, names = ['www.example.org', 'example.org'], callers: string[] = []) => {
    const target = parseProbeTarget(text)
    return target === 'no'
      ? 'no'
      : placesOf(target, names, callers).map((place) => [describePlace(place), place.serverName])
  }
  const name = 'www.example.org'
  assert.deepEqual(read('example.org:443'), [['example.org:443', 'example.org']])
  assert.deepEqual(read('192.0.2.7:8443'), [[`${name}@192.0.2.7:8443`, name]])
  assert.deepEqual(read('[2001:db8::1]:443'), [[`${name}@[2001:db8::1]:443`, name]])
  assert.deepEqual(read('smtp://mail.example.org'), [[`smtp://${name}@mail.example.org:25`, name]])
  assert.deepEqual(read('a.example@192.0.2.7:443'), [['a.example@192.0.2.7:443', 'a.example']])
  assert.deepEqual(read('yes'), [
    ['www.example.org:443', name],
    ['example.org:443', 'example.org'],
  ])
  assert.deepEqual(read('imap://:1143', [name]), [[`imap://${name}:1143`, name]])
  assert.deepEqual(read('caller:443', [name], ['192.0.2.7', '2001:db8::7', 'this machine']), [
    [`${name}@192.0.2.7:443`, name],
    [`${name}@[2001:db8::7]:443`, name],
  ])
  assert.equal(read('no'), 'no')
  // Addresses are asked for without a name; a wildcard is the name of no host, but of those below it.
  assert.deepEqual(read('192.0.2.7:443', ['192.0.2.7']), [['192.0.2.7:443', undefined]])
  assert.deepEqual(read('yes', ['*.example.org']), [])
  assert.deepEqual(read('a.example.org:443', ['*.example.org']), [['a.example.org:443', 'a.example.org']])
  assert.deepEqual(read('192.0.2.7:443', ['*.example.org']), [['www.example.org@192.0.2.7:443', 'www.example.org']])
  for (const text of [
    '',
    'www.example.org',
    'ftp://a:21',
    'a:0',
    'a:70000',
    '[a]:1',
    'https://a/',
    'a b:1',
    '[1.2.3.4]:1',
  ])
    assert.throws(() => parseProbeTarget(text), Error, text)
})

test('nginx: the newest, an older one, another name, a key of the other kind, a client certificate wanted', async (t) => {
  if (!requirePeer(t, 'nginx') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('probe')
  const older = makeLeaf(folder.path, 'older', 'DNS:www.example.org', 'ec', new Date(Date.now() - 20 * dayMs))
  const newer = makeLeaf(folder.path, 'newer', 'DNS:www.example.org', 'ec', new Date(Date.now() - dayMs))
  const rsa = makeLeaf(folder.path, 'rsa', 'DNS:www.example.org', 'rsa', new Date(Date.now() - 2 * dayMs))
  const other = makeLeaf(folder.path, 'other', 'DNS:other.example.org')
  const address = makeLeaf(folder.path, 'address', 'IP:127.0.0.1,IP:2001:db8::1')
  const [a, b, c, d, e] = [await freePort(), await freePort(), await freePort(), await freePort(), await freePort()]
  await using _ = await startNginx(
    `server { listen 127.0.0.1:${a} ssl default_server; server_name _; ${files(other)} }
server { listen 127.0.0.1:${a} ssl; server_name www.example.org; ${files(newer)} }
server { listen 127.0.0.1:${b} ssl; ${files(older)} }
server { listen 127.0.0.1:${c} ssl; ${files(newer)} ${files(rsa)} }
server { listen 127.0.0.1:${d} ssl; ${files(newer)} ssl_protocols TLSv1.2; ssl_verify_client on; ssl_client_certificate ${newer.certificateFile}; }
server { listen 127.0.0.1:${e} ssl; ${files(address)} }`,
    { httpPort: a, alsoPorts: [b, c, d, e] },
  )
  const name = 'www.example.org'
  const good = await probe(at(a, name), newer.expected)
  assert.deepEqual([good.verdict, good.serial, good.address], ['newest', newer.expected.serial, '127.0.0.1'])
  const old = await probe(at(b, name), newer.expected)
  assert.deepEqual([old.verdict, old.serial], ['older', older.expected.serial])
  assert.match(old.reason ?? '', /^an older certificate, serial [0-9A-F]+, good until 20/)
  assert.equal((await probe(at(b, name), older.expected)).verdict, 'newest')
  const foreign = await probe(at(a, name), older.expected)
  assert.deepEqual([foreign.verdict, /newer .* not come from here/.test(foreign.reason ?? '')], ['other', true])
  const also = { ...older.expected, alsoSerials: [newer.expected.serial] }
  assert.equal((await probe(at(a, name), also)).verdict, 'newest')
  const wrongName = await probe(at(a, 'nobody.example.org'), newer.expected)
  assert.deepEqual([wrongName.verdict, /"other.example.org"/.test(wrongName.reason ?? '')], ['other', true])
  for (const leaf of [newer, rsa]) assert.equal((await probe(at(c, name), leaf.expected)).verdict, 'newest')
  assert.equal((await probe(at(d, name), newer.expected)).verdict, 'newest')
  assert.equal((await probe(at(e, undefined), address.expected)).verdict, 'newest')
  // A name with two addresses is as bad as the worse of them; one that does not answer does not count.
  const host = { ...at(b, name), host: 'www.example.org' }
  const both = createProber({ signal, findAddresses: async () => ['127.0.0.2', '127.0.0.1'] })
  assert.equal((await both(host, newer.expected)).verdict, 'older')
  // Without the whole certificate the serial says it.
  const { sha256: __, ...bySerial } = newer.expected
  assert.deepEqual(
    [(await probe(at(a, name), bySerial)).verdict, (await probe(at(b, name), bySerial)).verdict],
    ['newest', 'older'],
  )
})

test('STARTTLS: the mail proxy of nginx speaks smtp, imap and pop3', async (t) => {
  if (!requirePeer(t, 'nginx') || !requirePeer(t, 'ngx_mail_module.so') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('probe')
  const leaf = makeLeaf(folder.path, 'mail', 'DNS:mail.example.org')
  const ports = { http: await freePort(), smtp: await freePort(), imap: await freePort(), pop3: await freePort() }
  const server = (protocol: 'smtp' | 'imap' | 'pop3', starttls: string) =>
    `server { listen 127.0.0.1:${ports[protocol]}; protocol ${protocol}; starttls ${starttls}; ${files(leaf)} }`
  for (const starttls of ['on', 'off']) {
    await using _ = await startNginx(`server { listen 127.0.0.1:${ports.http}; }`, {
      httpPort: ports.http,
      alsoPorts: [ports.smtp, ports.imap, ports.pop3],
      mail: `mail { server_name mail.example.org; auth_http 127.0.0.1:1/;\n${(['smtp', 'imap', 'pop3'] as const).map((protocol) => server(protocol, starttls)).join('\n')} }`,
    })
    for (const scheme of ['smtp', 'imap', 'pop3'] as const) {
      const { verdict, reason } = await probe(at(ports[scheme], 'mail.example.org', scheme), leaf.expected)
      assert.equal(verdict, starttls === 'on' ? 'newest' : 'unreachable', `${scheme}: ${reason}`)
      if (starttls === 'off') assert.match(reason ?? '', /the server answers ".*" before TLS begins/)
    }
  }
})

test('what does not answer, says nothing, or says too much is unreachable, and soon', async () => {
  const talkers: Record<string, (server: Server) => void> = {
    'garbage instead of TLS': (server) =>
      server.on('connection', (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    'hangs up': (server) => server.on('connection', (socket) => socket.destroy()),
  }
  const smtp: Record<string, (server: Server) => void> = {
    'endless greeting': (server) =>
      server.on('connection', (socket) => {
        socket.on('error', () => undefined)
        const flood = () => {
          while (!socket.destroyed && socket.write('220-'.padEnd(1000, 'x'))) {}
        }
        socket.on('drain', flood)
        flood()
      }),
    'more than go ahead': (server) =>
      server.on('connection', (socket) => {
        socket.on('error', () => undefined)
        socket.write('220 mail\r\n')
        socket.on('data', (chunk) =>
          socket.write(/EHLO/.test(String(chunk)) ? '250-a\r\n250 STARTTLS\r\n' : '220 go\r\n250 ok\r\n'),
        )
      }),
  }
  const expected = { names: ['a.example'], serial: '01', notBeforeMs: 0 }
  for (const [table, scheme] of [
    [talkers, 'tls'],
    [smtp, 'smtp'],
  ] as const)
    for (const [what, talk] of Object.entries(table)) {
      const server = createServer((socket) => socket.on('error', () => undefined))
      talk(server)
      const port = await new Promise<number>((resolve) => {
        server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
      })
      const { verdict, reason } = await probe(at(port, 'a.example', scheme), expected)
      assert.equal(verdict, 'unreachable', what)
      assert.ok((reason?.length ?? 0) > 5, what)
      server.close()
    }
  assert.deepEqual(await probe(at(await freePort(), undefined), expected), {
    ...{ verdict: 'unreachable', reason: 'connection refused', address: '127.0.0.1' },
  })
  const silent = createServer((socket) => socket.on('error', () => undefined).resume())
  const port = await new Promise<number>((resolve) => {
    silent.listen(0, '127.0.0.1', () => resolve((silent.address() as { port: number }).port))
  })
  const stopping = new AbortController()
  const stopped = createProber({ signal: stopping.signal })(at(port, 'a.example'), expected)
  await sleep(100)
  stopping.abort()
  assert.deepEqual((await stopped).reason, 'no answer in time')
  silent.close()
})

test('LDAP begins TLS by an extended request', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('probe')
  const { readFileSync } = await import('node:fs')
  const { TLSSocket } = await import('node:tls')
  const leaf = makeLeaf(folder.path, 'ldap', 'DNS:ldap.example.org')
  let asked = ''
  let resultCode = 0
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (chunk) => {
      asked = chunk.toString('latin1')
      socket.write(Buffer.from([0x30, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, resultCode, 4, 0, 4, 0]))
      if (resultCode !== 0) return
      const tls = new TLSSocket(socket, {
        isServer: true,
        cert: readFileSync(leaf.certificateFile),
        key: readFileSync(leaf.keyFile),
      })
      tls.on('error', () => undefined)
    })
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
  assert.equal((await probe(at(port, 'ldap.example.org', 'ldap'), leaf.expected)).verdict, 'newest')
  assert.match(asked, /1\.3\.6\.1\.4\.1\.1466\.20037$/)
  resultCode = 2
  const refused = await probe(at(port, 'ldap.example.org', 'ldap'), leaf.expected)
  assert.deepEqual([refused.verdict, refused.reason], ['unreachable', 'the LDAP server does not begin TLS'])
  server.close()
})
