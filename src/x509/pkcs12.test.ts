import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { createSecureContext } from 'node:tls'
import { needPeer, requirePeer } from '../../test/peers/peers.ts'
import { parseDnsName } from '../acme/identifier.ts'
import { buildCertificate } from './certificate-builder.ts'
import { checkDer } from './der.ts'
import { formatPem, parsePem } from './pem.ts'
import { buildPkcs12, type Pkcs12Draft } from './pkcs12.ts'

const nowMs = Date.now()
const dates = { notBeforeMs: nowMs - 1000, notAfterMs: nowMs + 86_400_000 }
const root = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rootDer = buildCertificate({
  ...{ ...dates, kind: 'authority', commonName: 'root', serial: randomBytes(16) },
  ...{ publicKey: root.publicKey, issuer: { key: root.privateKey } },
})

/** The key's certificate and its issuer's, PEM. */
function chainFor(key: KeyObject): string {
  const leaf = buildCertificate({
    ...{ ...dates, kind: 'leaf', identifiers: [parseDnsName('www.example.org')], serial: randomBytes(16) },
    publicKey: createPublicKey(key),
    issuer: { key: root.privateKey, certificate: new X509Certificate(rootDer) },
  })
  return `${formatPem('CERTIFICATE', leaf)}\n${formatPem('CERTIFICATE', rootDer)}`
}

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey
const key = ec('P-256')
const chainPem = chainFor(key)
const build = (more: Partial<Pkcs12Draft> = {}) =>
  buildPkcs12({ key, chainPem, password: 'secret', ...more }, { randomBytes })

function openssl(pfx: Uint8Array, password: string, ...more: string[]) {
  const args = ['pkcs12', '-info', '-nodes', '-passin', `pass:${password}`, ...more]
  const { status, stdout, stderr } = spawnSync(needPeer('openssl').path, args, { input: pfx, encoding: 'utf8' })
  return { status, stdout, stderr }
}

for (const [name, made] of [
  ['P-256', () => key],
  ['P-384', () => ec('P-384')],
  ['RSA 2048', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
] as const)
  test(`${name}: openssl and Node find the key and the chain in it`, async (t) => {
    if (requirePeer(t, 'openssl') === undefined) return
    const own = made()
    const chain = chainFor(own)
    const pfx = await build({ key: own, chainPem: chain, friendlyName: 'www' })
    checkDer(pfx)
    const { status, stdout, stderr } = openssl(pfx, 'secret')
    assert.equal(status, 0, stderr)
    assert.match(stderr, /MAC: sha256, Iteration 10000\nMAC length: 32, salt length: 16/)
    assert.match(stderr, /Certificate bag/)
    assert.match(stderr, /Encrypted data: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256/)
    assert.match(stderr, /Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256/)
    assert.equal(stdout.match(/friendlyName: www/g)?.length, 2)
    assert.equal(new Set(stdout.match(/localKeyID: .*/g)).size, 1)
    const found = parsePem(stdout).blocks
    assert.deepEqual(
      found.map(({ label }) => label),
      ['CERTIFICATE', 'CERTIFICATE', 'PRIVATE KEY'],
    )
    assert.deepEqual(
      found.slice(0, 2).map(({ der }) => der),
      parsePem(chain).blocks.map(({ der }) => der),
    )
    assert.deepEqual(Buffer.from(found[2]?.der ?? []), own.export({ type: 'pkcs8', format: 'der' }))
    createSecureContext({ pfx, passphrase: 'secret' })
  })

test('any password opens it, and no other one', async (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  for (const password of ['', 'x', 'pässwörd €', '🔑 key', 'a'.repeat(100)]) {
    const pfx = await build({ password })
    const { status, stderr } = openssl(pfx, password)
    assert.equal(status, 0, `${password}: ${stderr}`)
    createSecureContext({ pfx, passphrase: password })
    assert.match(openssl(pfx, 'other').stderr, /invalid password/)
  }
})

test('an altered octet is noticed', async (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  const pfx = await build()
  for (const position of [60, 200, 600, pfx.length - 100, pfx.length - 10]) {
    const altered = Buffer.from(pfx)
    altered[position] = (altered[position] ?? 0) ^ 1
    assert.notEqual(openssl(altered, 'secret').status, 0, `octet ${position} of ${pfx.length}`)
  }
})

test('a chain that is not for the key, or none, is refused', async () => {
  await assert.rejects(build({ key: ec('P-256') }), /the certificate is for another key/)
  await assert.rejects(build({ chainPem: '' }), /no certificate/)
})

test('the key is nowhere in it in the clear, and nothing repeats', async () => {
  const [one, two] = [await build(), await build()]
  assert.ok(!one.includes(key.export({ type: 'pkcs8', format: 'der' }).subarray(40, 60)))
  assert.notDeepEqual(one.subarray(-40), two.subarray(-40))
})
