// _acme-challenge that leads elsewhere: into another zone, in a circle, too far.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProblemError } from '../src/acme/problem.ts'
import { createDns01Solver } from '../src/plugins/challenges/dns01.ts'
import { dns01Options } from '../src/plugins/challenges/dns01-options.ts'
import { dnsUpdateProvider } from '../src/plugins/dns/dns-update.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { makeContext, noSetup, readValues, txtValues } from './dns-world.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeZone, startNamed } from './peers/bind.ts'
import { startKnot } from './peers/knot.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const ns = 'IN NS ns\nns IN A 127.0.0.1\n'
const steps = (count: number) =>
  Array.from({ length: count }, (_, i) => `s${i}.far${count} IN CNAME s${i + 1}.far${count}\n`).join('')

const zoneFiles = {
  'hosts.test': makeZone(
    'hosts.test',
    `@ ${ns}_acme-challenge.www IN CNAME step.hosts.test.\nstep IN CNAME www.ACME.test.
_acme-challenge.deep IN CNAME a.b.deep.acme.test.
_acme-challenge.round IN CNAME round\nround IN CNAME _acme-challenge.round
_acme-challenge.eight IN CNAME s1.far8\n${steps(8)}_acme-challenge.nine IN CNAME s1.far9\n${steps(9)}`,
  ),
  'acme.test': makeZone('acme.test', `@ ${ns}deep IN NS ns\n`),
  'deep.acme.test': makeZone('deep.acme.test', `@ ${ns}`),
}

type Server = AsyncDisposable & { readonly port: number; log(): string }

/** The names' zone takes no updates; acme.test does, and a third-level zone below it does. */
const startBindZones = (): Promise<Server> =>
  startNamed({
    config: `zone "hosts.test" { type primary; file "hosts.test"; };
zone "acme.test" { type primary; file "acme.test"; allow-update { 127.0.0.1; }; };
zone "deep.acme.test" { type primary; file "deep.acme.test"; allow-update { 127.0.0.1; }; };
`,
    files: zoneFiles,
  })
const startKnotZones = (): Promise<Server> =>
  startKnot({
    config: `acl:
  - id: here
    address: 127.0.0.1
    action: update
zone:
  - domain: hosts.test
    file: hosts.test
  - domain: acme.test
    file: acme.test
    acl: here
  - domain: deep.acme.test
    file: deep.acme.test
    acl: here
`,
    files: zoneFiles,
  })

for (const [name, peer, start] of [
  ['BIND', 'named', startBindZones],
  ['Knot', 'knotd', startKnotZones],
] as const) {
  test(`${name}: Pebble validates names delegated into another zone, and names in a third-level zone`, async (t) => {
    if (!requirePeer(t, peer) || !requirePeer(t, 'named') || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl'))
      return
    await using server = await start()
    // Pebble's questions are answered by one that follows CNAMEs, as a validator's resolver does.
    await using resolver = await startResolverBefore(server)
    await using pebble = await startPebble({ dnsServer: `127.0.0.1:${resolver.port}` })
    const config = `${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${server.port}
nameserver = 127.0.0.1:${server.port}
ttl = 1
[auth "all"]
ip = 127.0.0.1
domain = **.test
wildcard = yes
`
    await using acmems = await startAcmems(config)
    const names = ['*.www.hosts.test', 'deep.hosts.test', 'plain.deep.acme.test', 'www.hosts.test']
    const reply = await postCsr(acmems.signUrl, makeCsr({ names }))
    assert.equal(reply.status, 200, reply.text + acmems.log() + server.log())
    assert.deepEqual(
      namesOf(certificatesOf(reply.text)[0]),
      names.map((name) => `DNS:${name}`),
    )
    for (const name of ['www.acme.test', 'a.b.deep.acme.test', '_acme-challenge.plain.deep.acme.test'])
      assert.deepEqual(await txtValues(server.port, name), [])
  })
}

/** Forwards to the zones' server and forgets at once that something was not there. */
const startResolverBefore = (server: Server): Promise<Server> =>
  startNamed({
    config: ['hosts.test', 'acme.test']
      .map((zone) => `zone "${zone}" { type forward; forward only; forwarders { 127.0.0.1 port ${server.port}; }; };\n`)
      .join(''),
    options: 'recursion yes; allow-recursion { any; }; max-ncache-ttl 0;',
  })

test('CNAMEs in a circle, too many of them, and not followed', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using bind = await startBindZones()
  const where = { 'dns-server': `127.0.0.1:${bind.port}` }
  const provider = await dnsUpdateProvider.create(readValues(dnsUpdateProvider.options, where), noSetup)
  const written: string[] = []
  const recorder = { ...provider, addTxt: async ({ fqdn }: { fqdn: string }) => void written.push(fqdn) }
  const present = (name: string, texts: Record<string, string> = {}) =>
    createDns01Solver(recorder, readValues(dns01Options, texts)).present(
      {
        identifier: { type: 'dns', value: name },
        wildcard: false,
        challenge: { type: 'dns-01', url: 'https://ca.test/challenge', token: 'token', status: 'pending' },
        keyAuthorization: 'token.thumbprint',
        expiresAtMs: Number.POSITIVE_INFINITY,
      },
      makeContext(),
    )
  const isFinal = (pattern: RegExp) => (error: ProblemError) => {
    assert.match(error.message, pattern)
    return error.code === 'dns' && error.retry.when === 'never'
  }
  await assert.rejects(
    present('round.hosts.test'),
    isFinal(/in a circle: _acme-challenge\.round.* -> round\.hosts\.test/),
  )
  await assert.rejects(present('nine.hosts.test'), isFinal(/more than 8 CNAME records one after another/))
  await present('eight.hosts.test')
  await present('round.hosts.test', { 'follow-cname': 'no' })
  await present('plain.hosts.test')
  assert.deepEqual(written, [
    's8.far8.hosts.test',
    '_acme-challenge.round.hosts.test',
    '_acme-challenge.plain.hosts.test',
  ])
})

test('a server that has given the zone away is not asked to change it', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using parent = await startNamed({
    config: 'zone "acme.test" { type primary; file "data/acme"; allow-update { 127.0.0.1; }; };',
    files: { 'data/acme': makeZone('acme.test', `@ ${ns}deep IN NS ns.elsewhere.test.\n`) },
  })
  const where = { 'dns-server': `127.0.0.1:${parent.port}` }
  const provider = await dnsUpdateProvider.create(readValues(dnsUpdateProvider.options, where), noSetup)
  await assert.rejects(
    provider.addTxt({ fqdn: '_acme-challenge.a.deep.acme.test', value: 'ours' }, makeContext()),
    /127\.0\.0\.1:\d+ has delegated deep\.acme\.test to ns\.elsewhere\.test/,
  )
})
