// acmems doctor: what will fail is said, and why; with a real CA and real DNS servers. test/private-hosts.ts has two views.
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NameView } from '../src/cli/doctor-dns.ts'
import type { DoctorFinding } from '../src/cli/doctor-finding.ts'
import { judgeCaaView, judgePrivateView, judgePublicView, type ViewQuestion } from '../src/cli/doctor-judgement.ts'
import { accountAndHttp01, accountAt, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { txtValues } from './dns-world.ts'
import { makeCsr, postCsr } from './host.ts'
import { type Bind, makeZone, startNamed } from './peers/bind.ts'
import { startBindResolver } from './peers/bind-resolver.ts'
import { makeTempFolder } from './peers/child.ts'
import { dig } from './peers/dig.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

type Diagnosis = { readonly name: string; readonly ok: boolean; readonly findings: readonly DoctorFinding[] }

async function examine(folder: string, ...words: string[]): Promise<Diagnosis & { readonly code: number | null }> {
  const view = words.includes('--private-resolver') ? [] : ['--private-resolver', '127.0.0.1:1']
  const config = ['--config', join(folder, 'acmems.ini')]
  const { code, out, err } = await runCommand(['doctor', ...words, '--json', ...view, ...config])
  assert.equal(err, '', out)
  const [diagnosis] = JSON.parse(out) as Diagnosis[]
  if (diagnosis === undefined) throw new Error(out)
  assert.equal(diagnosis.ok, code === 0)
  return { ...diagnosis, code }
}

function assertFinding(
  { findings }: Pick<Diagnosis, 'findings'>,
  topic: string,
  verdict: DoctorFinding['verdict'],
  says: RegExp,
  advice = /^/,
): void {
  const seen = findings.find((one) => one.topic === topic && says.test(one.says))
  assert.ok(seen !== undefined, `${topic}: ${says} is not in ${JSON.stringify(findings, null, 1)}`)
  assert.equal(seen.verdict, verdict, seen.says)
  assert.match(seen.advice ?? '', advice)
}

describe('what is seen, and what it means', () => {
  const seen: NameView = {
    ...{ from: '192.0.2.53:53', way: [], addresses: ['8.8.8.8'], outcome: 'found', authentic: true, reason: '' },
  }
  const question: ViewQuestion = { seen, isVisited: true, isOwnCa: false, isOwn: () => false, isNamed: true }
  const judge = (view: Partial<NameView>, more: Partial<ViewQuestion> = {}) =>
    judgePublicView({ ...question, seen: { ...seen, ...view }, ...more })
  const nothing = { outcome: 'nothing', addresses: [], reason: 'there is no such name' } as const
  const table: readonly [string, DoctorFinding, DoctorFinding['verdict'], RegExp][] = [
    ['a signed name', judge({}), 'good', /8\.8\.8\.8; DNSSEC: good/],
    [
      'a CNAME',
      judge({ way: ['www.example.net'], authentic: false }),
      'good',
      /CNAME www\.example\.net, 8\.8\.8\.8; DNSSEC: not/,
    ],
    ['no address, which the CA needs', judge(nothing), 'fails', /there is no such name: the CA finds nobody to ask/],
    ['no address, which it does not need', judge(nothing, { isVisited: false }), 'note', /does not need/],
    ['a private address, by a named resolver', judge({ addresses: ['10.0.0.9'] }), 'fails', /not public/],
    [
      "a private address, by the machine's",
      judge({ addresses: ['10.0.0.9'] }, { isNamed: false }),
      'unclear',
      /not public/,
    ],
    [
      'a private address, and a CA of our own',
      judge({ addresses: ['10.0.0.9'] }, { isOwnCa: true }),
      'good',
      /10\.0\.0\.9/,
    ],
    ['one of two is public', judge({ addresses: ['10.0.0.9', '8.8.8.8'] }), 'good', /8\.8\.8\.8/],
    ['broken signatures', judge({ outcome: 'bogus' }), 'fails', /signatures are not good/],
    ['no resolver', judge({ outcome: 'unknown', reason: 'it is away' }), 'unclear', /it is away/],
    ['the same inside', judgePrivateView(seen, seen, true), 'good', /the same/],
    [
      'another inside',
      judgePrivateView({ ...seen, addresses: ['10.0.0.9'] }, seen, true),
      'note',
      /the CA comes to 8\.8\.8\.8/,
    ],
    ['nothing inside', judgePrivateView({ ...seen, ...nothing }, seen, true), 'note', /only the CA's view counts/],
  ]
  for (const [name, finding, verdict, says] of table) {
    test(name, () => {
      assert.equal(finding.verdict, verdict)
      assert.match(finding.says, says)
    })
  }

  const caa = { identities: ['ca.example'], wildcard: false, accountUrl: undefined, method: 'http-01' }
  const records = (value: string) => ({ at: 'example.org', records: [{ critical: false, tag: 'issue', value }] })
  test('CAA', () => {
    const verdicts = [
      judgeCaaView({ at: 'example.org', records: [] }, caa),
      judgeCaaView(records('ca.example'), caa),
      judgeCaaView(records('other.example'), caa),
      judgeCaaView(records('ca.example; validationmethods=dns-01'), caa),
      judgeCaaView(records('other.example'), { ...caa, identities: [] }),
      judgeCaaView(records(';'), { ...caa, identities: [] }),
      judgeCaaView({ reason: 'SERVFAIL', definite: true }, caa),
      judgeCaaView({ reason: 'no route', definite: false }, caa),
    ].map(({ verdict }) => verdict)
    assert.deepEqual(verdicts, ['good', 'good', 'fails', 'fails', 'unclear', 'fails', 'fails', 'unclear'])
  })
})

test('http-01 by Pebble: all is well, policy, limits, account, a CA that is away', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('doctor')
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
  const config = `${accountAndHttp01(pebble).replace('[verification', 'limit-same-names = 1/1d\n[verification')}resolver = 127.0.0.1:${pebble.dnsPort}
self-check-address = 127.0.0.1:${pebble.httpPort}
[verification "elsewhere"]
type = http01
listener =
self-check-address = 127.0.0.1:${await freePort()}
resolver = 127.0.0.1:${pebble.dnsPort}
[verification "tls"]
type = tlsalpn01
listener = 127.0.0.1:${pebble.tlsPort}
self-check-address = 127.0.0.1:${pebble.tlsPort}
resolver = 127.0.0.1:${pebble.dnsPort}
[auth "web"]
ip = 127.0.0.1
domain = *.example.test
verification = http
[auth "web by tls"]
hmac_type = sha256
hmac_key = a secret of some length
domain = www.example.test
verification = tls
[auth "star"]
ip = 127.0.0.1
domain = *.star.test
wildcard = yes
verification = elsewhere
`
  await using acmems = await startAcmems(config, { folder: folder.path })
  const look = (...words: string[]) => examine(folder.path, ...words)
  const well = await look('www.example.test')
  assert.equal(well.code, 0, JSON.stringify(well.findings, null, 1))
  assertFinding(well, 'policy', 'good', /^\[auth "web"\]: issuer "default", verification "http" \(http-01\)$/)
  assertFinding(well, 'public DNS', 'good', /127\.0\.0\.1 \(this machine\)/)
  assertFinding(well, 'http-01', 'good', /seen as the CA will see it/)
  assertFinding(well, 'limits', 'good', /room/)
  assertFinding(well, 'policy', 'good', /^\[auth "web by tls"\]: .* \(tls-alpn-01\)$/)
  assertFinding(well, 'tls-alpn-01', 'good', /seen as the CA will see it/)

  const text = await runCommand(['doctor', 'www.example.org', '*.example.test', '--config', acmems.configFile])
  assert.equal(text.code, 1)
  assert.match(
    text.out,
    /^www\.example\.org: it will fail\n {2}FAILS {2}policy {2}no auth block covers the name: .*\n {17}-> add domain = www\.example\.org/,
  )
  assert.match(text.out, /\n\n\*\.example\.test: it will fail\n.*\n +-> \[auth "web"\] would with wildcard = yes\n/)
  const star = await look('*.star.test')
  assertFinding(star, 'policy', 'fails', /verification "elsewhere"/, /only dns-01 for wildcards/)
  const nobody = await look('a.star.test', '--resolver', `127.0.0.1:${pebble.dnsPort}`)
  assertFinding(nobody, 'http-01', 'fails', /connection refused/, /lead port 80/)
  assertFinding(
    await look('www.example.test', '--resolver', '127.0.0.1:1'),
    'public DNS',
    'unclear',
    /cannot be reached/,
  )

  assert.equal((await postCsr(acmems.signUrl, makeCsr({ names: ['used.example.test'] }))).status, 200)
  const used = await look('used.example.test')
  assert.equal(used.code, 1)
  assertFinding(
    used,
    'limits',
    'fails',
    /certificates for exactly these names \(used\.example\.test\): used up until \d{4}-/,
  )
  assertFinding(used, 'CA', 'good', /account https:/)

  const otherUse = [['not a name'], ['www.example.test', '--resolver', 'a b']]
  for (const words of otherUse)
    assert.equal((await runCommand(['doctor', ...words, '--config', acmems.configFile])).code, 2, words.join())
  await acmems.stop()
  assertFinding(await look('www.example.test'), 'http-01', 'unclear', /no acmems runs on this state/)
  await pebble.stop()
  assertFinding(await look('www.example.test'), 'CA', 'fails', /cannot be asked/, /ca-file/)
  rmSync(join(folder.path, 'state'), { recursive: true })
  assertFinding(await look('www.example.test'), 'CA', 'fails', /cannot be asked/)
})

test('the own look before the CA is told finds another host', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl') || !requirePeer(t, 'named')) return
  using folder = makeTempFolder('doctor')
  await using pebble = await startPebble()
  const zone = (records: string) => ({
    config: 'zone "example.test" { type primary; file "zone"; };',
    files: { zone: makeZone('example.test', `@ IN NS ns\nns IN A 127.0.0.1\n${records}`) },
  })
  // By http-01 both would need port 80; by DNS a view is a port.
  const port = await freePort()
  await using outside = await startBindResolver({
    zone: 'example.test',
    records: ['_acme-challenge.www IN CNAME www.example.test.acme.example.net.'],
    forward: { zone: 'acme.example.net', port },
  })
  await using inside = await startNamed(zone('_acme-challenge.www IN CNAME gone.example.test.\n'))
  await using _ = await startAcmems(
    `${accountAt(pebble)}[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${port}
zone = acme.example.net
ns = ns1.example.net
resolver = 127.0.0.1:${inside.port}
[auth "web"]
ip = 127.0.0.1
domain = **.example.test
wildcard = yes
`,
    { folder: folder.path },
  )
  const view = `127.0.0.1:${outside.port}`
  const torn = await examine(
    folder.path,
    'www.example.test',
    '--resolver',
    view,
    '--private-resolver',
    `127.0.0.1:${inside.port}`,
  )
  assertFinding(torn, 'dns-01', 'good', /seen as the CA will see it/)
  assertFinding(
    torn,
    'self-check',
    'fails',
    /is a CNAME to gone\.example\.test/,
    /resolver that answers as the public DNS does/,
  )
  assertFinding(torn, 'public DNS', 'note', /a proof by DNS does not need/)
  const wild = await examine(folder.path, '*.missing.example.test', '--resolver', view)
  assert.equal(wild.code, 1)
  assertFinding(
    wild,
    'dns-01',
    'fails',
    /_acme-challenge\.missing\.example\.test is not there .*publish _acme-challenge\.missing\.example\.test\. IN CNAME missing\.example\.test\.acme\.example\.net\./,
  )
  const records = await runCommand([
    'dns-records',
    'www.example.test',
    '*.missing.example.test',
    '--resolver',
    view,
    '--json',
    '--config',
    join(folder.path, 'acmems.ini'),
  ])
  assert.equal(records.code, 1, records.err)
  const shown = (
    JSON.parse(records.out) as { records: { type: string; line: string; published: { ok: boolean } }[] }[]
  ).map((one) => one.records.find(({ type }) => type === 'CNAME'))
  assert.deepEqual(
    shown.map((one) => [one?.line, one?.published.ok]),
    [
      ['_acme-challenge.www.example.test. IN CNAME www.example.test.acme.example.net.', true],
      ['_acme-challenge.missing.example.test. IN CNAME missing.example.test.acme.example.net.', false],
    ],
  )
})

