// GET /box/NAME: who gets a sealed box, over what, and how a host with openssl and curl opens it.
import assert from 'node:assert/strict'
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { parseDnsName } from '../src/acme/identifier.ts'
import { isConfidential } from '../src/http/confidential.ts'
import { openListener } from '../src/http/listener.ts'
import { createPathDoors } from '../src/http/paths.ts'
import { createPickUpDoor, isBoxName, type PickUpRules } from '../src/pick-up/pick-up-door.ts'
import { addressRanges, parseAddressRange } from '../src/plugins/address-range.ts'
import type { Box } from '../src/state/boxes.ts'
import { openState } from '../src/state/state.ts'
import { buildCsrDer } from '../src/x509/csr-builder.ts'
import { formatPem } from '../src/x509/pem.ts'
import { generatePrivateKey, privateKeyPem } from '../src/x509/private-key.ts'
import { parseRecipient } from '../src/x509/recipient.ts'
import { seal } from '../src/x509/sealed-key.ts'
import { startAcmems } from './acmems.ts'
import { postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { makeTlsIdentity } from './peers/tls-identity.ts'
import { type HeaderLine, postTo, signRequest } from './request-signer.ts'

const config = `[account]
type = local
[auth "printers"]
ip = 127.0.0.1
domain = *.lab.test
[auth "others"]
ip = 192.0.2.1
domain = *.lab.test
`

const agent = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const recipient = parseRecipient(agent.publicKey.export({ type: 'spki', format: 'pem' }).toString())

test('a host fetches its box with curl, opens it with openssl, and the key is that of the certificate', async (t) => {
  const curl = requirePeer(t, 'curl')
  const openssl = requirePeer(t, 'openssl')
  if (curl === undefined || openssl === undefined) return
  await using acmems = await startAcmems(config)
  const url = `http://127.0.0.1:${acmems.mgmtPort}/box`
  const key = await generatePrivateKey('ec-256')
  const plain = privateKeyPem(key)
  const clearKey = plain.toString('latin1').split('\n')[1] ?? 'none'
  const sealedKeyPem = seal(plain, recipient, { randomBytes })
  const csrDer = buildCsrDer({ key, identifiers: [parseDnsName('printer.lab.test')] })
  await using state = await openState(`sqlite:${join(acmems.folder, 'state', 'state.db')}`, Date.now)
  const box = { name: 'printer', block: 'printers', recipientSpkiDer: recipient.spkiDer, sealedKeyPem, csrDer }
  await state.boxes.begin(box)
  assert.equal((await fetch(`${url}/printer`)).status, 503)
  const { status, text: chainPem } = await postCsr(acmems.signUrl, formatPem('CERTIFICATE REQUEST', csrDer))
  assert.equal(status, 200, chainPem)
  assert.ok(await state.boxes.complete('printer', csrDer, chainPem))
  await state.boxes.begin({ ...box, name: 'other', block: 'others' })

  using folder = makeTempFolder('agent')
  const inFolder = (name: string) => join(folder.path, name)
  writeFileSync(inFolder('agent.key'), agent.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  execFileSync(curl.path, ['-fsS', '-o', 'box.pem', '--etag-save', 'etag', `${url}/printer`], { cwd: folder.path })
  const decrypt = ['cms', '-decrypt', '-inform', 'PEM', '-in', 'box.pem', '-inkey', 'agent.key', '-out', 'key.pem']
  execFileSync(openssl.path, decrypt, { cwd: folder.path })
  assert.equal(readFileSync(inFolder('key.pem'), 'utf8'), plain.toString('latin1'))
  const certificate = new X509Certificate(readFileSync(inFolder('box.pem'), 'utf8').replace(/^.*?END CMS-----\n/s, ''))
  assert.ok(certificate.checkPrivateKey(key))
  assert.equal(certificate.subjectAltName, 'DNS:printer.lab.test')

  const compare = ['-sS', '-o', 'none', '-w', '%{http_code}', '--etag-compare', 'etag', '--etag-save', 'etag2']
  const again = spawnSync(curl.path, [...compare, `${url}/printer`], { cwd: folder.path, encoding: 'utf8' })
  assert.equal(again.stdout, '304')

  const refusals = await Promise.all(
    ['other', 'nothing', '%70rinter', 'a/b', ''].map((name) => fetch(`${url}/${name}`)),
  )
  const texts = await Promise.all(refusals.map((reply) => reply.text()))
  assert.deepEqual(
    refusals.map((reply) => reply.status),
    [403, 403, 403, 403, 403],
  )
  assert.equal(new Set(texts).size, 1, 'not yours and not there are the same')
  const head = await fetch(`${url}/printer?x=y`, { method: 'HEAD' })
  assert.deepEqual([head.status, await head.text()], [200, ''])
  const posted = await fetch(`${url}/printer`, { method: 'PUT', body: 'x'.repeat(100_000) })
  assert.deepEqual([posted.status, posted.headers.get('allow')], [405, 'GET, HEAD, POST'])
  assert.equal((await fetch(`http://127.0.0.1:${acmems.mgmtPort}/boxes`)).status, 404)

  for (const found of readdirSync(acmems.folder, { recursive: true, encoding: 'utf8' })) {
    const path = join(acmems.folder, found)
    if (statSync(path).isFile())
      assert.ok(!readFileSync(path, 'latin1').includes(clearKey), `the clear key is in ${found}`)
  }
})

test('a box of a block that wants signatures: signed, signed once, by the right key', async () => {
  const host = generateKeyPairSync('ed25519')
  const spki = host.publicKey.export({ type: 'spki', format: 'pem' }).toString().replaceAll('\n', ' ').trim()
  await using acmems = await startAcmems(
    `[account]\ntype = local\n[auth "printers"]\npublic-key = ${spki}\ndomain = *.lab.test\n`,
  )
  await using state = await openState(`sqlite:${join(acmems.folder, 'state', 'state.db')}`, Date.now)
  const begun = { ...{ name: 'printer', block: 'printers', sealedKeyPem: 'SEALED\n' }, csrDer: Buffer.of(1) }
  await state.boxes.begin({ ...begun, recipientSpkiDer: recipient.spkiDer })
  await state.boxes.complete('printer', begun.csrDer, 'CHAIN\n')
  const port = acmems.mgmtPort
  const signed = (key: KeyObject, path: string, more: readonly string[] = []) =>
    signRequest({
      ...{
        key,
        keyId: 'printers',
        algorithm: 'ed25519',
        authority: `127.0.0.1:${port}`,
        method: 'GET',
        path,
        body: '',
      },
      components: ['"@method"', '"@authority"', '"@path"', ...more],
    }).filter(([name]) => name !== 'Content-Digest')
  const fetchBox = (headers: readonly HeaderLine[], path = '/box/printer') =>
    postTo({ port, path, method: 'GET', body: '', headers })

  const headers = signed(host.privateKey, '/box/printer')
  const reply = await fetchBox(headers)
  assert.deepEqual([reply.status, reply.text], [200, 'SEALED\nCHAIN\n'])
  assert.equal((await fetchBox(headers)).status, 401, 'the same again')
  assert.equal((await fetchBox(signed(host.privateKey, '/box/other'))).status, 401, "another path's")
  assert.equal((await fetchBox(signed(generateKeyPairSync('ed25519').privateKey, '/box/printer'))).status, 401)
  assert.equal((await fetchBox(signed(host.privateKey, '/box/other'), '/box/other')).status, 403)
  const query = '/box/printer?a=b'
  assert.equal((await fetchBox(signed(host.privateKey, query), query)).status, 401, 'the query is not signed')
  assert.equal((await fetchBox(signed(host.privateKey, query, ['"@query"']), query)).status, 200)
  const unsigned = await fetchBox([])
  assert.equal(unsigned.status, 401)
  assert.match(String(unsigned.headers['accept-signature']), /"@method" "@authority" "@path"\)/)
  assert.ok(unsigned.headers.date)
})

// the door ---------------------------------------------------------------------------------------

const box: Box = {
  ...{ name: 'a', block: 'mine', recipientSpkiDer: Buffer.of(), sealedKeyPem: 'SEALED\n', csrDer: Buffer.of() },
  ...{ chainPem: 'CHAIN\n', updatedAtMs: 0 },
}

function makeDoor(
  more: Partial<PickUpRules> = {},
  identify: Parameters<typeof createPickUpDoor>[0]['identify'] = async (head) => ({
    remoteAddress: head.remoteAddress,
    blocks: ['mine'],
  }),
): RequestListener {
  const rules: PickUpRules = { trustedProxies: addressRanges(['127.0.0.1']), blocks: [], boxBlocks: new Map(), ...more }
  const nothing = () => undefined
  return createPickUpDoor({
    rules: () => rules,
    boxes: { findContent: async (name) => (name === 'a' ? box : undefined), findBegun: async () => undefined },
    identify,
    clock: { nowMs: () => 0, monotonicMs: () => 0, sleep: async () => undefined },
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    makeRequestId: () => 'id',
  })
}

type Reply = {
  readonly status: number | undefined
  readonly text: string
  readonly headers: IncomingMessage['headers']
}

async function ask(door: RequestListener, headers: Record<string, string> = {}, path = '/box/a'): Promise<Reply> {
  const listener = await openListener('127.0.0.1:0', door, { maxConnections: 5, requestTimeoutMs: 5000 })
  try {
    return await get(Number(listener.boundAddress.split(':')[1]), headers, path)
  } finally {
    await listener.close(1000)
  }
}

function get(port: number, headers: Record<string, string>, path: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: '127.0.0.1', path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString(), headers: response.headers }),
      )
    })
    request.on('error', reject)
    request.end()
  })
}

