import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { needPeer, requirePeer } from '../../test/peers/peers.ts'
import { type Identifier, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import { parseCsr } from './csr.ts'
import { buildCsrDer } from './csr-builder.ts'
import { type CsrDraft, keyUsages } from './csr-draft.ts'
import { checkDer } from './der.ts'
import { formatPem } from './pem.ts'

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).privateKey
const key = ec('P-256')
const [www, star, v4, v6] = [
  parseDnsName('www.example.org'),
  parseDnsName('*.example.org'),
  parseIpAddress('192.0.2.1'),
  parseIpAddress('2001:db8::1'),
] as const

/** What openssl says about it, after it checked the signature. */
function opensslText(draft: Partial<CsrDraft>): string {
  const der = buildCsrDer({ key, identifiers: [www], ...draft })
  checkDer(der)
  const { stdout, stderr, status } = spawnSync(
    needPeer('openssl').path,
    ['req', '-verify', '-text', '-noout', '-nameopt', 'utf8,sep_comma_plus_space'],
    { input: formatPem('CERTIFICATE REQUEST', der), encoding: 'utf8' },
  )
  assert.equal(status, 0, stderr)
  assert.match(stderr, /verify OK/)
  return stdout
}

const readBack = (draft: Partial<CsrDraft>): Identifier[] => [
  ...parseCsr(buildCsrDer({ key, identifiers: [www], ...draft })).identifiers,
]

for (const [name, made, signature, isCertifiable] of [
  ['RSA 2048', () => rsa(2048), 'sha256WithRSAEncryption', true],
  ['RSA 3072', () => rsa(3072), 'sha256WithRSAEncryption', true],
  ['RSA 4096', () => rsa(4096), 'sha256WithRSAEncryption', true],
  ['P-256', () => key, 'ecdsa-with-SHA256', true],
  ['P-384', () => ec('P-384'), 'ecdsa-with-SHA384', true],
  ['P-521', () => ec('P-521'), 'ecdsa-with-SHA512', false],
  ['Ed25519', () => generateKeyPairSync('ed25519').privateKey, 'ED25519', false],
] as const satisfies readonly (readonly [string, () => KeyObject, string, boolean])[]) {
  test(`${name}: openssl verifies the request, and our reader finds every name`, (t) => {
    if (requirePeer(t, 'openssl') === undefined) return
    const draft = { key: made(), identifiers: [www, star, v4, v6], subject: '/CN=www.example.org' }
    const text = opensslText(draft)
    assert.match(text, new RegExp(`Signature Algorithm: ${signature}`, 'i'))
    assert.match(text, /DNS:www.example.org, DNS:\*.example.org, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1/)
    assert.match(text, /Basic Constraints: critical\n\s+CA:FALSE/)
    assert.match(text, /Subject Key Identifier: \n\s+([0-9A-F]{2}:){19}[0-9A-F]{2}\n/)
    assert.match(text, /Subject: CN=www.example.org\n/)
    if (isCertifiable) assert.deepEqual(readBack(draft), [www, star, v4, v6])
    else assert.throws(() => readBack(draft), /P-384/)
  })
}

test('a subject without a common name asks for exactly the names that were given', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  for (const subject of ['', '/', '/O=Foo', '/O=Foo/C=CH', '/OU=a\\/b+O=c'])
    assert.deepEqual(readBack({ subject, identifiers: [star, v4] }), [star, v4], subject)
  assert.match(opensslText({ subject: '' }), /Subject: \n/)
  assert.match(opensslText({ subject: '' }), /Subject Alternative Name: critical\n/)
})

test('a common name may stand anywhere, be a wildcard or of one label, and adds no name', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  const host = parseDnsName('localhost')
  for (const [subject, identifiers] of [
    ['/CN=www.example.org/O=y', [www]],
    ['/O=y/CN=WWW.example.org', [www]],
    ['/O=y/CN=*.example.org', [www, star]],
    ['/CN=localhost', [host]],
    ['/2.5.4.3=localhost', [host]],
  ] as const)
    assert.deepEqual(readBack({ subject, identifiers }), identifiers, subject)
  assert.match(opensslText({ subject: '/CN=www.example.org/O=y' }), /Subject: CN=www.example.org, O=y\n/)
})

