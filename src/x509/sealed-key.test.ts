import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { makeTempFolder } from '../../test/peers/child.ts'
import { needPeer, requirePeer } from '../../test/peers/peers.ts'
import { ProblemError } from '../acme/problem.ts'
import { formatPem, parsePem } from './pem.ts'
import { parseRecipient, type Recipient } from './recipient.ts'
import { seal } from './sealed-key.ts'
import { openSealed, SealedKeyError } from './sealed-key-opener.ts'

type Pair = { readonly privateKey: KeyObject; readonly recipient: Recipient }

const pemOf = (key: KeyObject) =>
  key.export({ type: key.type === 'public' ? 'spki' : 'pkcs8', format: 'pem' }).toString()

function pairOf(name: string): Pair {
  const [, bits] = /^RSA (\d+)$/.exec(name) ?? []
  const { publicKey, privateKey } =
    bits === undefined
      ? generateKeyPairSync('ec', { namedCurve: name })
      : generateKeyPairSync('rsa', { modulusLength: Number(bits) })
  return { privateKey, recipient: parseRecipient(pemOf(publicKey)) }
}

const kinds = ['RSA 2048', 'RSA 4096', 'P-256', 'P-384', 'P-521'] as const
const pairs = new Map<string, Pair>()

function pair(name: string): Pair {
  const made = pairs.get(name) ?? pairOf(name)
  pairs.set(name, made)
  return made
}

const plain = Buffer.from('-----BEGIN PRIVATE KEY-----\nbinary too: \0\r\n\xff', 'latin1')
const sealFor = (kind: string, octets: Uint8Array = plain) => seal(octets, pair(kind).recipient, { randomBytes })
const derOf = (pem: string) => Buffer.from(parsePem(pem).blocks[0]?.der ?? [])

function openssl(args: readonly string[], folder: string): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(needPeer('openssl').path, args, { cwd: folder, encoding: 'utf8' })
  return { status, stderr }
}

/**
 * What `openssl cms -decrypt` makes of it; undefined when it refuses. What it has written by then is not to be believed:
 * 3.0.19 writes before it looks at the tag, others write nothing. Its status is what counts.
 */
function openedByOpenssl(
  folder: string,
  box: string,
  key: KeyObject,
  more: readonly string[] = [],
): Buffer | undefined {
  writeFileSync(join(folder, 'box.pem'), box)
  writeFileSync(join(folder, 'agent.key'), pemOf(key), { mode: 0o600 })
  const args = ['cms', '-decrypt', '-inform', 'PEM', '-in', 'box.pem', '-inkey', 'agent.key', '-out', 'out', ...more]
  return openssl(args, folder).status === 0 ? readFileSync(join(folder, 'out')) : undefined
}

function makeCertificate(folder: string, key: KeyObject): void {
  writeFileSync(join(folder, 'agent.key'), pemOf(key), { mode: 0o600 })
  const args = ['req', '-x509', '-new', '-key', 'agent.key', '-subj', '/CN=agent', '-days', '2', '-out', 'agent.crt']
  assert.equal(openssl(args, folder).status, 0)
}

for (const kind of kinds) {
  test(`${kind}: openssl opens what is sealed, of any size, with and without a certificate, and so do we`, (t) => {
    if (requirePeer(t, 'openssl') === undefined) return
    using folder = makeTempFolder('sealed')
    const { privateKey } = pair(kind)
    makeCertificate(folder.path, privateKey)
    for (const size of [0, 1, 1704, 270_000]) {
      const octets = size === 1704 ? plain : randomBytes(size)
      const box = sealFor(kind, octets)
      for (const more of [[], ['-recip', 'agent.crt']])
        assert.deepEqual(openedByOpenssl(folder.path, box, privateKey, more), octets, `${size} ${more[0]}`)
      assert.deepEqual(openSealed(box, privateKey), octets)
    }
  })

  test(`${kind}: we open what openssl seals, by certificate and by key identifier`, (t) => {
    if (requirePeer(t, 'openssl') === undefined) return
    using folder = makeTempFolder('sealed')
    const { privateKey } = pair(kind)
    makeCertificate(folder.path, privateKey)
    writeFileSync(join(folder.path, 'plain'), plain)
    const algorithms = kind.startsWith('RSA')
      ? [['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256']]
      : ['sha256', 'sha384', 'sha512'].map((digest) => [`ecdh_kdf_md:${digest}`])
    for (const keyOptions of algorithms) {
      for (const more of [[], ['-keyid']]) {
        const args = ['cms', '-encrypt', '-binary', '-aes-256-gcm', '-in', 'plain', '-outform', 'PEM', '-out', 'box']
        const chosen = ['-recip', 'agent.crt', ...keyOptions.flatMap((option) => ['-keyopt', option])]
        assert.equal(openssl([...args, ...more, ...chosen], folder.path).status, 0)
        const box = readFileSync(join(folder.path, 'box'), 'utf8')
        assert.deepEqual(openSealed(box, privateKey), plain, `${keyOptions.join(' ')} ${more.join('')}`)
        assert.throws(() => openSealed(box, pairOf(kind === 'RSA 4096' ? 'RSA 2048' : kind).privateKey), SealedKeyError)
      }
    }
  })
}

