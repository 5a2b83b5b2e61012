import { createHash, type KeyObject, verify } from 'node:crypto'
import { CertificationRequest } from '@peculiar/asn1-csr'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  BasicConstraints,
  Extensions,
  type GeneralName,
  id_ce_basicConstraints,
  id_ce_subjectAltName,
  SubjectAlternativeName,
} from '@peculiar/asn1-x509'
import { type Identifier, parseDnsName, parseIpOctets, uniqueIdentifiers } from '../acme/identifier.ts'
import { ProblemError } from '../acme/problem.ts'
import { checkDer } from './der.ts'
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

const maxNames = 100
const extensionRequestOid = '1.2.840.113549.1.9.14'
const tlsFeatureOid = '1.3.6.1.5.5.7.1.24'
const commonNameOid = '2.5.4.3'
const digestBySignatureOid = new Map([
  ['1.2.840.113549.1.1.11', 'sha256'],
  ['1.2.840.113549.1.1.12', 'sha384'],
  ['1.2.840.113549.1.1.13', 'sha512'],
  ['1.2.840.10045.4.3.2', 'sha256'],
  ['1.2.840.10045.4.3.3', 'sha384'],
  ['1.2.840.10045.4.3.4', 'sha512'],
])

/**
 * Takes the one request out of a PEM text. Explanatory text may stand before it (`openssl req -text`), nothing after.
 * @throws UnreadableCsrError when it holds no request
 * @throws ProblemError `badCSR` when it holds more than one block, or a private key
 */
export function parseCsrPem(text: string): Csr {
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
  return parseCsr(block.der)
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
export function parseCsr(der: Uint8Array): Csr {
  const request = decodeRequest(der)
  const info = request.certificationRequestInfo
  const spkiDer = new Uint8Array(AsnConvert.serialize(info.subjectPKInfo))
  const publicKey = parseSubjectPublicKey(spkiDer)
  checkSelfSignature(request, publicKey)
  const names = [...subjectAltNames(info.attributes ?? []), ...commonNames(request)]
  const identifiers = uniqueIdentifiers(names)
  if (identifiers.length === 0)
    throw new ProblemError('badCSR', 'the request names nothing: it needs subjectAltName entries or a common name')
  if (identifiers.length > maxNames) {
    throw new ProblemError('badCSR', `the request has ${identifiers.length} names, at most ${maxNames} are allowed`)
  }
  return { der, identifiers, publicKey, publicKeyHash: createHash('sha256').update(spkiDer).digest('hex') }
}

function decodeRequest(der: Uint8Array): CertificationRequest {
  try {
    checkDer(der)
    return AsnConvert.parse(der, CertificationRequest)
  } catch (cause) {
    throw new UnreadableCsrError(
      `not a DER certificate request${cause instanceof RangeError ? `: ${cause.message}` : ''}`,
      { cause },
    )
  }
}

/** RFC 2986 §4.2. Proves that the sender holds the key; Pebble and acmems never looked. */
function checkSelfSignature(request: CertificationRequest, publicKey: KeyObject): void {
  const digest = digestBySignatureOid.get(request.signatureAlgorithm.algorithm)
  if (digest === undefined)
    throw new ProblemError('badCSR', 'the request must be signed with SHA-256, SHA-384 or SHA-512 by RSA or ECDSA')
  const signed = request.certificationRequestInfoRaw
  if (signed === undefined || !verify(digest, Buffer.from(signed), publicKey, Buffer.from(request.signature))) {
    throw new ProblemError(
      'badCSR',
      "the request's self-signature does not hold: it was altered, or signed by another key",
    )
  }
}

type Attribute = { readonly type: string; readonly values: readonly ArrayBuffer[] }

function subjectAltNames(attributes: Iterable<Attribute>): Identifier[] {
  const requests = [...attributes].filter((attribute) => attribute.type === extensionRequestOid)
  if (requests.length > 1 || requests.some((request) => request.values.length !== 1)) {
    throw new ProblemError('badCSR', 'the request asks for extensions more than once')
  }
  const value = requests[0]?.values[0]
  if (value === undefined) return []
  const extensions = [...decodeWish(value, Extensions)]
  if (new Set(extensions.map((extension) => extension.extnID)).size !== extensions.length) {
    throw new ProblemError('badCSR', 'an extension is asked for twice')
  }
  const wishOf = (oid: string) => extensions.find((extension) => extension.extnID === oid)?.extnValue.buffer
  const constraints = wishOf(id_ce_basicConstraints)
  if (constraints !== undefined && decodeWish(constraints, BasicConstraints).cA) {
    throw new ProblemError('badCSR', 'the request asks for a CA certificate')
  }
  if (wishOf(tlsFeatureOid) !== undefined) {
    throw new ProblemError(
      'badCSR',
      "the request asks for must-staple, which Let's Encrypt refuses since it ended OCSP",
    )
  }
  const names = wishOf(id_ce_subjectAltName)
  return names === undefined ? [] : [...decodeWish(names, SubjectAlternativeName)].map(identifierOf)
}

function decodeWish<T>(der: ArrayBuffer, type: new () => T): T {
  try {
    checkDer(new Uint8Array(der))
    return AsnConvert.parse(der, type)
  } catch (cause) {
    throw new ProblemError('badCSR', 'a requested extension could not be read', { cause })
  }
}

function identifierOf(name: GeneralName): Identifier {
  if (name.dNSName !== undefined) return parseDnsName(name.dNSName)
  // The library hands out text where the octets have the right length, so the octets are asked for again.
  if (name.iPAddress !== undefined) return parseIpOctets(new Uint8Array(AsnConvert.serialize(name)).subarray(2))
  throw new ProblemError('badCSR', 'the request has an alternative name that is neither a DNS name nor an IP address')
}

function commonNames(request: CertificationRequest): Identifier[] {
  const attributes = [...request.certificationRequestInfo.subject].flatMap((relative) => [...relative])
  const values = attributes.filter((attribute) => attribute.type === commonNameOid)
  if (values.length > 1) throw new ProblemError('badCSR', 'the request has more than one common name')
  return values.map((attribute) => parseDnsName(attribute.value.toString())).slice(0, 1)
}
