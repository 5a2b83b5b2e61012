import { createHash, type KeyObject, verify } from 'node:crypto'
import { type Identifier, uniqueIdentifiers } from '../acme/identifier.ts'
import { ProblemError } from '../acme/problem.ts'
import { type CsrRules, commonNames, maxNames, requestedNames, tooManyNames } from './csr-names.ts'
import { type CsrStructure, readCsrStructure } from './csr-structure.ts'
import { parsePem } from './pem.ts'
import { parseSubjectPublicKey } from './public-key.ts'

/** A PKCS #10 request (RFC 2986) whose self-signature holds and whose every name could be certified. */
export type Csr = {
  readonly der: Uint8Array
  /** Each name once: subject alternative names in their order, then the common name where it adds one. */
  readonly identifiers: readonly Identifier[]
  readonly publicKey: KeyObject
  /** SHA-256 of the SubjectPublicKeyInfo, hexadecimal. */
  readonly publicKeyHash: string
}

/** What was sent is no certificate request at all: another failure than a request that gets no certificate. */
export class UnreadableCsrError extends Error {
  override readonly name = 'UnreadableCsrError'
}

/** Object identifiers in hexadecimal, as their octets are (RFC 8017 appendix C, RFC 5758 §3.2). */
const signatureAlgorithms = new Map([
  ['2a864886f70d01010b', { digest: 'sha256', keyType: 'rsa' }],
  ['2a864886f70d01010c', { digest: 'sha384', keyType: 'rsa' }],
  ['2a864886f70d01010d', { digest: 'sha512', keyType: 'rsa' }],
  ['2a8648ce3d040302', { digest: 'sha256', keyType: 'ec' }],
  ['2a8648ce3d040303', { digest: 'sha384', keyType: 'ec' }],
  ['2a8648ce3d040304', { digest: 'sha512', keyType: 'ec' }],
])

/**
 * Takes the one request out of a PEM text. Explanatory text may stand before it (`openssl req -text`), nothing after.
 * @throws UnreadableCsrError when it holds no request
 * @throws ProblemError `badCSR` when it holds more than one block, or a private key
 */
export function parseCsrPem(text: string, rules: CsrRules = {}): Csr {
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(text)) {
    throw new ProblemError(
      'badCSR',
      'the body contains a private key: treat that key as exposed, make a new one, and send only the request',
    )
  }
  const { blocks, after } = readPem(text)
  const [block] = blocks
  if (block === undefined) throw new UnreadableCsrError('no PEM block "CERTIFICATE REQUEST" in it')
  if (!/^(NEW )?CERTIFICATE REQUEST$/.test(block.label))
    throw new UnreadableCsrError(`a ${block.label}, not a CERTIFICATE REQUEST`)
  if (blocks.length > 1)
    throw new ProblemError('badCSR', 'more than one PEM block; send one certificate request at a time')
  if (after.trim() !== '') throw new ProblemError('badCSR', 'text follows the certificate request')
  return parseCsr(block.der, rules)
}

function readPem(text: string): ReturnType<typeof parsePem> {
  try {
    return parsePem(text)
  } catch (cause) {
    throw new UnreadableCsrError('the PEM block is damaged', { cause })
  }
}

/**
 * Reads and checks a request: key, self-signature, names, wishes.
 * @throws UnreadableCsrError when it is no DER request
 * @throws ProblemError `badCSR`, `badPublicKey`, `malformed` when no CA should sign it
 */
export function parseCsr(der: Uint8Array, rules: CsrRules = {}): Csr {
  const structure = readStructureOf(der)
  const publicKey = parseSubjectPublicKey(structure.spkiDer)
  checkSelfSignature(structure, publicKey)
  const identifiers = uniqueIdentifiers([...requestedNames(structure, rules), ...commonNames(structure)])
  if (identifiers.length === 0)
    throw new ProblemError('badCSR', 'the request names nothing: it needs subjectAltName entries or a common name')
  if (identifiers.length > maxNames) throw tooManyNames()
  return { der, identifiers, publicKey, publicKeyHash: createHash('sha256').update(structure.spkiDer).digest('hex') }
}

function readStructureOf(der: Uint8Array): CsrStructure {
  try {
    return readCsrStructure(der)
  } catch (cause) {
    throw new UnreadableCsrError(
      `not a DER certificate request${cause instanceof RangeError ? `: ${cause.message}` : ''}`,
      { cause },
    )
  }
}

/** RFC 2986 §4.2. Proves that the sender holds the key; Pebble and acmems never looked. */
function checkSelfSignature(structure: CsrStructure, publicKey: KeyObject): void {
  const algorithm = signatureAlgorithms.get(structure.signatureOid ?? '')
  if (algorithm === undefined || algorithm.keyType !== publicKey.asymmetricKeyType) {
    throw new ProblemError(
      'badCSR',
      'the request must be signed by its own RSA or EC key, with SHA-256, SHA-384 or SHA-512',
    )
  }
  if (!verify(algorithm.digest, structure.infoDer, publicKey, structure.signature)) {
    throw new ProblemError(
      'badCSR',
      "the request's self-signature does not hold: it was altered, or signed by another key",
    )
  }
}