for (const kind of ['RSA 2048', 'P-256', 'P-521']) {
  test(`${kind}: one altered bit anywhere, and it is not opened`, () => {
    const { privateKey } = pair(kind)
    const der = derOf(sealFor(kind))
    for (let position = 0; position < der.length; position++) {
      for (const bit of [0x01, 0x80]) {
        const altered = Buffer.from(der)
        altered[position] = (altered[position] ?? 0) ^ bit
        const message = `octet ${position} of ${der.length}, bit ${bit}`
        assert.throws(() => openSealed(formatPem('CMS', altered), privateKey), SealedKeyError, message)
      }
    }
    for (const cut of [1, 17, der.length - 1])
      assert.throws(() => openSealed(formatPem('CMS', der.subarray(0, -cut)), privateKey), SealedKeyError)
  })

  test(`${kind}: openssl refuses it after one flipped byte in every part that counts`, (t) => {
    if (requirePeer(t, 'openssl') === undefined) return
    using folder = makeTempFolder('sealed')
    const { privateKey } = pair(kind)
    const der = derOf(sealFor(kind))
    assert.deepEqual(openedByOpenssl(folder.path, formatPem('CMS', der), privateKey), plain)
    /** Where these octets end. */
    const find = (hex: string) => {
      const position = der.indexOf(Buffer.from(hex, 'hex'))
      assert.notEqual(position, -1, hex)
      return position + hex.length / 2
    }
    const isRsa = kind.startsWith('RSA')
    const places = {
      'content type': find('060b2a864886f70d0109100117') - 1,
      'key encryption algorithm': find(
        isRsa ? '06092a864886f70d010107' : kind === 'P-256' ? '06062b8104010b01' : '06062b8104010b03',
      ),
      ...(isRsa ? {} : { "the ephemeral key's point": find(kind === 'P-256' ? '034200' : '03818600') + 20 }),
      'the encrypted key': find('060960864801650304012e') - 30,
      cipher: find('060960864801650304012e') - 1,
      nonce: find('060960864801650304012e') + 6,
      content: der.length - 18 - 5,
      tag: der.length - 3,
    }
    for (const [name, position] of Object.entries(places)) {
      const altered = Buffer.from(der)
      altered[position] = (altered[position] ?? 0) ^ 0x01
      assert.equal(openedByOpenssl(folder.path, formatPem('CMS', altered), privateKey), undefined, name)
    }
    const other = pairOf(kind)
    assert.equal(openedByOpenssl(folder.path, formatPem('CMS', der), other.privateKey), undefined, 'another key')
  })
}

test('another key does not open it, of the same type or not', () => {
  for (const kind of kinds) {
    const box = sealFor(kind)
    for (const other of kinds.filter((name) => name !== kind))
      assert.throws(() => openSealed(box, pair(other).privateKey), /for another recipient/)
  }
  assert.throws(() => openSealed(sealFor('P-256'), pairOf('P-256').privateKey), /for another recipient/)
})

test('nothing repeats in two boxes of the same octets, and none has them in the clear', () => {
  const boxes = Array.from({ length: 5 }, () => derOf(sealFor('P-256')))
  assert.equal(new Set(boxes.map((der) => der.subarray(-60).toString('hex'))).size, boxes.length)
  for (const der of boxes) assert.equal(der.indexOf(plain.subarray(0, 12)), -1)
})

test('a box with its chain behind it is opened', () => {
  const chain = formatPem('CERTIFICATE', Buffer.from('any'))
  assert.deepEqual(openSealed(`${sealFor('P-256')}${chain}${chain}`, pair('P-256').privateKey), plain)
})

test('one of several recipients opens it', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  using folder = makeTempFolder('sealed')
  writeFileSync(join(folder.path, 'plain'), plain)
  const recipients = ['P-384', 'RSA 2048', 'P-256'].flatMap((kind, index) => {
    using own = makeTempFolder('certificate')
    makeCertificate(own.path, pair(kind).privateKey)
    writeFileSync(join(folder.path, `${index}.crt`), readFileSync(join(own.path, 'agent.crt')))
    const options = kind.startsWith('RSA') ? ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256'] : ['ecdh_kdf_md:sha256']
    return ['-recip', `${index}.crt`, ...options.flatMap((option) => ['-keyopt', option])]
  })
  const args = ['cms', '-encrypt', '-binary', '-aes-256-gcm', '-in', 'plain', '-outform', 'PEM', '-out', 'box']
  assert.equal(openssl([...args, ...recipients], folder.path).status, 0)
  const box = readFileSync(join(folder.path, 'box'), 'utf8')
  for (const kind of ['P-384', 'RSA 2048', 'P-256'])
    assert.deepEqual(openSealed(box, pair(kind).privateKey), plain, kind)
  assert.throws(() => openSealed(box, pairOf('P-256').privateKey), /for another recipient/)
})

