import {
  constants,
  createECDH,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hash,
  type KeyObject,
  timingSafeEqual,
  verify,
} from 'node:crypto'
import type { SigningKey } from './signing-key.ts'

/** How RFC 9421 §3.3 has it. */
type Algorithm = {
  readonly name: string
  /** Not taken unless the signer names it: the key alone means another one. */
  readonly onlyNamed?: true
  /** Can a signature have this length? */
  fits(length: number): boolean
  /** May this key be used with it, for a signature of this length? */
  takes(key: KeyObject, length: number): boolean
  holds(key: KeyObject, base: Buffer, signature: Uint8Array): boolean
  /** A key of nobody, which costs as much to try as one of somebody. */
  dummy(length: number): KeyObject
}

function ecdsa(name: string, namedCurve: string, digest: string, rawLength: number): Algorithm {
  const dummy = once(() => dummyPoint(namedCurve, rawLength / 2))
  return {
    name,
    // RFC 9421 has r and s side by side; openssl writes them as DER, which has this very length only by a chance of 2^-40.
    fits: (length) => length === rawLength || (length >= 8 && length <= rawLength + 8),
    takes: (key) => key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === namedCurve,
    holds: (key, base, signature) =>
      verify(digest, base, { key, dsaEncoding: signature.length === rawLength ? 'ieee-p1363' : 'der' }, signature),
    dummy,
  }
}

function rsa(name: string, digest: string, padding: number, types: readonly string[], onlyNamed?: true): Algorithm {
  return {
    name,
    ...(onlyNamed === undefined ? {} : { onlyNamed }),
    fits: (length) => length >= 256 && length <= 1024,
    takes: (key, length) =>
      types.includes(key.asymmetricKeyType ?? '') && (key.asymmetricKeyDetails?.modulusLength ?? 0) === length * 8,
    holds: (key, base, signature) =>
      verify(
        digest,
        base,
        padding === constants.RSA_PKCS1_PSS_PADDING ? { key, padding, saltLength: 64 } : { key, padding },
        signature,
      ),
    dummy: dummyRsa,
  }
}

const algorithms: readonly Algorithm[] = [
  {
    name: 'hmac-sha256',
    fits: (length) => length === 32,
    takes: (key) => key.type === 'secret',
    holds: (key, base, signature) => timingSafeEqual(createHmac('sha256', key).update(base).digest(), signature),
    dummy: once(() => createSecretKey(hash('sha256', 'nobody', 'buffer'))),
  },
  {
    name: 'ed25519',
    fits: (length) => length === 64,
    takes: (key) => key.asymmetricKeyType === 'ed25519',
    holds: (key, base, signature) => verify(null, base, key, signature),
    dummy: once(() => {
      const seed = Buffer.concat([
        Buffer.from('302e020100300506032b657004220420', 'hex'),
        hash('sha256', 'nobody', 'buffer'),
      ])
      return createPublicKey(createPrivateKey({ key: seed, format: 'der', type: 'pkcs8' }))
    }),
  },
  ecdsa('ecdsa-p256-sha256', 'prime256v1', 'sha256', 64),
  ecdsa('ecdsa-p384-sha384', 'secp384r1', 'sha384', 96),
  rsa('rsa-v1_5-sha256', 'sha256', constants.RSA_PKCS1_PADDING, ['rsa']),
  rsa('rsa-pss-sha512', 'sha512', constants.RSA_PKCS1_PSS_PADDING, ['rsa', 'rsa-pss'], true),
]

export const algorithmNames = algorithms.map(({ name }) => name)

/**
 * Which of the keys made this signature. The algorithm is the key's; what the signer calls it must agree. Where no key
 * can have made it, one of nobody is tried instead, so that time does not tell which key ids there are.
 * @param named the signer's `alg`
 */
export function findSigner(
  keys: readonly SigningKey[],
  named: string | undefined,
  base: Buffer,
  signature: Uint8Array,
): SigningKey | undefined {
  let signer: SigningKey | undefined
  for (const algorithm of algorithms) {
    if (named === undefined ? algorithm.onlyNamed : algorithm.name !== named) continue
    if (!algorithm.fits(signature.length)) continue
    const own = keys.filter(({ key }) => algorithm.takes(key, signature.length))
    if (own.length === 0) holds(algorithm, algorithm.dummy(signature.length), base, signature)
    for (const candidate of own) if (holds(algorithm, candidate.key, base, signature)) signer ??= candidate
  }
  return signer
}

function holds(algorithm: Algorithm, key: KeyObject, base: Buffer, signature: Uint8Array): boolean {
  try {
    return algorithm.holds(key, base, signature)
  } catch {
    // What OpenSSL cannot even read is no signature.
    return false
  }
}

function once(make: () => KeyObject): () => KeyObject {
  let made: KeyObject | undefined
  return () => {
    made ??= make()
    return made
  }
}

function dummyPoint(namedCurve: string, size: number): KeyObject {
  const ecdh = createECDH(namedCurve)
  ecdh.setPrivateKey(Buffer.alloc(size, 1))
  const point = ecdh.getPublicKey()
  const [x, y] = [point.subarray(1, 1 + size), point.subarray(1 + size)]
  const crv = size === 32 ? 'P-256' : 'P-384'
  return createPublicKey({
    key: { kty: 'EC', crv, x: x.toString('base64url'), y: y.toString('base64url') },
    format: 'jwk',
  })
}

const dummyModuli = new Map<number, KeyObject>()

/** Nobody knows its factors, nor need there be two: only its length costs time. */
function dummyRsa(length: number): KeyObject {
  const known = dummyModuli.get(length)
  if (known !== undefined) return known
  if (dummyModuli.size >= 16) dummyModuli.clear()
  const key = createPublicKey({
    key: { kty: 'RSA', e: 'AQAB', n: Buffer.alloc(length, 0xd5).toString('base64url') },
    format: 'jwk',
  })
  dummyModuli.set(length, key)
  return key
}
