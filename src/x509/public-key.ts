import { checkPrimeSync, createPublicKey, type KeyObject } from 'node:crypto'
import { ProblemError } from '../acme/problem.ts'
import { readElements, tag } from './der.ts'

const minRsaBits = 2048
const maxRsaBits = 8192
const curves = new Set(['prime256v1', 'secp384r1'])
const fermatRounds = 100

/**
 * Reads a SubjectPublicKeyInfo and refuses what no public CA may certify (Baseline Requirements §6.1.1.3).
 * @throws ProblemError `badPublicKey`
 */
export function parseSubjectPublicKey(spkiDer: Uint8Array): KeyObject {
  const key = importSpki(spkiDer)
  switch (key.asymmetricKeyType) {
    case 'rsa':
      checkRsa(key)
      return key
    case 'ec':
      if (!curves.has(key.asymmetricKeyDetails?.namedCurve ?? '')) throw refuse('the curve must be P-256 or P-384')
      return key
    default:
      throw refuse(
        `keys of type ${key.asymmetricKeyType} get no certificate; use RSA (2048 bits or more), P-256 or P-384`,
      )
  }
}

function importSpki(spkiDer: Uint8Array): KeyObject {
  checkParameters(spkiDer)
  try {
    const key = createPublicKey({ key: Buffer.from(spkiDer), format: 'der', type: 'spki' })
    // OpenSSL overlooks what is not DER inside the bits; the certificate would then be for other octets.
    if (key.export({ type: 'spki', format: 'der' }).equals(spkiDer)) return key
  } catch (cause) {
    throw new ProblemError('badPublicKey', 'the public key could not be read', { cause })
  }
  throw refuse('the public key is not DER')
}

const rsaOid = '2a864886f70d010101'
const ecOid = '2a8648ce3d0201'

/**
 * RFC 3279 §2.3: NULL beside an RSA key, a named curve beside an EC key. OpenSSL takes more, curves spelt out among
 * it, and would write some of it back differently than it came.
 */
function checkParameters(spkiDer: Uint8Array): void {
  const [algorithm, bits] = readElements(readElements(spkiDer)[0]?.content ?? spkiDer)
  const [oid, parameters] = readElements(algorithm?.content ?? new Uint8Array())
  const type = Buffer.from(oid?.content ?? []).toString('hex')
  if (type === rsaOid && (parameters?.tag !== tag.null || parameters.content.length > 0))
    throw refuse('an RSA key must have NULL parameters')
  // RFC 5480 §2.2: it MUST NOT be used. The first octet of the content counts unused bits.
  if (type === ecOid && [0x06, 0x07].includes(bits?.content[1] ?? 0)) throw refuse('the key is a point in hybrid form')
  if (type === ecOid && parameters?.tag !== tag.objectIdentifier)
    throw refuse('the curve must be named: P-256 or P-384')
}

function refuse(reason: string): ProblemError {
  return new ProblemError('badPublicKey', reason)
}

function checkRsa(key: KeyObject): void {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
  const exponent = key.asymmetricKeyDetails?.publicExponent ?? 0n
  if (bits < minRsaBits || bits > maxRsaBits) {
    throw refuse(`an RSA key must have ${minRsaBits} to ${maxRsaBits} bits, this one has ${bits}`)
  }
  if (bits % 8 !== 0) throw refuse(`an RSA key's bits must be a multiple of 8, this one has ${bits}`)
  if (exponent % 2n === 0n || exponent < 65537n || exponent > 2n ** 256n - 1n)
    throw refuse('the RSA exponent must be odd and at least 65537')
  const modulus = BigInt(`0x${Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url').toString('hex') || '0'}`)
  if (smallPrimes.some((prime) => modulus % prime === 0n)) throw refuse('the RSA modulus has a small factor')
  if (checkPrimeSync(modulus, { checks: 2 })) throw refuse('the RSA modulus is a prime')
  if (isRocaModulus(modulus)) throw refuse('the RSA key was made by a broken generator (ROCA, CVE-2017-15361)')
  if (hasClosePrimes(modulus)) throw refuse("the RSA key's primes are too close together (Fermat)")
}

const smallPrimes = Array.from({ length: 751 }, (_, i) => i + 2)
  .filter((n) => [2, 3, 5, 7, 11, 13, 17, 19, 23].every((p) => n === p || n % p !== 0))
  .map(BigInt)

/** ROCA keys: the modulus lies in the subgroup that 65537 generates modulo every small prime (Nemec et al., 2017). */
function isRocaModulus(modulus: bigint): boolean {
  return rocaSubgroups.every(({ prime, members }) => members.has(Number(modulus % BigInt(prime))))
}

const rocaSubgroups = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157].map((prime) => {
  const members = new Set<number>()
  for (let value = 1; !members.has(value); value = (value * 65537) % prime) members.add(value)
  return { prime, members }
})

/** Fermat's factorisation, as many rounds as the Baseline Requirements ask for. */
function hasClosePrimes(modulus: bigint): boolean {
  let a = squareRoot(modulus)
  if (a * a < modulus) a += 1n
  let remainder = a * a - modulus
  for (let round = 0; round < fermatRounds; round++) {
    if (isSquare(remainder)) return true
    remainder += 2n * a + 1n
    a += 1n
  }
  return false
}

function isSquare(value: bigint): boolean {
  // Squares are 0, 1, 4, 9, 16, 17, 25, 33, 36, 41, 49, 57 modulo 64: five of six candidates fall here.
  if (!squaresModulo64.has(Number(value & 63n))) return false
  const root = squareRoot(value)
  return root * root === value
}

const squaresModulo64 = new Set(Array.from({ length: 64 }, (_, i) => (i * i) % 64))

function squareRoot(value: bigint): bigint {
  if (value < 2n) return value
  let root = 1n << BigInt((value.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (root + value / root) >> 1n
    if (next >= root) return root
    root = next
  }
}
