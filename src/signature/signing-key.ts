import { createPrivateKey, createPublicKey, createSecretKey, hash, type KeyObject } from 'node:crypto'
import { spkiSha256 } from '../x509/spki.ts'

/** A key that requests may be signed with. Its `key` holds no private half, except where that is a shared secret. */
export type SigningKey = {
  /** What a signer calls it in `keyid`, beside its thumbprint. */
  readonly keyId: string
  /** Of a public key: what a signer may call it, too. Of a shared secret: never stored, logged or shown. */
  readonly thumbprint: string
  readonly key: KeyObject
}

/** Whose signature over the request held. */
export type SignedBy = {
  readonly keyId: string
  readonly thumbprint: string
  /** Blocks that the key was enrolled for. */
  readonly enrolledFor: readonly string[]
}

const minRsaBits = 2048
const maxRsaBits = 8192
const maxRsaExponent = 2n ** 32n
const curves = ['prime256v1', 'secp384r1']
/** Of a SHA-256 in base64url. */
const thumbprintPattern = /^[A-Za-z0-9_-]{43}$/
const minSecretBytes = 32
const maxKeyTextLength = 16_384

/** base64url of the SHA-256 of the SubjectPublicKeyInfo: a host computes it itself. */
export function thumbprintOf(key: KeyObject): string {
  return spkiSha256(key, 'base64url')
}

export function isThumbprint(keyId: string): boolean {
  return thumbprintPattern.test(keyId)
}

/**
 * Reads a public key as an OpenSSH line or PEM, whose lines may be joined to one.
 * @throws RangeError with a sentence about what is wrong with it
 */
export function parsePublicKey(text: string): KeyObject {
  if (text.length > maxKeyTextLength) throw new RangeError('this is too long for a public key')
  if (/PRIVATE KEY/.test(text)) throw new RangeError('this is a private key: give its public half')
  // A line of PEM may begin like an OpenSSH key.
  const openSsh = text.includes('-----BEGIN') ? undefined : text.split(/\s+/).find((word) => word.startsWith('AAAA'))
  const key = openSsh === undefined ? parsePem(text) : parseOpenSsh(openSsh)
  checkPublicKey(key)
  return key
}

/**
 * Reads a private key in PEM that requests can be signed with.
 * @throws RangeError with a sentence about what is wrong with it
 */
export function parsePrivateKey(text: string | Buffer): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(text)
  } catch (cause) {
    throw new RangeError('this is no private key in PEM without a password', { cause })
  }
  checkPublicKey(createPublicKey(key))
  return key
}

/** @throws RangeError when it is too short to be random */
export function parseSecret(text: string): KeyObject {
  if (Buffer.byteLength(text) < minSecretBytes)
    throw new RangeError(
      `a signing secret must have ${minSecretBytes} octets or more; "openssl rand -base64 32" makes one`,
    )
  return createSecretKey(Buffer.from(text))
}

/** Tells secrets apart. */
export function thumbprintOfSecret(secret: KeyObject): string {
  return hash('sha256', Buffer.concat([Buffer.from('acmems signing-secret\0'), secret.export()]), 'base64url')
}

function parsePem(text: string): KeyObject {
  const match = /-----BEGIN ((?:RSA )?PUBLIC KEY)-----([A-Za-z0-9+/=\s]+)-----END \1-----/.exec(text)
  if (match === null)
    throw new RangeError(
      'no public key: write an OpenSSH line (ssh-ed25519 AAAA…), PEM (BEGIN PUBLIC KEY), or the path of a file',
    )
  const der = Buffer.from((match[2] ?? '').replace(/\s/g, ''), 'base64')
  return read(() => createPublicKey({ key: der, format: 'der', type: match[1] === 'PUBLIC KEY' ? 'spki' : 'pkcs1' }))
}

/** RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4. */
function parseOpenSsh(base64: string): KeyObject {
  const fields = readSshFields(Buffer.from(base64, 'base64'))
  const [type, first, second] = fields
  const kind = type?.toString('latin1') ?? ''
  if (kind === 'ssh-rsa' && first !== undefined && second !== undefined)
    return read(() =>
      createPublicKey({
        key: { kty: 'RSA', e: first.toString('base64url'), n: second.toString('base64url') },
        format: 'jwk',
      }),
    )
  if (kind === 'ssh-ed25519' && first !== undefined)
    return read(() =>
      createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: first.toString('base64url') }, format: 'jwk' }),
    )
  const curve = { 'ecdsa-sha2-nistp256': 'P-256', 'ecdsa-sha2-nistp384': 'P-384' }[kind]
  if (curve !== undefined && second !== undefined && second[0] === 4) {
    const half = (second.length - 1) / 2
    const [x, y] = [second.subarray(1, 1 + half), second.subarray(1 + half)]
    return read(() =>
      createPublicKey({
        key: { kty: 'EC', crv: curve, x: x.toString('base64url'), y: y.toString('base64url') },
        format: 'jwk',
      }),
    )
  }
  throw new RangeError(
    `an OpenSSH key of a kind that cannot be used here${/^[a-z0-9@.-]{1,40}$/.test(kind) ? ` (${kind})` : ''}: ssh-rsa, ssh-ed25519, ecdsa-sha2-nistp256 and -nistp384 can`,
  )
}

function readSshFields(bytes: Buffer): Buffer[] {
  const fields: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = at + 4 <= bytes.length ? bytes.readUInt32BE(at) : Number.POSITIVE_INFINITY
    if (at + 4 + length > bytes.length) throw new RangeError('the OpenSSH public key is cut off')
    fields.push(bytes.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return fields
}

function read(make: () => KeyObject): KeyObject {
  try {
    return make()
  } catch (cause) {
    throw new RangeError('the public key cannot be read', { cause })
  }
}

function checkPublicKey(key: KeyObject): void {
  const { modulusLength = 0, publicExponent = 0n, namedCurve = '' } = key.asymmetricKeyDetails ?? {}
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return
    case 'ec':
      if (!curves.includes(namedCurve)) throw new RangeError('the curve must be P-256 or P-384')
      return
    case 'rsa':
    case 'rsa-pss':
      if (modulusLength < minRsaBits || modulusLength > maxRsaBits || modulusLength % 8 !== 0)
        throw new RangeError(`an RSA key must have ${minRsaBits} to ${maxRsaBits} bits, this one has ${modulusLength}`)
      // A large one would make every signature that is looked at expensive.
      if (publicExponent < 3n || publicExponent % 2n === 0n || publicExponent > maxRsaExponent)
        throw new RangeError('the RSA exponent must be odd and at most 32 bits long')
      return
    default:
      throw new RangeError(`keys of type ${key.asymmetricKeyType} sign no requests: use RSA, Ed25519, P-256 or P-384`)
  }
}
