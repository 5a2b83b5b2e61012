import { createHash } from 'node:crypto'
import { context, integer, nullValue, objectIdentifier, octetString, sequence } from './der-writer.ts'

// What a sealed key is made with, and how its octets say so. A reader compares whole AlgorithmIdentifiers: what is not
// exactly one of these is not opened.

export const contentType = {
  data: objectIdentifier('1.2.840.113549.1.7.1'),
  /** RFC 5083 §1 */
  authEnvelopedData: objectIdentifier('1.2.840.113549.1.9.16.1.23'),
} as const

export const nonceLength = 12
export const authTagLength = 16
export const contentKeyLength = 32

/** id-aes256-GCM with GCMParameters (RFC 5084 §3.2). */
export function aes256Gcm(nonce: Uint8Array): Buffer {
  return sequence(objectIdentifier('2.16.840.1.101.3.4.1.46'), sequence(octetString(nonce), integer(authTagLength)))
}

/** id-aes256-wrap (RFC 3565 §2.3.2): no parameters. */
export const aes256Wrap = sequence(objectIdentifier('2.16.840.1.101.3.4.1.45'))

const sha256Oid = objectIdentifier('2.16.840.1.101.3.4.2.1')
const mgf1Oid = objectIdentifier('1.2.840.113549.1.1.8')

/** RSAES-OAEP-params with SHA-256 for both (RFC 4055 §4.1), whose digests have NULL beside them or nothing. */
function oaepWith(digest: Buffer): Buffer {
  return sequence(
    objectIdentifier('1.2.840.113549.1.1.7'),
    sequence(context(0, digest), context(1, sequence(mgf1Oid, digest))),
  )
}

/** RFC 4055 §2.1: NULL is what is written, both are what is read. */
export const rsaOaepSha256 = oaepWith(sequence(sha256Oid, nullValue()))
export const rsaOaepSha256Bare = oaepWith(sequence(sha256Oid))

export type EcdhScheme = { readonly digest: string; readonly algorithm: Buffer }

/** dhSinglePass-stdDH-sha*kdf-scheme (RFC 5753 §7.1.4), whose parameter is how the content key is wrapped. */
function ecdhWith(digest: string, arc: number): EcdhScheme {
  return { digest, algorithm: sequence(objectIdentifier(`1.3.132.1.11.${arc}`), aes256Wrap) }
}

export const ecdhSchemes: readonly EcdhScheme[] = [ecdhWith('sha256', 1), ecdhWith('sha384', 2), ecdhWith('sha512', 3)]

/** X9.63's KDF over ECC-CMS-SharedInfo (RFC 5753 §7.2); each of these digests gives 32 octets in one round. */
export function deriveKeyWrappingKey(digest: string, sharedSecret: Uint8Array): Buffer {
  const bitLength = Buffer.alloc(4)
  bitLength.writeUInt32BE(contentKeyLength * 8)
  const sharedInfo = sequence(aes256Wrap, context(2, octetString(bitLength)))
  const counter = Buffer.of(0, 0, 0, 1)
  const derived = createHash(digest).update(sharedSecret).update(counter).update(sharedInfo).digest()
  derived.fill(0, contentKeyLength)
  return derived.subarray(0, contentKeyLength)
}
