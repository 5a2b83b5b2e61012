// Signed dynamic updates at a real BIND and a real Knot, configured as the documents show, and Pebble that asks them.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { ProblemError } from '../src/acme/problem.ts'
import type { DnsProvider } from '../src/plugin-api.ts'
import { dnsUpdateProvider } from '../src/plugins/dns/dns-update.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { addForeignTxt, makeContext, noSetup, readValues, txtValues } from './dns-world.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeZone, startNamed } from './peers/bind.ts'
import { startKnot } from './peers/knot.ts'
import { startPebble } from './peers/pebble.ts'
import { type PeerName, requirePeer } from './peers/peers.ts'

const zone = 'example.org'
const fqdn = '_acme-challenge.www.example.org'
const secret = 'bm90LWEtcmVhbC1rZXktbWFrZS15b3VyLW93bg=='
const hour = 3_600_000

type Server = AsyncDisposable & { readonly port: number; log(): string }
type ServerKind = {
  readonly name: string
  readonly peer: PeerName
  /** Its answer to a key that may not do this. */
  readonly forbidden: RegExp
  start(): Promise<Server>
}

/** What the document shows, with the zone's file where the test has it. */
function configOf(mark: string): string {
  const text = readSnippet('docs/dns.md', mark)
  const here = text.replace(/\/var\/lib\/\w+\/example\.org\.zone/, 'example.org.zone')
  assert.notEqual(here, text)
  return here
}

const files = { 'example.org.zone': makeZone(zone) }
const kinds: readonly ServerKind[] = [
  {
    name: 'BIND',
    peer: 'named',
    forbidden: /answered REFUSED to the update of _acme-challenge\.mail\.example\.org in the zone example\.org/,
    start: () => startNamed({ config: configOf('BIND'), files }),
  },
  {
    name: 'Knot',
    peer: 'knotd',
    forbidden: /answered NOTAUTH \(BADKEY: it has no key acmems for hmac-sha256, or not for this\)/,
    start: () => startKnot({ config: configOf('Knot'), files }),
  },
]

function makeProvider(port: number, texts: Record<string, string>): Promise<DnsProvider> {
  const values = readValues(dnsUpdateProvider.options, { 'dns-server': `127.0.0.1:${port}`, ttl: '1', ...texts })
  return dnsUpdateProvider.create(values, noSetup)
}

async function refusalOf(port: number, texts: Record<string, string>, skewMs = 0): Promise<string> {
  const provider = await makeProvider(port, texts)
  const failure = await provider.addTxt({ fqdn, value: 'ours' }, makeContext(skewMs)).catch((error: unknown) => error)
  assert.ok(failure instanceof ProblemError, 'the server has taken it')
  assert.deepEqual([failure.code, failure.retry], ['dns', { when: 'never' }], failure.message)
  return failure.message
}

