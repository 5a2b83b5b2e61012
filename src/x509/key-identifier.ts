import { createHash, type KeyObject } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509'
import { spkiOf } from './spki.ts'

/** RFC 7093 §2, method 1: the leftmost 160 bits of the SHA-256 of the public key's bits. */
export function keyIdentifier(key: KeyObject): ArrayBuffer {
  return bufferOf(createHash('sha256').update(publicKeyBits(key)).digest().subarray(0, 20))
}

/**
 * RFC 5280 §4.2.1.2, method 1, which openssl uses: the SHA-1 of the public key's bits. It finds a key, it secures
 * nothing.
 */
export function opensslKeyIdentifier(key: KeyObject): Uint8Array {
  return createHash('sha1').update(publicKeyBits(key)).digest()
}

function publicKeyBits(key: KeyObject): Buffer {
  return Buffer.from(AsnConvert.parse(spkiOf(key), SubjectPublicKeyInfo).subjectPublicKey)
}

function bufferOf(octets: Uint8Array): ArrayBuffer {
  return Uint8Array.from(octets).buffer
}
