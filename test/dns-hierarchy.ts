// Run in a network namespace by dns-hierarchy.test.ts: a root, two zones, a resolver, Pebble and acmems.
import assert from 'node:assert/strict'
import { accountAt, startAcmems } from './acmems.ts'
import { txtValues } from './dns-world.ts'
import { makeCsr, postCsr } from './host.ts'
import { addAddresses } from './network-namespace.ts'
import { type NamedSetup, startNamed } from './peers/bind.ts'
import { startPebble } from './peers/pebble.ts'
import { until } from './until.ts'

const addresses = {
  root: '127.0.3.1',
  primary: '127.0.3.10',
  secondary: '127.0.3.11',
  dead: '127.0.3.12',
  delegate: '127.0.3.20',
  resolver: '127.0.3.53',
  validator: '127.0.3.54',
}
const port = 53
const soa = '$TTL 60\n@ IN SOA ns.root. root.root. 1 3600 1 86400 1\n'
const acmeServers = `acme.test. IN NS ns1.acme.test.
acme.test. IN NS ns2.provider.test.
acme.test. IN NS ns3.provider.test.
ns1.acme.test. IN A ${addresses.primary}
`

addAddresses(Object.values(addresses).filter((address) => address !== addresses.dead))
await using servers = new AsyncDisposableStack()
const start = async (setup: NamedSetup) => servers.use(await startNamed({ port, ...setup }))

await start({
  address: addresses.root,
  config: 'zone "." { type primary; file "root"; };\nzone "test" { type primary; file "test"; };',
  files: {
    root: `${soa}@ IN NS ns.root.\nns.root. IN A ${addresses.root}\ntest. IN NS ns.root.\n`,
    test: `${soa}@ IN NS ns.root.\n${acmeServers}hosts.test. IN NS ns1.hosts.test.\nns1.hosts.test. IN A ${addresses.delegate}
provider.test. IN NS ns.provider.test.\nns.provider.test. IN A ${addresses.delegate}\n`,
  },
})
const primary = await start({
  address: addresses.primary,
  config: 'zone "acme.test" { type primary; file "acme"; notify no; allow-update { 127.0.0.0/8; }; };',
  files: { acme: `${soa}${acmeServers}` },
})
const secondary = await start({
  address: addresses.secondary,
  config: `zone "acme.test" { type secondary; file "copy"; primaries { ${addresses.primary}; };
  min-refresh-time 3; max-refresh-time 3; };`,
})
await start({
  address: addresses.delegate,
  config:
    'zone "hosts.test" { type primary; file "hosts"; };\nzone "provider.test" { type primary; file "provider"; };',
  files: {
    hosts: `${soa}@ IN NS ns1\nns1 IN A ${addresses.delegate}\n_acme-challenge.www IN CNAME www.acme.test.\n`,
    provider: `${soa}@ IN NS ns\nns IN A ${addresses.delegate}\nns2 IN A ${addresses.secondary}\nns3 IN A ${addresses.dead}\n`,
  },
})
await start({
  address: addresses.resolver,
  config: 'zone "." { type hint; file "hints"; };',
  files: { hints: `. 60 IN NS ns.root.\nns.root. 60 IN A ${addresses.root}\n` },
  options: 'recursion yes; allow-recursion { any; }; max-ncache-ttl 0; qname-minimization off;',
})
// The CA's resolver asks the late server only: whoever does not wait for it fails.
const validator = await start({
  address: addresses.validator,
  config: `zone "acme.test" { type static-stub; server-addresses { ${addresses.secondary}; }; };
zone "hosts.test" { type static-stub; server-addresses { ${addresses.delegate}; }; };`,
  options: 'recursion yes; allow-recursion { any; }; max-ncache-ttl 0;',
})
await using pebble = await startPebble({ dnsServer: `${addresses.validator}:${port}`, authzReuse: 0 })

async function issue(lines: string, name: string, txtName: string): Promise<void> {
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = ${addresses.primary}
ttl = 1
${lines}
[auth "all"]
ip = 127.0.0.1
domain = **.test
`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: [name] }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + primary.log() + secondary.log() + validator.log())
  const note = await until('its line', () =>
    acmems.logLines().find(({ msg }) => msg === 'some servers of a zone could not be asked'),
  )
  assert.match(JSON.stringify(note), /ns3\.provider\.test \(127\.0\.3\.12\)/, acmems.log())
  assert.doesNotMatch(JSON.stringify(note), /ns1|ns2/)
  assert.deepEqual(await txtValues(port, txtName, addresses.primary), [])
}

await issue(`resolver = ${addresses.resolver}`, 'www.hosts.test', 'www.acme.test')
console.log('delegated, by a late and beside a dead server: good')
// Our dns-server speaks for its own zone only: the addresses of ns2 and ns3 are the machine's resolver's to find.
await issue('', 'direct.acme.test', '_acme-challenge.direct.acme.test')
console.log("by the machine's resolver: good")