for (const kind of kinds) {
  test(`${kind.name}: TSIG, and the server's own words when it does not fit`, async (t) => {
    if (!requirePeer(t, kind.peer)) return
    await using server = await kind.start()
    const { port } = server
    const good = { 'tsig-name': 'acmems', 'tsig-key': secret }
    const where = `the DNS server 127.0.0.1:${port} answered`

    await t.test('right key', async () => {
      const provider = await makeProvider(port, good)
      const key = { name: 'acmems', algorithm: 'hmac-sha256', secret: Buffer.from(secret, 'base64') } as const
      await addForeignTxt(port, zone, fqdn, key)
      const context = makeContext()
      for (const value of ['ours', 'ours', 'ours too']) await provider.addTxt({ fqdn, value }, context)
      assert.deepEqual((await txtValues(port, fqdn)).sort(), ['not-ours', 'ours', 'ours too'], server.log())
      await provider.removeTxt({ fqdn, value: 'ours' }, context)
      await provider.removeTxt({ fqdn, value: 'ours' }, context)
      assert.deepEqual((await txtValues(port, fqdn)).sort(), ['not-ours', 'ours too'])
      await provider.removeTxt({ fqdn, value: 'ours too' }, context)
    })
    await t.test('right key, from a file of tsig-keygen, name in capitals', async () => {
      const clause = `key "ACMEMS" {\n\talgorithm hmac-sha256;\n\tsecret "${secret}";\n};\n`
      const provider = await makeProvider(port, { 'tsig-key': clause })
      await provider.addTxt({ fqdn, value: 'ours' }, makeContext())
      await provider.removeTxt({ fqdn, value: 'ours' }, makeContext())
      assert.deepEqual(await txtValues(port, fqdn), ['not-ours'])
    })
    await t.test('a clock that is four minutes wrong is right enough', async () => {
      const provider = await makeProvider(port, good)
      await provider.addTxt({ fqdn, value: 'ours' }, makeContext(-240_000))
      await provider.removeTxt({ fqdn, value: 'ours' }, makeContext(240_000))
    })
    await t.test('another secret', async () => {
      const message = await refusalOf(port, { ...good, 'tsig-key': 'YW5vdGhlciBzZWNyZXQ=' })
      assert.ok(message.startsWith(`${where} NOTAUTH (BADSIG: its secret for the key acmems is another one)`), message)
    })
    await t.test('another name', async () => {
      const message = await refusalOf(port, { ...good, 'tsig-name': 'nobody' })
      assert.ok(
        message.startsWith(`${where} NOTAUTH (BADKEY: it has no key nobody for hmac-sha256, or not for this)`),
        message,
      )
    })
    await t.test('another algorithm', async () => {
      const message = await refusalOf(port, { ...good, 'tsig-algorithm': 'hmac-sha512' })
      assert.ok(
        message.startsWith(`${where} NOTAUTH (BADKEY: it has no key acmems for hmac-sha512, or not for this)`),
        message,
      )
    })
    for (const skewMs of [-hour, hour]) {
      await t.test(`a clock that is wrong by ${skewMs} ms`, async () => {
        const message = await refusalOf(port, good, skewMs)
        const times = /NOTAUTH \(BADTIME: the server's clock says (\S+), ours (\S+)\)/.exec(message)
        assert.ok(times !== null, message)
        const differs = Date.parse(times[2] ?? '') - Date.parse(times[1] ?? '')
        assert.ok(Math.abs(differs - skewMs) < 60_000, message)
      })
    }
    await t.test('no key', async () => {
      const message = await refusalOf(port, {})
      assert.match(message, /answered (REFUSED|NOTAUTH)/)
    })
    await t.test('a record that the key is not for', async () => {
      const provider = await makeProvider(port, good)
      await assert.rejects(
        provider.addTxt({ fqdn: '_acme-challenge.mail.example.org', value: 'ours' }, makeContext()),
        kind.forbidden,
      )
    })
    assert.deepEqual(await txtValues(port, fqdn), ['not-ours'])
  })

  test(`${kind.name}: Pebble validates name and wildcard, and nothing is left`, async (t) => {
    if (!requirePeer(t, kind.peer) || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
    await issueByUpdates(t, kind)
  })
}

async function issueByUpdates(t: TestContext, kind: ServerKind): Promise<void> {
  await using server = await kind.start()
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${server.port}`, authzReuse: 0 })
  const config = (key: string) => `${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${server.port}
nameserver = 127.0.0.1:${server.port}
tsig-name = acmems.
tsig-key = ${key}
ttl = 1
[auth "all"]
ip = 127.0.0.1
domain = **.example.org
wildcard = yes
`
  await using acmems = await startAcmems(config(secret))
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.example.org', '*.www.example.org'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + server.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:*.www.example.org', 'DNS:www.example.org'])

  await t.test('two orders for the same name at once', async () => {
    const csrs = [makeCsr({ names: ['www.example.org'] }), makeCsr({ names: ['www.example.org', '*.www.example.org'] })]
    const replies = await Promise.all(csrs.map((csr) => postCsr(acmems.signUrl, csr)))
    for (const { status, text } of replies) assert.equal(status, 200, text)
  })
  await t.test('a refused update is asked for once', async () => {
    await using wrong = await startAcmems(config('YW5vdGhlciBzZWNyZXQ='))
    const refused = await postCsr(wrong.signUrl, makeCsr({ names: ['www.example.org'] }))
    assert.equal(refused.status, 421, refused.text)
    assert.match(refused.text, /NOTAUTH \(BADSIG/)
    // Once to add, once to remove what might have been added.
    const times = server.log().match(/BADSIG|bad signature|tsig verify failure/gi)?.length ?? 0
    assert.ok(times <= 2 * 2, server.log())
  })
  assert.deepEqual(await txtValues(server.port, fqdn), [])
  assert.equal(acmems.logLines().filter(({ level }) => level === 'warn' || level === 40).length, 0, acmems.log())
}
