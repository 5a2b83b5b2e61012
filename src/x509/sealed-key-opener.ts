import {
  constants,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  privateDecrypt,
} from 'node:crypto'
import {
  aes256Gcm,
  authTagLength,
  contentKeyLength,
  contentType,
  deriveKeyWrappingKey,
  ecdhSchemes,
  nonceLength,
  rsaOaepSha256,
  rsaOaepSha256Bare,
} from './cms-algorithms.ts'
import { type DerElement, DerError, readElements, readStructure, requireElement, tag } from './der.ts'
import { element, integer, nullValue, objectIdentifier, sequence } from './der-writer.ts'
import { opensslKeyIdentifier } from './key-identifier.ts'
import { parsePem } from './pem.ts'
import { sealedKeyLabel } from './sealed-key.ts'
import { spkiOf } from './spki.ts'

/** A sealed key that is damaged, or not ours to open. */
export class SealedKeyError extends Error {
  override readonly name = 'SealedKeyError'
}

const maxRecipients = 20
const context1 = 0xa1
const primitive0 = 0x80

/**
 * Opens what `seal` makes, and what `openssl cms -encrypt -aes-256-gcm` makes with the same algorithms
 * (`-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256`, or `-keyopt ecdh_kdf_md:sha256`).
 * @param pem the first CMS block in it counts; certificates may follow
 * @returns the plain octets, the caller's to wipe
 * @throws SealedKeyError
 */
export function openSealed(pem: string, privateKey: KeyObject): Buffer {
  try {
    return open(sealedDer(pem), privateKey)
  } catch (cause) {
    if (cause instanceof SealedKeyError) throw cause
    const reason = cause instanceof RangeError ? cause.message : 'it was altered, or sealed to another key'
    throw new SealedKeyError(`the sealed key cannot be opened: ${reason}`, { cause })
  }
}

function sealedDer(pem: string): Uint8Array {
  const block = parsePem(pem).blocks.find(({ label }) => label === sealedKeyLabel)
  if (block === undefined) throw new SealedKeyError(`there is no PEM block "${sealedKeyLabel}" in it`)
  return block.der
}

function open(der: Uint8Array, privateKey: KeyObject): Buffer {
  const { recipients, nonce, encrypted, authTag } = readAuthEnvelopedData(der)
  const contentKey = findContentKey(recipients, privateKey)
  try {
    const decipher = createDecipheriv('aes-256-gcm', contentKey, nonce, { authTagLength })
    decipher.setAuthTag(authTag)
    const plain = decipher.update(encrypted)
    try {
      decipher.final()
    } catch (cause) {
      plain.fill(0)
      throw new SealedKeyError('the sealed key was altered', { cause })
    }
    return plain
  } finally {
    contentKey.fill(0)
  }
}

type AuthEnvelopedData = {
  readonly recipients: readonly DerElement[]
  readonly nonce: Uint8Array
  readonly encrypted: Uint8Array
  readonly authTag: Uint8Array
}

/** RFC 5083 §2.1, as far as it is without attributes. */
function readAuthEnvelopedData(der: Uint8Array): AuthEnvelopedData {
  const [type, wrapped, ...rest] = readElements(readStructure(der, tag.sequence, 'the CMS structure'))
  requireOctets(type, contentType.authEnvelopedData, 'it is no AuthEnvelopedData; openssl makes it with -aes-256-gcm')
  const [data, ...others] = readElements(requireElement(wrapped, tag.context0, 'the content'))
  const [version, recipients, content, mac, ...more] = readElements(requireElement(data, tag.sequence, 'the content'))
  if (rest.length + others.length + more.length > 0) throw new DerError('there are more parts than it may have')
  requireOctets(version, integer(0), 'its version is not 0')
  const [kind, algorithm, encrypted, ...unknown] = readElements(requireElement(content, tag.sequence, 'what is sealed'))
  if (unknown.length > 0) throw new DerError('there are more parts than it may have')
  requireOctets(kind, contentType.data, 'something else than data is sealed')
  const authTag = requireElement(mac, tag.octetString, 'the authentication tag')
  if (authTag.length !== authTagLength) throw new DerError('the authentication tag is too short')
  return {
    recipients: readElements(requireElement(recipients, tag.set, 'the recipients'), maxRecipients),
    nonce: readNonce(algorithm),
    encrypted: requireElement(encrypted, primitive0, 'the encrypted content'),
    authTag,
  }
}

function readNonce(algorithm: DerElement | undefined): Uint8Array {
  const [, parameters] = readElements(requireElement(algorithm, tag.sequence, 'the cipher'))
  const [nonce] = parameters?.tag === tag.sequence ? readElements(parameters.content) : []
  if (nonce?.content.length !== nonceLength) throw new DerError('its nonce is not of 12 octets')
  requireOctets(algorithm, aes256Gcm(nonce.content), 'its cipher is not AES-256-GCM with a tag of 16 octets')
  return nonce.content
}

/** The first recipient that this key is. A name by issuer and serial says nothing to a bare key: such are tried. */
function findContentKey(recipients: readonly DerElement[], privateKey: KeyObject): Buffer {
  const unwrap = privateKey.asymmetricKeyType === 'rsa' ? unwrapTransported : unwrapAgreed
  let lastError: unknown
  for (const recipient of recipients) {
    try {
      const contentKey = unwrap(recipient, privateKey)
      if (contentKey?.length === contentKeyLength) return contentKey
    } catch (error) {
      if (error instanceof DerError) throw error
      lastError = error
    }
  }
  throw new SealedKeyError('the sealed key is for another recipient than this private key', { cause: lastError })
}