test('an ETag is compared as the RFC says', async () => {
  const { headers, text } = await ask(makeDoor())
  const etag = headers.etag ?? ''
  assert.match(etag, /^"[A-Za-z0-9_-]{43}"$/)
  assert.equal(text, 'SEALED\nCHAIN\n')
  for (const [value, status] of [
    [etag, 304],
    [`"x", ${etag}`, 304],
    [`W/${etag}`, 304],
    ['*', 304],
    ['"x"', 200],
    [etag.slice(1, -1), 200],
  ] as const) {
    const reply = await ask(makeDoor(), { 'if-none-match': value })
    assert.deepEqual([reply.status, reply.headers.etag], [status, etag], value)
    if (status === 304) assert.deepEqual([reply.text, reply.headers['content-type']], ['', undefined])
  }
})

test("the configuration's block counts before the record's", async () => {
  assert.equal((await ask(makeDoor({ boxBlocks: new Map([['a', 'theirs']]) }))).status, 403)
  assert.equal((await ask(makeDoor({ boxBlocks: new Map([['b', 'mine']]) }), {}, '/box/b')).status, 503)
})

test('one who cannot be known gets the answer that says how', async () => {
  const unknown = async () => ({ status: 401, text: 'sign it\n', headers: { 'accept-signature': 'sig1=()' } })
  const reply = await ask(makeDoor({}, unknown))
  assert.deepEqual([reply.status, reply.text, reply.headers['accept-signature']], [401, 'sign it\n', 'sig1=()'])
  const nobody = await ask(makeDoor({}, async () => ({ remoteAddress: '', blocks: [] })))
  assert.match(`${nobody.status} ${nobody.text}`, /^403 no auth block/)
})

