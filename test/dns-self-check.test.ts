// Looking whether a delegated name leads to our own DNS server, before the CA is told.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fetchAuthorization } from '../src/acme-client/authorizations.ts'
import { jsonOf } from '../src/acme-client/transport.ts'
import { openCaDesk } from '../src/cli/ca-desk.ts'
import { loadConfig } from '../src/config/load.ts'
import { parseDnsServer } from '../src/dns/exchange.ts'
import { createResolver } from '../src/dns/lookup.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { openAccount } from '../src/plugins/issuers/acme-account.ts'
import { checkDelegation } from '../src/self-check/dns-check.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { runJson } from './command.ts'
import { makeDnsWorld } from './dns-responder-world.ts'
import { makeContext } from './dns-world.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeZone, startNamed } from './peers/bind.ts'
import { startBindResolver } from './peers/bind-resolver.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const records = [
  '_acme-challenge.good IN CNAME good.example.test.acme.example.net.',
  '_acme-challenge.far IN CNAME step.example.test.',
  'step IN CNAME far.example.test.acme.example.net.',
  '_acme-challenge.astray IN CNAME other.example.test.',
  '_acme-challenge.swapped IN CNAME good.example.test.acme.example.net.',
  '_acme-challenge.round IN CNAME _acme-challenge.round.example.test.',
]
const zone = 'acme.example.net'
const sources = { environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }

test('each way there is', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using world = await makeDnsWorld()
  await using bind = await startBindResolver({ zone: 'example.test', records, forward: { zone, port: world.port } })
  const check = (name: string, value = 'ours', isCaView = true, port = bind.port) =>
    checkDelegation(
      { fqdn: `_acme-challenge.${name}`, value, target: `${name}.${zone}`, zone },
      { resolver: createResolver([parseDnsServer(`127.0.0.1:${port}`)]), isCaView },
      makeContext(),
    )
  for (const name of ['good', 'far', 'swapped']) await world.put(`${name}.example.test`, 'ours')

  assert.deepEqual(await check('good.example.test'), { outcome: 'visible' })
  assert.deepEqual(await check('far.example.test'), { outcome: 'visible' })
  const from = `says 127.0.0.1:${bind.port}`
  assert.deepEqual(await check('nothing.example.test'), {
    outcome: 'wrong',
    reason: `_acme-challenge.nothing.example.test is not there (${from}); publish _acme-challenge.nothing.example.test. IN CNAME nothing.example.test.acme.example.net.`,
  })
  assert.deepEqual(await check('astray.example.test'), {
    outcome: 'wrong',
    reason: `_acme-challenge.astray.example.test is a CNAME to other.example.test, which does not lead to us (${from}); publish _acme-challenge.astray.example.test. IN CNAME astray.example.test.acme.example.net.`,
  })
  await world.remove('good.example.test', 'ours')
  assert.equal((await check('swapped.example.test')).outcome, 'wrong', "another name's target")

  const unknown = async (reason: RegExp, ...args: Parameters<typeof check>) => {
    const finding = await check(...args)
    assert.equal(finding.outcome, 'unknown', JSON.stringify(finding))
    assert.match('reason' in finding ? finding.reason : '', reason)
  }
  await unknown(/is delegated, but its value cannot be seen/, 'far.example.test', 'another value')
  await unknown(/in a circle/, 'round.example.test')
  await unknown(/no server of the zone .* can be asked/, 'nothing.example.test', 'ours', false)
  await unknown(/cannot be reached/, 'good.example.test', 'ours', true, await freePort())
  const forward = { zone, port: await freePort() }
  await using lost = await startBindResolver({ zone: 'example.test', records, forward })
  await unknown(
    /answered SERVFAIL when asked for far\.example\.test\.acme/,
    'far.example.test',
    'ours',
    true,
    lost.port,
  )
})

test('a zone that nobody delegated to us', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using bind = await startNamed({
    config: `zone "example.test" { type primary; file "example"; };\nzone "example.net" { type primary; file "net"; };`,
    files: {
      example: makeZone('example.test', `@ IN NS ns\n_acme-challenge.www IN CNAME www.example.test.${zone}.\n`),
      net: `$TTL 60\n@ IN SOA ns root 1 3600 1 86400 1\n@ IN NS ns\nns IN A 127.0.0.1\n`,
    },
  })
  const finding = await checkDelegation(
    { fqdn: '_acme-challenge.www.example.test', value: 'ours', target: `www.example.test.${zone}`, zone },
    { resolver: createResolver([parseDnsServer(`127.0.0.1:${bind.port}`)]), isCaView: true },
    makeContext(),
  )
  assert.equal(finding.outcome, 'wrong')
  assert.match(
    'reason' in finding ? finding.reason : '',
    /is in the zone example\.net: acme\.example\.net is not delegated/,
  )
})

test('Pebble is told of what leads to us, and not asked about what does not', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'named') || !requirePeer(t, 'openssl')) return
  const port = await freePort()
  await using bind = await startBindResolver({ zone: 'example.test', records, forward: { zone, port } })
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${bind.port}`, authzReuse: 0 })
  await using acmems = await startAcmems(`${accountAt(pebble)}
[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${port}
zone = ${zone}
ns = ns1.example.net
resolver = 127.0.0.1:${bind.port}
[auth "all"]
ip = 127.0.0.1
domain = **.test
wildcard = yes
`)
  const good = await postCsr(acmems.signUrl, makeCsr({ names: ['good.example.test', '*.good.example.test'] }))
  assert.equal(good.status, 200, good.text)
  assert.equal(namesOf(certificatesOf(good.text)[0]).length, 2)
  const told = pebble.requests().get('POST /chalZ/')
  const astray = await postCsr(acmems.signUrl, makeCsr({ names: ['astray.example.test'] }))
  assert.equal(astray.status, 421, astray.text)
  assert.match(astray.text, /is a CNAME to other\.example\.test, which does not lead to us/)
  assert.match(astray.text, /the CA was not told/)
  assert.equal(pebble.requests().get('POST /chalZ/'), told)

  // Nobody goes on with its order, and the CA knows.
  const [order] = await runJson<{ orderUrl?: string }[]>(['orders', 'list', '--failed', acmems.configFile])
  assert.ok(order?.orderUrl !== undefined, JSON.stringify(order))
  await using desk = await openCaDesk(await loadConfig({ files: [acmems.configFile], ...sources }), 'default')
  const { settings, transport, openKey, context } = desk
  const account = await openAccount(settings, transport, openKey, context)
  const reply = await transport.post(order.orderUrl, undefined, account, context)
  const { authorizations = [] } = jsonOf(reply) as { authorizations?: string[] }
  assert.equal(authorizations.length, 1)
  const { status } = await fetchAuthorization(transport, account, authorizations[0] ?? '', context)
  assert.equal(status, 'deactivated')
})
