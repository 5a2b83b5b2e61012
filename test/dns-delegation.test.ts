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
import { type Bind, makeZone, startNamed } from './peers/bind.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const ns = 'IN NS ns\nns IN A 127.0.0.1\n'
const steps = (count: number) =>
  Array.from({ length: count }, (_, i) => `s${i}.far${count} IN CNAME s${i + 1}.far${count}\n`).join('')

/** The names' zone takes no updates; acme.test does, and a third-level zone below it does. */
const startZones = (): Promise<Bind> =>
  startNamed({
    config: `zone "hosts.test" { type primary; file "data/hosts"; };
zone "acme.test" { type primary; file "data/acme"; allow-update { 127.0.0.1; }; };
zone "deep.acme.test" { type primary; file "data/deep"; allow-update { 127.0.0.1; }; };
`,
    files: {
      'data/hosts': makeZone(
        'hosts.test',
        `@ ${ns}_acme-challenge.www IN CNAME step.hosts.test.\nstep IN CNAME www.ACME.test.
_acme-challenge.deep IN CNAME a.b.deep.acme.test.
_acme-challenge.round IN CNAME round\nround IN CNAME _acme-challenge.round
_acme-challenge.eight IN CNAME s1.far8\n${steps(8)}_acme-challenge.nine IN CNAME s1.far9\n${steps(9)}`,
      ),
      'data/acme': makeZone('acme.test', `@ ${ns}deep IN NS ns\n`),
      'data/deep': makeZone('deep.acme.test', `@ ${ns}`),
    },
  })

test('delegated names: Pebble validates what stands in the other zone', async (t) => {
  if (!requirePeer(t, 'named') || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using bind = await startZones()
  // Pebble's questions are answered by one that follows CNAMEs, as a validator's resolver does.
  await using resolver = await startResolverBefore(bind)
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${resolver.port}` })
  const config = `${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${bind.port}
nameserver = 127.0.0.1:${bind.port}
ttl = 1
[auth "all"]
ip = 127.0.0.1
domain = **.test
wildcard = yes
`
  await using acmems = await startAcmems(config)
  const names = ['*.www.hosts.test', 'deep.hosts.test', 'www.hosts.test']
  const reply = await postCsr(acmems.signUrl, makeCsr({ names }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + bind.log())
  assert.deepEqual(
    namesOf(certificatesOf(reply.text)[0]),
    names.map((name) => `DNS:${name}`),
  )
  for (const name of ['www.acme.test', 'a.b.deep.acme.test']) assert.deepEqual(await txtValues(bind.port, name), [])
})

/** Forwards to the zones' server and forgets at once that something was not there. */
const startResolverBefore = (bind: Bind): Promise<Bind> =>
  startNamed({
    config: ['hosts.test', 'acme.test']
      .map((zone) => `zone "${zone}" { type forward; forward only; forwarders { 127.0.0.1 port ${bind.port}; }; };\n`)
      .join(''),
    options: 'recursion yes; allow-recursion { any; }; max-ncache-ttl 0;',
  })

test('CNAMEs in a circle, too many of them, and not followed', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using bind = await startZones()
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