test('a DNS provider is asked only with --rehearse, and nothing is left', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl') || !requirePeer(t, 'named')) return
  using folder = makeTempFolder('doctor')
  await using pebble = await startPebble()
  await using bind = await startNamed({
    config:
      'zone "open.test" { type primary; file "open"; allow-update { 127.0.0.1; }; };\nzone "shut.test" { type primary; file "shut"; };',
    files: { open: makeZone('open.test'), shut: makeZone('shut.test') },
  })
  await using _ = await startAcmems(
    `${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${bind.port}
nameserver = 127.0.0.1:${bind.port}
resolver = 127.0.0.1:${bind.port}
[auth "web"]
ip = 127.0.0.1
domain = **.test
wildcard = yes
`,
    { folder: folder.path },
  )
  const careful = await examine(folder.path, '*.open.test')
  assert.equal(careful.code, 0)
  assertFinding(
    careful,
    'dns-01',
    'good',
    /the record will be _acme-challenge\.open\.test, in the zone open\.test of ns\.open\.test/,
  )
  assertFinding(careful, 'dns-01', 'unclear', /no record was written/, /--rehearse/)
  const shut = await examine(folder.path, 'www.shut.test', '--rehearse')
  assertFinding(shut, 'dns-01', 'fails', /REFUSED/)
  const open = await examine(folder.path, 'www.open.test', '--rehearse')
  assertFinding(open, 'dns-01', 'good', /an answer was written, and the servers of the zone show it/)
  assert.deepEqual(await txtValues(bind.port, '_acme-challenge.www.open.test'), [])
})

