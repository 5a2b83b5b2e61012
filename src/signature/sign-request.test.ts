// What we sign: held against our own verifier and against openssl's.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPublicKey, createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readSignature } from './request-signature.ts'
import { type OutgoingRequest, signRequest } from './sign-request.ts'
import { findSigner } from './signature-algorithm.ts'
import { parsePrivateKey } from './signing-key.ts'

const nonce = '0123456789abcdef'
const createdAtMs = 1_790_000_000_999
const keys: Readonly<Record<string, KeyObject>> = {
  ed25519: generateKeyPairSync('ed25519').privateKey,
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  pss: generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey,
  secret: createSecretKey(Buffer.from('a shared secret of enough octets!')),
}
const verifierOf = (key: KeyObject) => (key.type === 'secret' ? key : createPublicKey(key))

/** As a server receives it. */
function received(request: OutgoingRequest, fields: Readonly<Record<string, string>>) {
  const { pathname, search } = new URL(request.url)
  const length = request.body === undefined ? [] : [['content-length', [String(request.body.length)]] as const]
  const headers = new Map([...Object.entries(fields).map(([name, value]) => [name, [value]] as const), ...length])
  return { method: request.method, path: `${pathname}${search}`, headers }
}

test('our verifier takes what we sign, with every kind of key, and nothing that was changed', () => {
  for (const [name, key] of Object.entries(keys)) {
    const known = { keyId: 'web "1"\\', thumbprint: name, key: verifierOf(key) }
    for (const request of [
      { method: 'POST', url: 'https://Hub.Example:1313/sign', body: 'a request' },
      { method: 'POST', url: 'https://hub.example/box/a?domain=a&domain=b', body: Buffer.from([0, 255]) },
      { method: 'GET', url: 'https://[2001:DB8::1]:443/box/a' },
      { method: 'GET', url: 'https://hub.example/box/a?x' },
    ]) {
      const fields = signRequest(request, { keyId: known.keyId, key }, { createdAtMs, nonce })
      const claim = readSignature(received(request, fields))
      const authority =
        { 'Hub.Example:1313': 'hub.example:1313' }[new URL(request.url).host] ?? new URL(request.url).host
      assert.deepEqual([claim.keyId, claim.nonce, claim.createdAtMs], [known.keyId, nonce, 1_790_000_000_000])
      const holds = (base: Buffer) => findSigner([known], claim.algorithm, base, claim.signature) === known
      assert.ok(holds(claim.baseFor(authority)), `${name} ${request.url}`)
      assert.ok(!holds(claim.baseFor('other.example')), name)
      const other = received(request, { ...fields, 'content-digest': 'sha-256=:AA==:' })
      const changed = request.body === undefined ? { ...other, path: `${other.path}2` } : other
      assert.ok(!holds(readSignature(changed).baseFor(authority)), `${name} changed`)
      if (request.body !== undefined) {
        assert.ok(claim.contentDigest?.matches(Buffer.from(request.body)))
        assert.ok(!claim.contentDigest?.matches(Buffer.from('another')))
      } else assert.equal(claim.contentDigest, undefined)
    }
  }
})

test('openssl takes what we sign', () => {
  const folder = mkdtempSync(join(tmpdir(), 'acmems-signing-'))
  try {
    const file = (name: string, content: string | Buffer) => {
      writeFileSync(join(folder, name), content)
      return join(folder, name)
    }
    const request = { method: 'POST', url: 'https://hub.example:1313/sign', body: 'a request' }
    for (const [name, how] of [
      ['ed25519', ['-rawin']],
      ['p256', ['-rawin', '-digest', 'sha256']],
      ['rsa', ['-rawin', '-digest', 'sha256']],
    ] as const) {
      const key = keys[name] as KeyObject
      const claim = readSignature(received(request, signRequest(request, { keyId: 'k', key }, { createdAtMs, nonce })))
      const pub = file('key.pub', createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString())
      const signature = file('signature', name === 'p256' ? derOf(claim.signature) : Buffer.from(claim.signature))
      const verify = (authority: string) =>
        execFileSync(
          'openssl',
          [
            'pkeyutl',
            '-verify',
            '-pubin',
            '-inkey',
            pub,
            '-sigfile',
            signature,
            ...how,
            '-in',
            file('base', claim.baseFor(authority)),
          ],
          { stdio: 'pipe', encoding: 'utf8' },
        )
      assert.match(verify('hub.example:1313'), /Verified Successfully/, name)
      assert.throws(() => verify('hub.example'), name)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** Two integers side by side, as openssl wants them. */
function derOf(raw: Uint8Array): Buffer {
  const integer = (bytes: Uint8Array) => {
    const significant = Buffer.from(bytes.subarray(bytes.findIndex((octet) => octet !== 0)))
    const value = (significant[0] ?? 0) > 127 ? Buffer.concat([Buffer.from([0]), significant]) : significant
    return Buffer.concat([Buffer.from([2, value.length]), value])
  }
  const both = Buffer.concat([integer(raw.subarray(0, raw.length / 2)), integer(raw.subarray(raw.length / 2))])
  return Buffer.concat([Buffer.from([0x30, both.length]), both])
}

test('the text of a signature is what the documents show', () => {
  const request = { method: 'POST', url: 'https://hub.example:1313/sign', body: 'a request' }
  const fields = signRequest(request, { keyId: 'web1', key: keys.ed25519 as KeyObject }, { createdAtMs, nonce })
  assert.equal(
    fields['signature-input'],
    `sig1=("@method" "@authority" "@path" "content-digest");created=1790000000;nonce="${nonce}";keyid="web1"`,
  )
  assert.equal(fields['content-digest'], 'sha-256=:rwvypWLaviqB4LC0ejOlFbXoSVxy//IYr0wV8/Bm+kQ=:')
  assert.match(fields.signature ?? '', /^sig1=:[A-Za-z0-9+/]{86}==:$/)
})

test('keys that sign requests', () => {
  const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
  assert.equal(parsePrivateKey(pem(keys.p256 as KeyObject)).asymmetricKeyType, 'ec')
  for (const [text, reason] of [
    ['', /no private key/],
    [
      createPublicKey(keys.p256 as KeyObject)
        .export({ type: 'spki', format: 'pem' })
        .toString(),
      /no private key/,
    ],
    [
      generateKeyPairSync('ed25519')
        .privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
        .toString(),
      /password/,
    ],
    [pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey), /2048 to 8192/],
    [pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey), /P-256 or P-384/],
    [pem(generateKeyPairSync('x25519').privateKey), /x25519/],
  ] as const)
    assert.throws(() => parsePrivateKey(text), { name: 'RangeError', message: reason })
})
