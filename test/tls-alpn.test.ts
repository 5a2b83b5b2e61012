// tls-alpn-01 (RFC 8737): Pebble validates by it, and whoever asks for anything else is shown nothing.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { connect as connectTcp } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { reverseName } from '../src/acme/reverse-name.ts'
import { systemClock } from '../src/clock.ts'
import type { Listener } from '../src/http/listener.ts'
import { createChallengeCertificates } from '../src/responder/challenge-certificates.ts'
import { openTlsAlpnListener } from '../src/responder/tls-alpn-responder.ts'
import { acmeIdentifierDigest, readAcmeIdentifier } from '../src/x509/acme-identifier.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { freePort, requireIpv6, requirePeer } from './peers/peers.ts'

function configuration(pebble: Pebble, listener: string): string {
  return `${accountAt(pebble)}[verification "tls"]
type = tlsalpn01
listener = ${listener}
[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
ip-address = 127.0.0.0/8
ip-address = ::1
`
}

test('Pebble validates names and addresses by tls-alpn-01, two orders for one name take turns', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble({ authzReuse: 0 })
  await using acmems = await startAcmems(
    configuration(pebble, `127.0.0.1:${pebble.tlsPort}\nlistener = [::1]:${pebble.tlsPort}`),
  )
  const names = ['www.example.test', 'a.b.example.test']
  const reply = await postCsr(acmems.signUrl, makeCsr({ names }))
  assert.equal(reply.status, 200, reply.text + acmems.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), names.map((name) => `DNS:${name}`).sort())

  await t.test('addresses', async (part) => {
    if (!requireIpv6(part)) return
    const both = await postCsr(acmems.signUrl, makeCsr({ addresses: ['127.0.0.1', '::1'] }))
    assert.equal(both.status, 200, both.text + pebble.log())
    assert.deepEqual(namesOf(certificatesOf(both.text)[0]), ['IP Address:0:0:0:0:0:0:0:1', 'IP Address:127.0.0.1'])
  })

  const twice = await Promise.all(
    ['1', '2', '3'].map((one) =>
      postCsr(acmems.signUrl, makeCsr({ names: [`${one}.example.test`, 'same.example.test'] })),
    ),
  )
  for (const { status, text } of twice) assert.equal(status, 200, text)

  const wildcard = await postCsr(acmems.signUrl, makeCsr({ names: ['*.example.test'] }))
  assert.notEqual(wildcard.status, 200)
  // Nothing is left to be shown.
  const refused = await handshake(pebble.tlsPort, { servername: 'www.example.test', ALPNProtocols: ['acme-tls/1'] })
  assert.match(String(refused), /unrecognized name/i)
})

test('two servers on one state: one makes the order, the other is asked', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble()
  await using shown = await startAcmems(configuration(pebble, `127.0.0.1:${pebble.tlsPort}`))
  const state = `[state]\nurl = sqlite:${shown.folder}/state/state.db\n`
  const own = await freePort()
  await using ordering = await startAcmems(
    `${state}${configuration(pebble, `127.0.0.1:${own}`).replace('[account]', `[account]\ndir = ${shown.folder}/state/account`)}`,
  )
  const reply = await postCsr(ordering.signUrl, makeCsr({ names: ['www.example.test'] }))
  assert.equal(reply.status, 200, reply.text + ordering.log())
})

type Wish = { readonly servername?: string; readonly ALPNProtocols?: string[]; readonly maxVersion?: 'TLSv1.2' }

/** The certificate that is shown, or the error that there is instead. */
function handshake(port: number, wish: Wish): Promise<X509Certificate | Error> {
  return new Promise((resolve) => {
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...wish }, () => {
      const der = socket.getPeerCertificate().raw
      assert.equal(socket.alpnProtocol, 'acme-tls/1')
      socket.destroy()
      resolve(new X509Certificate(der))
    })
    socket.on('error', resolve)
  })
}

