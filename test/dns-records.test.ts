// acmems dns-records: what to publish, and what is there; challenges that nobody knows are passed over.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseDnsName } from '../src/acme/identifier.ts'
import { fetchAuthorization } from '../src/acme-client/authorizations.ts'
import { createOrder } from '../src/acme-client/orders.ts'
import { openCaDesk } from '../src/cli/ca-desk.ts'
import { wantedRecords, zoneLine } from '../src/cli/wanted-records.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { openAccount } from '../src/plugins/issuers/acme-account.ts'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const ca = {
  identities: ['ca.example'],
  accountUrl: 'https://example.com/acme/acct/ExampleAccount',
  thumbprint: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
  persist: { issuerDomainNames: ['ca.example'], accountHashPrefix: 'https://ca.example/account-hash/' },
}

test('every record that there can be, as in a zone file', () => {
  const lines = wantedRecords(parseDnsName('www.example.org'), ca, 'dns-01', 'acme.example.net').map(zoneLine)
  assert.deepEqual(lines.slice(0, 3), [
    '_acme-challenge.www.example.org. IN CNAME www.example.org.acme.example.net.',
    'www.example.org. IN CAA 0 issue "ca.example; accounturi=https://example.com/acme/acct/ExampleAccount; validationmethods=dns-01"',
    '_ujmmovf2vn55tgye._acme-challenge.www.example.org. IN CNAME www.example.org.acme.example.net.',
  ])
  assert.match(
    lines[3] ?? '',
    /^_validation-persist\.www\.example\.org\. IN TXT "ca\.example; accounturi=https:\/\/ca\.example\/account-hash\/sha-256\/[\w-]{43}"$/,
  )
  assert.equal(lines.length, 4)
})

test('a wildcard, and where little is known', () => {
  const lines = wantedRecords(parseDnsName('*.example.org'), ca, 'dns-01', undefined).map(zoneLine)
  assert.match(lines[0] ?? '', /^example\.org\. IN CAA 0 issuewild /)
  assert.match(lines[1] ?? '', /^_validation-persist\.example\.org\. .*; policy=wildcard"$/)
  const unknown = { identities: ['ca.example'], persist: undefined, accountUrl: undefined, thumbprint: undefined }
  assert.deepEqual(wantedRecords(parseDnsName('a.example'), unknown, undefined, undefined).map(zoneLine), [
    'a.example. IN CAA 0 issue "ca.example"',
  ])
  assert.deepEqual(wantedRecords(parseDnsName('a.example'), { ...unknown, identities: [] }, 'http-01', undefined), [])
})

async function addCaa(pebble: Pebble, host: string, value: string): Promise<void> {
  const body = JSON.stringify({ host: `${host}.`, policies: [{ tag: 'issue', value }] })
  const reply = await fetch(`${pebble.challtestsrvUrl}/add-caa`, { method: 'POST', body })
  assert.ok(reply.ok)
}

type Shown = {
  name: string
  method: string
  records: { type: string; value: string; published: { ok: boolean; finding: string } }[]
}

test('with a real CA and a real DNS: the account, and what is there', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('records')
  await using pebble = await startPebble({ caaIdentities: ['pebble.example'] })
  const config = `${accountAndHttp01(pebble)}resolver = 127.0.0.1:${pebble.dnsPort}\n[auth "web"]\nip = 127.0.0.1\ndomain = *.example.test\n`
  const run = async (...words: string[]) => {
    const { code, out, err } = await runCommand(['dns-records', ...words], '', folder.path)
    return { code, err, out }
  }
  writeFileSync(join(folder.path, 'acmems.ini'), `[state]\nurl = sqlite:${folder.path}/state/state.db\n${config}`)
  const before = await run('www.example.test', '--config', 'acmems.ini')
  assert.match(before.err, /no account yet/)
  const { out: firstOut } = before
  await using acmems = await startAcmems(config, { folder: folder.path })
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.example.test'] }))
  assert.equal(certificatesOf(reply.text).length > 0, true, reply.text)
  if (!firstOut.includes('pebble.example')) return t.skip(`Pebble ${pebble.version} has no caaIdentities`)
  assert.match(firstOut, /www\.example\.test\. IN CAA 0 issue "pebble\.example; validationmethods=http-01"/)

  const text = await run('www.example.test', 'elsewhere.example.org', '--config', 'acmems.ini')
  assert.equal(text.code, 0, text.err)
  assert.match(text.out, /^www\.example\.test: auth block "web", issuer "default", verification "http" \(http-01\)$/m)
  assert.match(
    text.out,
    /CAA 0 issue "pebble\.example; accounturi=https:\/\/127\.0\.0\.1:\d+\/my-account\/\w+; validationmethods=http-01"$/m,
  )
  assert.match(text.out, /there is none: any CA may issue/)
  assert.match(text.out, /^elsewhere\.example\.org: no auth block covers it/m)

  const shown = async () => {
    const { code, out } = await run('www.example.test', '--json', '--config', 'acmems.ini')
    const [view] = JSON.parse(out) as Shown[]
    return { code, view, finding: view?.records[0]?.published.finding ?? '' }
  }
  const own = (await shown()).view?.records[0]?.value ?? ''
  await addCaa(pebble, 'example.test', 'other.example')
  const forbidden = await shown()
  assert.deepEqual(
    [forbidden.code, forbidden.finding],
    [1, 'what example.test has forbids it: other.example may issue'],
  )
  await addCaa(pebble, 'www.example.test', own)
  assert.deepEqual([(await shown()).code, (await shown()).finding], [0, 'what www.example.test has allows it'])
  const silent = await run('www.example.test', '--resolver', '127.0.0.1:1', '--config', 'acmems.ini')
  assert.match(silent.out, /could not be looked up/)
  assert.equal((await run('www.example.test', '--no-check', '--config', 'acmems.ini')).out.includes('any CA'), false)
  assert.equal((await run('not a name', '--config', 'acmems.ini')).code, 2)
  assert.equal((await run('a.example', '--resolver', 'dns.example', '--config', 'acmems.ini')).code, 2)
})

test('challenges of drafts stand beside those that we know, and are passed over', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('drafts')
  await using pebble = await startPebble({ caaIdentities: ['pebble.example'], authzReuse: 0 })
  await using acmems = await startAcmems(
    `${accountAndHttp01(pebble)}[auth "web"]\nall = yes\ndomain = **.example.test\n`,
    { folder: folder.path },
  )
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.example.test'] }))
  assert.equal(reply.status, 200, reply.text)
  const sources = { environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }
  await using desk = await openCaDesk(await loadConfig({ files: [acmems.configFile], ...sources }), 'default')
  const { settings, transport, openKey, context } = desk
  const account = await openAccount(settings, transport, openKey, context)
  const identifiers = [parseDnsName('b.example.test')]
  const { order } = await createOrder(transport, account, { identifiers }, context)
  const { challenges } = await fetchAuthorization(transport, account, order.authorizationUrls[0] ?? '', context)
  const types = challenges.map(({ type }) => type).sort()
  for (const type of ['dns-01', 'http-01', 'tls-alpn-01']) assert.ok(types.includes(type), types.join())
  if (pebble.version.startsWith('2.10')) {
    assert.deepEqual(types, ['dns-01', 'dns-account-01', 'dns-persist-01', 'http-01', 'tls-alpn-01'])
  }
})
