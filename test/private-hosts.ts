// Run in a network namespace by private-hosts.test.ts: a host that no CA reaches, two views of its name, port 80 and 53.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { accountAt, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { addAddresses } from './network-namespace.ts'
import { makeZone, startNamed } from './peers/bind.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'

const at = { acmems: '127.0.4.80', host: '127.0.4.9', publicDns: '127.0.4.53', privateDns: '127.0.4.54' }
const name = 'nas.lan.example.org'
addAddresses(Object.values(at))

const ns = '@ IN NS ns\nns IN A 127.0.0.1\n'
const serveZone = (address: string, records: string) =>
  startNamed({
    ...{ address, port: 53 },
    config: 'zone "example.org" { type primary; file "zone"; };',
    files: { zone: makeZone('example.org', `${ns}${records}`).replace(/(@|\*) IN A 127.0.0.1\n/g, '') },
  })
await using publicDns = await serveZone(
  at.publicDns,
  `*.lan IN A ${at.acmems}
astray.lan IN A ${at.host}
closed.lan IN CAA 0 issue "other.example"
closed.lan IN A ${at.acmems}
`,
)
await using _privateDns = await serveZone(at.privateDns, `nas.lan IN A ${at.host}\nastray.lan IN A ${at.host}\n`)
const hostAsked: string[] = []
const web = createServer((request, response) => {
  hostAsked.push(request.url ?? '')
  response.writeHead(404, { server: 'nas' }).end()
})
await new Promise<void>((ready) => web.listen(80, at.host, ready))

const usual = { httpPort: 80, authzReuse: 0, nonceReject: 0, caaIdentities: ['pebble.example'] }
await using pebble = await startPebble({ ...usual, dnsServer: `${at.publicDns}:53` })
const documented = readSnippet('docs/private-hosts.md', 'configuration')
const config = (ca: { directoryUrl: string; caFile: string }) =>
  documented
    .replace(/\[account\][^[]*/, accountAt({ ...ca, httpPort: 80 }))
    .replace(/listener = 10\.0\.0\.80:1313.*\n/, '')
    .replace('192.0.2.80:80', `${at.acmems}:80`)
    // Our addresses are all of 127/8, which the server does not look at by itself.
    .replace(/192\.0\.2\.53.*/, `${at.publicDns}\nself-check-network = 127.0.0.0/8`)
    .replace('10.0.0.0/24', '127.0.0.1')

using folder = makeTempFolder('private')
const acmems = await startAcmems(config(pebble), { folder: folder.path })
const reply = await postCsr(acmems.signUrl, makeCsr({ names: [name] }))
assert.equal(reply.status, 200, reply.text + acmems.log() + pebble.log() + publicDns.log())
assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), [`DNS:${name}`])
assert.equal(hostAsked.length, 0, 'nobody asked the host')
console.log('a host that the CA cannot reach has its certificate')

const doctor = async (...words: string[]) => {
  const { code, out, err } = await runCommand(['doctor', ...words, '--config', acmems.configFile])
  assert.equal(err, '')
  return { code, out }
}
const well = await doctor(name)
assert.equal(well.code, 0, well.out)
for (const line of [
  new RegExp(`^${name}: all is well$`, 'm'),
  /^ {2}ok {5}policy {7}\[auth "lan"\]: issuer "default", verification "public view" \(http-01\)$/m,
  /ok {5}CA {11}https:\S+, account https:/,
  /ok {5}public DNS {3}127\.0\.4\.53:53: 127\.0\.4\.80 \(this machine\); DNSSEC: not signed/,
  /- {6}private DNS {2}127\.0\.4\.54:53: 127\.0\.4\.9, where the host is: the CA comes to 127\.0\.4\.80 instead/,
  /ok {5}http-01 {6}an answer was shown, and seen as the CA will see it/,
  /ok {5}CAA {10}there is no CAA record/,
  /ok {5}limits {7}there is room for an order/,
])
  assert.match(well.out, line)

const astray = await doctor('astray.lan.example.org')
assert.equal(astray.code, 1)
assert.match(
  astray.out,
  /FAILS {2}http-01 .*the token is not reachable at http:\/\/astray\S+: got 404 from nas at 127\.0\.4\.9:80\n +-> lead port 80/,
)
const closed = await doctor('closed.lan.example.org', '--json')
assert.equal(closed.code, 1)
const [diagnosis] = JSON.parse(closed.out) as {
  ok: boolean
  findings: { topic: string; verdict: string; says: string }[]
}[]
assert.equal(diagnosis?.ok, false)
assert.deepEqual(
  diagnosis.findings.filter(({ verdict }) => verdict === 'fails').map(({ topic, says }) => `${topic}: ${says}`),
  ['CAA: what closed.lan.example.org has forbids it: other.example may issue'],
)
// As the LAN sees it, the CA would come to the host.
const inside = await doctor(name, '--resolver', at.privateDns)
assert.equal(inside.code, 1)
assert.match(inside.out, /got 404 from nas/)
console.log('the doctor sees both views')

await acmems.stop()
const stopped = await doctor(name)
assert.equal(stopped.code, 0, stopped.out)
assert.match(stopped.out, /\? +http-01 +no acmems runs on this state/)

// The other way round: for a CA that asks the LAN's DNS it is the host that must answer, and it does not.
await using insider = await startPebble({ ...usual, dnsServer: `${at.privateDns}:53` })
await using failing = await startAcmems(config(insider).replace(/^resolver = .*/m, 'self-check = no'))
const refused = await postCsr(failing.signUrl, makeCsr({ names: [name] }))
assert.equal(refused.status, 421, refused.text)
assert.ok(hostAsked.some((url) => url.startsWith('/.well-known/acme-challenge/')))
console.log('by the other view it fails')
web.close()
web.closeAllConnections()