test('behind a proxy on this machine a box goes only to clients that came by https', async () => {
  for (const [headers, status] of [
    [{}, 200],
    [{ 'x-forwarded-for': '192.0.2.1' }, 403],
    [{ 'x-forwarded-for': '192.0.2.1', 'x-forwarded-proto': 'http' }, 403],
    [{ 'x-forwarded-for': '192.0.2.1', 'x-forwarded-proto': 'https, http' }, 403],
    [{ 'x-forwarded-for': '192.0.2.1', 'x-forwarded-proto': 'https' }, 200],
    [{ 'x-forwarded-for': '127.0.0.1' }, 403],
    [{ 'x-forwarded-proto': 'http' }, 403],
  ] as const) {
    const reply = await ask(makeDoor(), headers)
    assert.equal(reply.status, status, JSON.stringify(headers))
    if (status === 403) assert.match(reply.text, /only over TLS/)
  }
})

test('plain HTTP from another machine is not confidential, TLS from there is', async (t) => {
  const proxies = addressRanges([parseAddressRange('127.0.0.9'), parseAddressRange('192.0.2.9')])
  const from = (remoteAddress: string | undefined, headers = {}) =>
    isConfidential({ socket: { remoteAddress }, headers } as unknown as IncomingMessage, proxies)
  for (const address of ['192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1', '10.0.0.1']) {
    assert.equal(from(address), false, address)
    assert.equal(from(address, { 'x-forwarded-proto': 'https' }), false, 'anybody can say that')
  }
  for (const address of ['127.0.0.1', '127.1.2.3', '::1', undefined]) assert.equal(from(address), true, address)
  const passedOn = { 'x-forwarded-for': '192.0.2.1' }
  assert.equal(from('127.0.0.1', passedOn), false, 'a proxy here that is not known as one')
  assert.equal(from('127.0.0.9', passedOn), false, 'one that does not say how its client came')
  assert.equal(from('127.0.0.9', { ...passedOn, 'x-forwarded-proto': 'https' }), true)
  assert.equal(from('127.0.0.9', { ...passedOn, 'x-forwarded-proto': 'http, https' }), false)
  assert.equal(from('192.0.2.9', { ...passedOn, 'x-forwarded-proto': 'https' }), false, 'from the proxy to us')

  if (requirePeer(t, 'openssl') === undefined || requirePeer(t, 'curl') === undefined) return
  using folder = makeTempFolder('pick-up')
  mkdirSync(join(folder.path, 'tls'))
  const { caFile, certificateFile, keyFile } = await makeTlsIdentity(join(folder.path, 'tls'))
  const server = createServer(
    { cert: readFileSync(certificateFile), key: readFileSync(keyFile) },
    (request, response) => {
      response.end(String(isConfidential(request, proxies)))
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const args = ['-fsS', '--cacert', caFile, `https://127.0.0.1:${port}/`]
  const { stdout: shown } = await promisify(execFile)('curl', args)
  server.close()
  assert.equal(shown, 'true')
})

test('paths are compared as they were sent', () => {
  const seen: string[] = []
  const door =
    (name: string): RequestListener =>
    () =>
      void seen.push(name)
  const doors = createPathDoors({ path: '/sign', door: door('sign') }, [
    { path: '/box/', door: door('box') },
    { path: '/agent.sh', door: door('agent') },
  ])
  const urls = [
    '/sign',
    '/sign?x',
    '/box/',
    '/box/a',
    '/box',
    '/agent.sh',
    '/agent.sh?v=1',
    '/agent.sh.sha256',
    '//box/a',
  ]
  for (const url of urls) doors({ url } as IncomingMessage, undefined as never)
  assert.deepEqual(seen, ['sign', 'sign', 'box', 'box', 'sign', 'agent', 'agent', 'sign', 'sign'])
})

test('a box has a name that needs no escapes', () => {
  for (const name of ['printer', 'a', 'web-1.example.org', 'A_b']) assert.ok(isBoxName(name), name)
  for (const name of ['', '.', '..', '-a', 'a b', 'ä', 'a/b', 'a%20', 'a?', 'x'.repeat(129)])
    assert.ok(!isBoxName(name), name)
})
