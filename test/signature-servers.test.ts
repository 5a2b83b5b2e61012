// What signatures have to do with other servers, proxies, certificates and old hosts.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, createHmac, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { presentedHead } from '../src/http/presented.ts'
import { addressRanges } from '../src/plugins/address-range.ts'
import { clientCertificateCredential } from '../src/plugins/auth/client-certificate.ts'
import { createLegacyUses } from '../src/sign/legacy-uses.ts'
import { startAcmems } from './acmems.ts'
import { readSnippet } from './documentation.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { startPostgres } from './peers/postgres.ts'
import { makeTlsIdentity } from './peers/tls-identity.ts'
import { type HeaderLine, postTo, signRequest } from './request-signer.ts'
import { untilLogged } from './until.ts'

const run = promisify(execFile)
const pair = generateKeyPairSync('ed25519')
const pem = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString().replaceAll('\n', ' ').trim()
const local = '[account]\ntype = local\n[mgmt]\ndefault-verification =\n'
const block = `[auth "web"]\npublic-key = ${pem}\ndomain = *.example.org\n`
const body = makeCsr({ names: ['www.example.org'] })

function signFor(authority: string): HeaderLine[] {
  return signRequest({ key: pair.privateKey, keyId: 'web', algorithm: 'ed25519', authority, body })
}

test('a request that one server took is refused by the other on the same PostgreSQL', async (t) => {
  if (!requirePeer(t, 'postgres')) return
  await using postgres = await startPostgres()
  const state = `[state]\nurl = ${await postgres.createDatabase('shared')}\n`
  const config = `${state}${local}public-name = hub.example\n${block}`
  await using one = await startAcmems(config)
  await using two = await startAcmems(config)
  const headers = signFor('hub.example')
  const post = (port: number, lines: readonly HeaderLine[]) =>
    postTo({ port, host: 'hub.example', body, headers: lines })
  assert.equal((await post(one.mgmtPort, headers)).status, 200)
  for (const { mgmtPort } of [one, two]) {
    const replayed = await post(mgmtPort, headers)
    assert.equal(replayed.status, 401)
    assert.match(replayed.text, /used before/)
  }
  const atBoth = signFor('hub.example')
  const replies = await Promise.all([one, two, one, two, one, two].map(({ mgmtPort }) => post(mgmtPort, atBoth)))
  assert.deepEqual(replies.map(({ status }) => status).sort(), [200, 401, 401, 401, 401, 401])
})

test('with public-name a request must be for one of the names, whatever a proxy makes of the Host header', async () => {
  await using acmems = await startAcmems(
    `${local}public-name = hub.example\npublic-name = Other.Example:1313\n${block}`,
  )
  const port = acmems.mgmtPort
  const statusOf = async (host: string, authority: string) =>
    (await postTo({ port, host, body, headers: signFor(authority) })).status
  for (const [host, authority, status] of [
    ['hub.example', 'hub.example', 200],
    ['HUB.example:443', 'hub.example', 200],
    ['hub.example:1313', 'hub.example:1313', 200],
    ['other.example:1313', 'other.example:1313', 200],
    ['backend:8080', 'hub.example', 200],
    ['127.0.0.1', 'other.example:1313', 200],
    ['backend:8080', 'backend:8080', 401],
    ['evil.example', 'evil.example', 401],
    ['hub.example', 'other.example:1313', 401],
    [`127.0.0.1:${port}`, `127.0.0.1:${port}`, 401],
  ] as const)
    assert.equal(await statusOf(host, authority), status, `${host} ${authority}`)
})