test('what openssl makes with weaker algorithms is refused, saying what it should be', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  using folder = makeTempFolder('sealed')
  writeFileSync(join(folder.path, 'plain'), plain)
  for (const [kind, options, reason] of [
    ['P-256', ['-aes-256-cbc'], /no AuthEnvelopedData; openssl makes it with -aes-256-gcm/],
    ['P-256', ['-aes-256-gcm'], /not agreed on by ECDH with SHA-256/],
    ['P-256', ['-aes-128-gcm', '-keyopt', 'ecdh_kdf_md:sha256'], /not AES-256-GCM/],
    ['RSA 2048', ['-aes-256-gcm'], /not transported by RSA-OAEP with SHA-256/],
  ] as const) {
    makeCertificate(folder.path, pair(kind).privateKey)
    const [cipher, ...more] = options
    const args = ['cms', '-encrypt', '-binary', cipher, '-in', 'plain', '-outform', 'PEM', '-out', 'box']
    assert.equal(openssl([...args, '-recip', 'agent.crt', ...more], folder.path).status, 0)
    const box = readFileSync(join(folder.path, 'box'), 'utf8')
    assert.throws(() => openSealed(box, pair(kind).privateKey), reason)
  }
})

test('whatever is given, it is opened or refused with one kind of error', () => {
  const { privateKey } = pair('P-256')
  const der = derOf(sealFor('P-256'))
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.uint8Array({ maxLength: 40 }), fc.nat(60), (at, octets, skipped) => {
      const altered = Buffer.concat([der.subarray(0, at), octets, der.subarray(at + skipped)])
      if (!altered.equals(der)) assert.throws(() => openSealed(formatPem('CMS', altered), privateKey), SealedKeyError)
    }),
    { numRuns: 500 },
  )
  for (const text of ['', 'x', '-----BEGIN CMS-----\n!\n-----END CMS-----\n', formatPem('CERTIFICATE', der)])
    assert.throws(() => openSealed(text, privateKey), SealedKeyError)
  const ed25519 = generateKeyPairSync('ed25519').privateKey
  assert.throws(() => openSealed(sealFor('P-256'), ed25519), SealedKeyError)
})

// recipients --------------------------------------------------------------------------------------

function refusedRecipient(pem: string, reason: RegExp): void {
  const isRefusal = (error: unknown) =>
    error instanceof ProblemError && error.code === 'badPublicKey' && reason.test(error.message)
  assert.throws(() => parseRecipient(pem), isRefusal, `${reason}`)
}

test('a recipient is a public key or a certificate, and is known by the key', (t) => {
  if (requirePeer(t, 'openssl') === undefined) return
  using folder = makeTempFolder('recipient')
  for (const kind of kinds) {
    const { privateKey, recipient } = pair(kind)
    makeCertificate(folder.path, privateKey)
    const certificate = readFileSync(join(folder.path, 'agent.crt'), 'utf8')
    assert.deepEqual(parseRecipient(certificate).keyIdentifier, recipient.keyIdentifier)
    assert.deepEqual(parseRecipient(certificate).spkiDer, recipient.spkiDer)
    const text = spawnSync(needPeer('openssl').path, ['x509', '-noout', '-ext', 'subjectKeyIdentifier'], {
      input: certificate,
      encoding: 'utf8',
    }).stdout
    const shown = text.replace(/(?:.|\n)*:\s*\n\s*/, '').replace(/[:\s]/g, '')
    assert.equal(shown, Buffer.from(recipient.keyIdentifier).toString('hex').toUpperCase())
  }
})

test('a recipient that could not open it, or is too weak, is refused with what to use', () => {
  const spki = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
  for (const [type, reason] of [
    ['ed25519', /an Ed25519 key can sign, but nothing can be sealed to it; use an EC key \(openssl ecparam/],
    ['x25519', /openssl cms cannot open what is sealed to an X25519 key; use an EC key/],
    ['ed448', /an Ed448 key/],
    ['x448', /an X448 key/],
  ] as const)
    refusedRecipient(spki(generateKeyPairSync(type as 'ed25519').publicKey), reason)
  const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
  refusedRecipient(spki(rsa1024), /2048 to 8192 bits, this one has 1024/)
  refusedRecipient(spki(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey), /type rsa-pss; use an EC/)
  refusedRecipient(spki(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey), /secp256k1; the curve must/)
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  refusedRecipient(pemOf(privateKey), /private key: treat it as exposed/)
  refusedRecipient(`${spki(publicKey)}${spki(publicKey)}`, /more than one PEM block/)
  refusedRecipient('hello', /no PEM block "PUBLIC KEY" or "CERTIFICATE"/)
  refusedRecipient(formatPem('PUBLIC KEY', Buffer.from('x')), /public key could not be read/)
  refusedRecipient(formatPem('CERTIFICATE', Buffer.from('x')), /certificate could not be read/)
  refusedRecipient(formatPem('CERTIFICATE REQUEST', Buffer.from('x')), /a CERTIFICATE REQUEST, where/)
  refusedRecipient('-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n', /damaged/)
})