test('DNSSEC, as a validating resolver says it', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'named') || !requirePeer(t, 'dig')) return
  using folder = makeTempFolder('doctor')
  await using pebble = await startPebble()
  await using signer = await startNamed({
    config: 'zone "signed.test" { type primary; file "data/signed"; dnssec-policy default; inline-signing yes; };',
    files: { 'data/signed': makeZone('signed.test') },
  })
  const key = await keyOf(signer, 'signed.test')
  const validator = (anchor: string) =>
    startNamed({
      config: `trust-anchors { signed.test. static-key ${anchor}; };
zone "signed.test" { type forward; forward only; forwarders { 127.0.0.1 port ${signer.port}; }; };`,
      options: 'recursion yes; allow-recursion { any; };',
      validates: true,
    })
  await using good = await validator(`257 3 13 "${key}"`)
  await using bad = await validator(`257 3 13 "${key.replace(/^..../, 'AAAA')}"`)
  const config = `${accountAndHttp01(pebble)}self-check-address = 127.0.0.1:${pebble.httpPort}
[auth "web"]
ip = 127.0.0.1
domain = *.signed.test
`
  await using _ = await startAcmems(config, { folder: folder.path })
  const signed = await examine(folder.path, 'www.signed.test', '--resolver', `127.0.0.1:${good.port}`)
  assertFinding(signed, 'public DNS', 'good', /127\.0\.0\.1 \(this machine\); DNSSEC: good/)
  const broken = await examine(folder.path, 'www.signed.test', '--resolver', `127.0.0.1:${bad.port}`)
  assert.equal(broken.code, 1)
  assertFinding(broken, 'public DNS', 'fails', /signatures are not good/, /DS record/)
  assertFinding(broken, 'CAA', 'fails', /signatures of www\.signed\.test are not good/)
  const plain = await examine(folder.path, 'www.signed.test', '--resolver', `127.0.0.1:${signer.port}`)
  assertFinding(plain, 'public DNS', 'good', /DNSSEC: not signed, or not looked at/)
})