test('a subject is written as openssl -subj writes it', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  for (const subject of [
    '/C=CH/ST=Zürich/L=Zürich/O=Ex\\/ample\\+Co/OU=a=b',
    '/emailAddress=a@example.org/DC=example/DC=org',
    '/O=a+OU=b/serialNumber=12',
    '/2.5.4.12=other',
    '/OU=b+O=a',
    '/O=a+CN=abcdefghij.example.org+OU=b',
  ]) {
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null']
    const args = ['req', '-new', '-utf8', ...newKey, '-subj', subject, '-multivalue-rdn', '-outform', 'DER']
    const { stdout, status, stderr } = spawnSync(needPeer('openssl').path, args)
    assert.equal(status, 0, `${subject}: ${stderr}`)
    const ours = Buffer.from(buildCsrDer({ key, identifiers: [parseDnsName('abcdefghij.example.org')], subject }))
    // The subject stands between the version and the public key.
    const subjectOf = (der: Buffer) => {
      const at = der.indexOf(Buffer.from('020100', 'hex')) + 3
      return der.subarray(at, at + 2 + (der[at + 1] ?? 0)).toString('latin1')
    }
    assert.equal(subjectOf(ours), subjectOf(stdout), subject)
  }
})

test('a subject that cannot be is refused with what is wrong', () => {
  for (const [subject, reason] of [
    ['CN=a', /begins with "\/"/],
    ['/CN', /not TYPE=value/],
    ['/O=a/b', /"b" in the subject is not TYPE=value/],
    ['//O=a', /not TYPE=value/],
    ['/XX=a', /XX in the subject is not known; known are CN/],
    ['/C=Switzerland', /C in the subject has 11 characters; 2 is the most/],
    ['/C=ÄÖ', /letters, digits/],
    ['/emailAddress=ä@example.org', /ASCII/],
    ['/O=', /empty/],
    [`/CN=${'a'.repeat(65)}`, /65 characters; 64/],
    ['/CN=other.example.org', /other.example.org is not one of the DNS names; add it/],
    ['/CN=192.0.2.1', /192.0.2.1 is not one of the DNS names/],
    ['/CN=www.example.org/CN=www.example.org', /one common name/],
  ] as const)
    assert.throws(() => buildCsrDer({ key, identifiers: [www, v4], subject }), { name: 'RangeError', message: reason })
  assert.throws(() => buildCsrDer({ key, identifiers: [], subject: '/CN=www.example.org' }), /at least one name/)
  assert.throws(() => buildCsrDer({ key: ec('secp256k1'), identifiers: [www] }), /P-521, not secp256k1/)
})

test('key usage is critical, must-staple is a TLS feature, the digest is what was asked for', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  const text = opensslText({ keyUsage: ['digitalSignature', 'keyEncipherment'], mustStaple: true, digest: 'sha384' })
  assert.match(text, /Key Usage: critical\n\s+Digital Signature, Key Encipherment\n/)
  assert.match(text, /TLS Feature: \n\s+status_request\n/)
  assert.match(text, /ecdsa-with-SHA384/)
  assert.match(opensslText({ key: rsa(2048), digest: 'sha512' }), /sha512WithRSA/)
  assert.match(opensslText({ keyUsage: keyUsages }), /Digital Signature, Non Repudiation.*Encipher Only, Decipher Only/)
  assert.doesNotMatch(opensslText({}), /Key Usage|TLS Feature/)
})

test('any names come back as they were, each once', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,20}$/)
  const name = fc.tuple(fc.boolean(), label, label).map(([wild, a, b]) => parseDnsName(`${wild ? '*.' : ''}${a}.${b}`))
  const address = fc.oneof(fc.ipV4(), fc.ipV6()).map((text) => parseIpAddress(text))
  const names = fc.uniqueArray(fc.oneof(name, address), {
    minLength: 1,
    maxLength: 100,
    selector: ({ value }) => value,
  })
  fc.assert(
    fc.property(names, (identifiers) => {
      assert.deepEqual(readBack({ identifiers: [...identifiers, ...identifiers] }), identifiers)
    }),
    { numRuns: 50 },
  )
})
