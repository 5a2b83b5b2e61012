import { constants, createCipheriv, diffieHellman, generateKeyPairSync, publicEncrypt } from 'node:crypto'
import {
  aes256Gcm,
  authTagLength,
  contentKeyLength,
  contentType,
  deriveKeyWrappingKey,
  type EcdhScheme,
  ecdhSchemes,
  nonceLength,
  rsaOaepSha256,
} from './cms-algorithms.ts'
import { readStructure, tag } from './der.ts'
import { context, contextPrimitive, element, integer, octetString, sequence, set } from './der-writer.ts'
import { formatPem } from './pem.ts'
import type { Recipient } from './recipient.ts'
import { spkiOf } from './spki.ts'

/** What a sealed key's PEM block is called (RFC 7468 §9). */
export const sealedKeyLabel = 'CMS'

/** RFC 3394 §2.2.3.1 */
const keyWrapInitialValue = Buffer.alloc(8, 0xa6)

export type Randomness = { randomBytes(length: number): Uint8Array }

/**
 * Seals octets to a recipient: CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084), which `openssl cms
 * -decrypt -inform PEM -inkey agent.key` opens or refuses as a whole. Whoever has the public key can seal: it says
 * nothing about who did. The plain octets stay the caller's to wipe.
 * @returns PEM
 */
export function seal(plainBytes: Uint8Array, recipient: Recipient, parts: Randomness): string {
  const contentKey = parts.randomBytes(contentKeyLength)
  const nonce = parts.randomBytes(nonceLength)
  try {
    const cipher = createCipheriv('aes-256-gcm', contentKey, nonce, { authTagLength })
    const encrypted = Buffer.concat([cipher.update(plainBytes), cipher.final()])
    const authEnvelopedData = sequence(
      integer(0),
      set(recipientInfo(contentKey, recipient)),
      sequence(contentType.data, aes256Gcm(nonce), contextPrimitive(0, encrypted)),
      octetString(cipher.getAuthTag()),
    )
    return formatPem(sealedKeyLabel, sequence(contentType.authEnvelopedData, context(0, authEnvelopedData)))
  } finally {
    contentKey.fill(0)
  }
}

function recipientInfo(contentKey: Uint8Array, recipient: Recipient): Buffer {
  return recipient.publicKey.asymmetricKeyType === 'rsa'
    ? keyTransRecipientInfo(contentKey, recipient)
    : keyAgreeRecipientInfo(contentKey, recipient)
}

/** RFC 5652 §6.2.1, version 2: the recipient by its key identifier; RSAES-OAEP (RFC 3560). */
function keyTransRecipientInfo(contentKey: Uint8Array, { publicKey, keyIdentifier }: Recipient): Buffer {
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const encryptedKey = publicEncrypt({ key: publicKey, padding, oaepHash: 'sha256' }, contentKey)
  return sequence(integer(2), contextPrimitive(0, keyIdentifier), rsaOaepSha256, octetString(encryptedKey))
}

/** RFC 5652 §6.2.2 and RFC 5753 §3.1: an ephemeral key of ours agrees with the recipient's on what wraps the content key. */
function keyAgreeRecipientInfo(contentKey: Uint8Array, { publicKey, keyIdentifier }: Recipient): Buffer {
  const namedCurve = publicKey.asymmetricKeyDetails?.namedCurve ?? ''
  const { digest, algorithm } = schemeOf(namedCurve)
  const ephemeral = generateKeyPairSync('ec', { namedCurve })
  const sharedSecret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey })
  const wrappingKey = deriveKeyWrappingKey(digest, sharedSecret)
  try {
    const cipher = createCipheriv('id-aes256-wrap', wrappingKey, keyWrapInitialValue)
    const encryptedKey = Buffer.concat([cipher.update(contentKey), cipher.final()])
    // OriginatorPublicKey is a SubjectPublicKeyInfo with another tag.
    const originatorKey = element(0xa1, readStructure(spkiOf(ephemeral.publicKey), tag.sequence, 'the ephemeral key'))
    const recipientKey = context(0, octetString(keyIdentifier))
    return context(
      1,
      integer(3),
      context(0, originatorKey),
      algorithm,
      sequence(sequence(recipientKey, octetString(encryptedKey))),
    )
  } finally {
    sharedSecret.fill(0)
    wrappingKey.fill(0)
  }
}

/** A digest as long as the curve is strong (RFC 5753 §8). @throws RangeError for a curve that no recipient has */
function schemeOf(namedCurve: string): EcdhScheme {
  const scheme = ecdhSchemes[['prime256v1', 'secp384r1', 'secp521r1'].indexOf(namedCurve)]
  if (scheme === undefined) throw new RangeError(`nothing is sealed to a key on ${namedCurve}`)
  return scheme
}