/** BIND makes the key and signs by itself, in a moment. */
async function keyOf(signer: Bind, zone: string): Promise<string> {
  for (let tries = 0; tries < 100; tries++) {
    const { answer } = await dig(signer.port, zone, 'DNSKEY', '+dnssec')
    const key = answer.find((line) => / DNSKEY\s+257 3 13 /.test(line))
    if (key !== undefined && answer.some((line) => line.includes('RRSIG')))
      return (/257 3 13 (.*)$/.exec(key)?.[1] ?? '').replaceAll(' ', '')
    await sleep(100)
  }
  return assert.fail(`the zone was not signed\n${signer.log()}`)
}

test('a certificate of this machine is a way, too; plain HTTP beyond it is noted', async () => {
  using folder = makeTempFolder('doctor')
  const file = join(folder.path, 'acmems.ini')
  writeFileSync(
    file,
    `[account]\ntype = local\n[mgmt]\nlistener = 192.0.2.1:1313\n[state]\nurl = sqlite:${folder.path}/state.db\n[certificate "own"]\ndomain = own.example.com\ndirectory = ${folder.path}/own\n`,
  )
  const { code, out } = await runCommand(['doctor', 'own.example.com', '--json', '--config', file])
  const [diagnosis] = JSON.parse(out) as Diagnosis[]
  assert.ok(diagnosis !== undefined)
  assertFinding(diagnosis, 'policy', 'good', /^\[certificate "own"\]: issuer "default"/)
  assertFinding(diagnosis, 'door', 'note', /plain HTTP from other machines \(192\.0\.2\.1:1313\)/, /tls = managed/)
  assert.equal(code, 0)
})