test('uses of the legacy HMAC are counted, and said once an hour for each block', async () => {
  const secret = 'an old shared secret'
  const legacy = `[auth "old"]\nhmac_type = sha256\nhmac_key = ${secret}\ndomain = *.example.org\n`
  await using acmems = await startAcmems(`${local}${legacy}`)
  const hash = createHmac('sha256', secret).update(body).digest('hex')
  for (let i = 0; i < 3; i++) {
    const { status } = await postCsr(acmems.signUrl, body, { Authentication: `hmac name=sha256, hash=${hash}` })
    assert.equal(status, 200)
  }
  await untilLogged(acmems, /legacy authentication is in use/)
  const said = acmems.logLines().filter(({ msg }) => msg === 'legacy authentication is in use')
  assert.deepEqual(
    said.map(({ block: name, uses }) => [name, uses]),
    [['old', 1]],
  )
  assert.match(String(said[0]?.instead), /docs\/request-signatures\.md/)
  assert.ok(!acmems.log().includes(secret))

  let nowMs = 0
  const lines: unknown[] = []
  const log = { debug() {}, info() {}, error() {}, warn: (_: string, fields?: unknown) => void lines.push(fields) }
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined }
  const uses = createLegacyUses(clock, log)
  const credentials = [{ holds: () => true, legacyAdvice: 'do better' }]
  const of = (name: string, withAdvice: boolean) =>
    ({ name, credentials: withAdvice ? credentials : [{ holds: () => true }] }) as never
  const blocks = [of('a', true), of('b', false)]
  for (nowMs = 0; nowMs < 7_200_000; nowMs += 1_200_000) for (const name of ['a', 'b']) uses.note(name, blocks)
  assert.deepEqual(
    lines,
    [1, 4].map((count) => ({ block: 'a', uses: count, instead: 'do better' })),
  )
  assert.deepEqual([...uses.counts], [['a', 6]])
})

test('where no block takes signatures, they are not looked at', async () => {
  await using acmems = await startAcmems(`${local}[auth "lab"]\nip = 127.0.0.1\ndomain = *.example.org\n`)
  const reply = await postTo({ port: acmems.mgmtPort, body, headers: [['Signature', 'nonsense']] })
  assert.equal(reply.status, 200, reply.text)
})

test('a client certificate speaks for its key, whoever signed it', async (t) => {
  if (!requirePeer(t, 'curl') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('mtls')
  const file = (name: string) => join(folder.path, name)
  const server = await makeTlsIdentity(folder.path)
  for (const name of ['agent', 'other'])
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`],
      ...['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`), '-days', '1'],
    ])
  const { stdout: pin } = await run('sh', ['-c', readSnippet('docs/request-signatures.md', 'pin line')], {
    cwd: folder.path,
  })
  const spki = new X509Certificate(readFileSync(file('agent.crt'))).publicKey.export({ type: 'spki', format: 'der' })
  assert.equal(pin.trim(), createHash('sha256').update(spki).digest('base64'))
  const option = clientCertificateCredential.options['client-certificate']
  const credential = await clientCertificateCredential.create(
    { 'client-certificate': [option.parse(`sha256//${pin.trim()}`)] },
    undefined as never,
  )
  const handle: RequestListener = (request, response) => {
    const head = presentedHead(request, addressRanges([]))
    response.end(`${credential.couldHold?.(head)} ${head.clientCertificateSpkiSha256 === undefined ? 'none' : 'one'}`)
  }
  const tls = { key: readFileSync(server.keyFile), cert: readFileSync(server.certificateFile) }
  const listening = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, handle)
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  try {
    const url = `https://127.0.0.1:${(listening.address() as AddressInfo).port}/`
    const ask = async (...args: string[]) =>
      (await run('curl', ['-sS', '--cacert', server.caFile, ...args, url, url])).stdout
    const using = (name: string) => ['--cert', file(`${name}.crt`), '--key', file(`${name}.key`)]
    assert.equal(await ask(...using('agent')), 'true onetrue one')
    assert.equal(await ask(...using('other')), 'false onefalse one')
    assert.equal(await ask(), 'false nonefalse none')
    // Somebody else's certificate without its key ends in the handshake.
    await assert.rejects(ask('--cert', file('agent.crt'), '--key', file('other.key')))
  } finally {
    listening.close()
    listening.closeAllConnections()
  }
  for (const text of ['', 'sha256//', pin.trim(), `sha1//${pin.trim()}`, `sha256//${pin.trim()}x`])
    assert.throws(() => option.parse(text), /no pin/)
})