describe('the responder alone', () => {
  const keyAuthorization = 'token.thumbprint'
  const asked: string[] = []
  let listener: Listener
  let port: number
  before(async () => {
    const random = (length: number) => crypto.getRandomValues(new Uint8Array(length))
    listener = await openTlsAlpnListener(
      '127.0.0.1:0',
      {
        async findShown({ host }) {
          asked.push(host)
          if (host === 'broken.example.org') throw new Error('the state is gone')
          return ['www.example.org', '192.0.2.1', '2001:db8::1'].includes(host) ? keyAuthorization : undefined
        },
        certificates: createChallengeCertificates({ clock: systemClock, randomBytes: random }),
        onError: () => undefined,
      },
      { maxConnections: 50, requestTimeoutMs: 1500 },
    )
    port = Number(listener.boundAddress.split(':').at(-1))
  })
  after(() => listener.close(0))

  for (const [servername, san] of [
    ['www.example.org', 'DNS:www.example.org'],
    ['WWW.example.ORG', 'DNS:www.example.org'],
    [reverseName('192.0.2.1'), 'IP Address:192.0.2.1'],
    [reverseName('2001:db8::1'), 'IP Address:2001:DB8:0:0:0:0:0:1'],
  ] as const) {
    test(`${servername} is shown the certificate for ${san}`, async () => {
      for (const version of [{}, { maxVersion: 'TLSv1.2' as const }]) {
        const certificate = await handshake(port, { servername, ALPNProtocols: ['acme-tls/1'], ...version })
        assert.ok(certificate instanceof X509Certificate, String(certificate))
        assert.equal(certificate.subjectAltName, san)
        assert.ok(certificate.verify(certificate.publicKey), 'self-signed')
        assert.equal(certificate.subject, certificate.issuer)
        assert.deepEqual(
          Buffer.from(readAcmeIdentifier(certificate.raw) ?? ''),
          Buffer.from(acmeIdentifierDigest(keyAuthorization)),
        )
        assert.ok(certificate.raw.includes(Buffer.from('06082b060105050701 1f0101ff0422'.replace(' ', ''), 'hex')))
      }
    })
  }

  const refused: readonly [string, Wish, RegExp][] = [
    ['no ALPN at all', { servername: 'www.example.org' }, /no application protocol/i],
    ['another protocol', { servername: 'www.example.org', ALPNProtocols: ['h2'] }, /no application protocol/i],
    ['one more protocol', { servername: 'www.example.org', ALPNProtocols: ['acme-tls/1', 'h2'] }, /no application/i],
    ['no server name', { ALPNProtocols: ['acme-tls/1'] }, /unrecognized name/i],
    ['another name', { servername: 'example.org', ALPNProtocols: ['acme-tls/1'] }, /unrecognized name/i],
    ['another address', { servername: reverseName('192.0.2.2'), ALPNProtocols: ['acme-tls/1'] }, /unrecognized name/i],
    ['an address as a name', { servername: '192.0.2.999', ALPNProtocols: ['acme-tls/1'] }, /unrecognized name/i],
    ['a state that is gone', { servername: 'broken.example.org', ALPNProtocols: ['acme-tls/1'] }, /internal error/i],
  ]
  for (const [name, wish, alert] of refused) {
    test(`${name}: the handshake ends`, async () => {
      const before = asked.length
      const outcome = await handshake(port, wish)
      assert.match(outcome instanceof Error ? `${outcome.message}` : outcome.subject, alert)
      if (/protocol/.test(alert.source)) assert.equal(asked.length, before, 'nothing is looked up')
    })
  }

  const send = (octets: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      const socket = connectTcp(port, '127.0.0.1')
      const received: Buffer[] = []
      socket.on('data', (chunk) => received.push(chunk))
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(Buffer.concat(received)))
      socket.write(octets)
    })

  test('what is no TLS, or comes slowly, or never ends', async () => {
    assert.equal(
      (await send(Buffer.from('GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n'))).toString('hex'),
      '15030300020228',
    )
    assert.equal(
      (await send(Buffer.from('160301000501000001 00'.replace(' ', ''), 'hex'))).toString('hex'),
      '15030300020228',
    )
    assert.equal((await send(Buffer.from('1603010200', 'hex'))).length, 0, 'closed in time')
    assert.equal((await send(Buffer.alloc(0))).length, 0, 'closed in time')
    for (let length = 0; length < 200; length++) {
      const hello = Buffer.concat([Buffer.from([22, 3, 1, 0, length]), crypto.getRandomValues(Buffer.alloc(length))])
      if (length > 0) hello[5] = 1
      await send(hello)
    }
    const certificate = await handshake(port, { servername: 'www.example.org', ALPNProtocols: ['acme-tls/1'] })
    assert.ok(certificate instanceof X509Certificate, 'it goes on answering')
  })
})