/** KeyTransRecipientInfo (RFC 5652 §6.2.1). */
function unwrapTransported(recipient: DerElement, privateKey: KeyObject): Buffer | undefined {
  if (recipient.tag !== tag.sequence) return undefined
  const [version, id, algorithm, encryptedKey, ...more] = readElements(recipient.content)
  const isById = id?.tag === primitive0
  if (isById && !isKeyIdentifier(id.content, privateKey)) return undefined
  if (!isById) requireElement(id, tag.sequence, "the recipient's name")
  requireOctets(version, integer(isById ? 2 : 0), "a recipient's version is unknown")
  if (!isOneOf(algorithm, [rsaOaepSha256, rsaOaepSha256Bare]))
    throw new DerError('its key is not transported by RSA-OAEP with SHA-256')
  if (more.length > 0) throw new DerError('a recipient has more parts than it may have')
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const octets = requireElement(encryptedKey, tag.octetString, 'the encrypted key')
  return privateDecrypt({ key: privateKey, padding, oaepHash: 'sha256' }, octets)
}

/** KeyAgreeRecipientInfo (RFC 5652 §6.2.2). */
function unwrapAgreed(recipient: DerElement, privateKey: KeyObject): Buffer | undefined {
  if (recipient.tag !== context1) return undefined
  const [version, originator, algorithm, keys, ...more] = readElements(recipient.content)
  const encryptedKey = findEncryptedKey(keys, privateKey)
  if (encryptedKey === undefined) return undefined
  requireOctets(version, integer(3), "a recipient's version is unknown")
  const scheme = ecdhSchemes.find((known) => known.algorithm.equals(algorithm?.octets ?? Buffer.of()))
  if (scheme === undefined || more.length > 0)
    throw new DerError('its key is not agreed on by ECDH with SHA-256, SHA-384 or SHA-512 and AES-256 wrap')
  const sharedSecret = diffieHellman({ privateKey, publicKey: readOriginatorKey(originator, privateKey) })
  const wrappingKey = deriveKeyWrappingKey(scheme.digest, sharedSecret)
  try {
    const decipher = createDecipheriv('id-aes256-wrap', wrappingKey, Buffer.alloc(8, 0xa6))
    const contentKey = decipher.update(encryptedKey)
    decipher.final()
    return contentKey
  } finally {
    sharedSecret.fill(0)
    wrappingKey.fill(0)
  }
}

function findEncryptedKey(keys: DerElement | undefined, privateKey: KeyObject): Uint8Array | undefined {
  for (const entry of readElements(requireElement(keys, tag.sequence, 'the encrypted keys'), maxRecipients)) {
    const [id, encryptedKey, ...more] = readElements(requireElement(entry, tag.sequence, 'an encrypted key'))
    if (more.length > 0) throw new DerError('an encrypted key has more than two parts')
    if (id?.tag === tag.context0) {
      const [identifier, ...rest] = readElements(id.content)
      if (rest.length > 0) throw new DerError('a recipient is named by more than its key identifier')
      if (!isKeyIdentifier(requireElement(identifier, tag.octetString, 'the key identifier'), privateKey)) continue
    } else requireElement(id, tag.sequence, "the recipient's name")
    return requireElement(encryptedKey, tag.octetString, 'the encrypted key')
  }
  return undefined
}

const ecPublicKeyOid = objectIdentifier('1.2.840.10045.2.1')

/** RFC 5753 §3.1.1: an EC key, whose curve is the recipient's: named again, or not, or NULL in its place. */
function readOriginatorKey(originator: DerElement | undefined, privateKey: KeyObject): KeyObject {
  const [choice, ...others] = readElements(requireElement(originator, tag.context0, 'the originator'))
  const [algorithm, point, ...more] = readElements(requireElement(choice, context1, "the originator's key"))
  if (others.length + more.length > 0) throw new DerError('the originator has more parts than it may have')
  const ownSpki = spkiOf(privateKey)
  const [ownAlgorithm] = readElements(readStructure(ownSpki, tag.sequence, 'the own key'))
  const own = Buffer.from(ownAlgorithm?.octets ?? [])
  if (!isOneOf(algorithm, [own, sequence(ecPublicKeyOid), sequence(ecPublicKeyOid, nullValue())]))
    throw new DerError("the originator's key is on another curve than this private key")
  const bits = requireElement(point, tag.bitString, "the originator's point")
  const spki = sequence(own, element(tag.bitString, bits))
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  // OpenSSL overlooks what is not DER inside the bits.
  if (!key.export({ format: 'der', type: 'spki' }).equals(spki)) throw new DerError("the originator's key is not DER")
  return key
}

function isKeyIdentifier(octets: Uint8Array, privateKey: KeyObject): boolean {
  return Buffer.from(octets).equals(opensslKeyIdentifier(privateKey))
}

function isOneOf(found: DerElement | undefined, known: readonly Buffer[]): boolean {
  return known.some((octets) => octets.equals(found?.octets ?? Buffer.of()))
}

/** @throws DerError with these words when it is not so */
function requireOctets(found: DerElement | undefined, expected: Buffer, otherwise: string): void {
  if (!isOneOf(found, [expected])) throw new DerError(otherwise)
}
