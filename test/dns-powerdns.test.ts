// dns-01 at a real PowerDNS by its HTTP API, with Pebble asking it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { powerdnsProvider } from '../src/plugins/dns/powerdns.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { createProvider, providerContext, queryTxt } from './dns-providers.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { startPowerDns } from './peers/powerdns.ts'

test('name and wildcard at once, validated by Pebble, and nothing left behind', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pdns_server') || !requirePeer(t, 'openssl')) return
  await using powerdns = await startPowerDns(['sub.zone.test', 'zone.test'])
  const name = '_acme-challenge.www.sub.zone.test.'
  const foreign = {
    name,
    type: 'TXT',
    ttl: 7,
    changetype: 'REPLACE',
    records: [{ content: '"not\\"ours"', disabled: false }],
  }
  await powerdns.api('PATCH', '/zones/sub.zone.test.', { rrsets: [foreign] })
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${powerdns.port}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-powerdns
endpoint = ${powerdns.apiUrl}
token = ${powerdns.apiKey}
ttl = 1
resolver = 127.0.0.1:${powerdns.port}
nameserver = 127.0.0.1:${powerdns.port}
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
wildcard = yes
`)
  const reply = await postCsr(
    acmems.signUrl,
    makeCsr({ names: ['www.sub.zone.test', '*.www.sub.zone.test', 'a.zone.test'] }),
  )
  assert.equal(reply.status, 200, reply.text + acmems.log() + powerdns.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), [
    'DNS:*.www.sub.zone.test',
    'DNS:a.zone.test',
    'DNS:www.sub.zone.test',
  ])
  assert.deepEqual(await queryTxt(powerdns.port, name.slice(0, -1)), ['not"ours'], 'what others put there stays')
  const hints = () => acmems.log() + powerdns.log()
  assert.deepEqual(await queryTxt(powerdns.port, '_acme-challenge.a.zone.test'), [], hints())
})

test('many at once keep every value; a wrong key is in the answer, the key is not', async (t) => {
  if (!requirePeer(t, 'pdns_server')) return
  await using powerdns = await startPowerDns(['zone.test'])
  const settings = { endpoint: powerdns.apiUrl, token: powerdns.apiKey }
  // Two instances, as after a reload.
  const providers = [await createProvider(powerdnsProvider, settings), await createProvider(powerdnsProvider, settings)]
  const fqdn = '_acme-challenge.zone.test'
  const values = Array.from({ length: 12 }, (_, index) => `value-${String(index).padStart(2, '0')}`)
  await Promise.all(values.map((value, index) => providers[index % 2]?.addTxt({ fqdn, value }, providerContext())))
  assert.deepEqual((await queryTxt(powerdns.port, fqdn)).sort(), values)
  await providers[0]?.addTxt({ fqdn, value: 'value-00' }, providerContext())
  assert.equal((await queryTxt(powerdns.port, fqdn)).length, 12, 'adding again changes nothing')
  await Promise.all(values.slice(1).map((value) => providers[0]?.removeTxt({ fqdn, value }, providerContext())))
  assert.deepEqual(await queryTxt(powerdns.port, fqdn), ['value-00'])
  await providers[0]?.removeTxt({ fqdn, value: 'value-00' }, providerContext())
  await providers[0]?.removeTxt({ fqdn, value: 'value-00' }, providerContext())
  assert.deepEqual(await queryTxt(powerdns.port, fqdn), [])

  const wrong = await createProvider(powerdnsProvider, { ...settings, token: 'a-wrong-key' })
  await assert.rejects(wrong.addTxt({ fqdn, value: 'x' }, providerContext()), (error: Error) => {
    assert.match(error.message, /^PowerDNS answered 401 to GET \/zones.*check the token/)
    assert.doesNotMatch(error.message, /a-wrong-key/)
    return true
  })
  await assert.rejects(
    providers[0]?.addTxt({ fqdn: '_acme-challenge.elsewhere.example', value: 'x' }, providerContext()) ??
      Promise.resolve(),
    /PowerDNS has no zone for _acme-challenge\.elsewhere\.example .*asked for _acme-challenge\.elsewhere\.example, elsewhere\.example/,
  )
})
