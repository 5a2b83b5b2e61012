import { createCipheriv, createHmac, hash, type KeyObject, pbkdf2, X509Certificate } from 'node:crypto'
import { promisify } from 'node:util'
import { tag } from './der.ts'
import {
  context,
  contextPrimitive,
  element,
  integer,
  nullValue,
  objectIdentifier,
  octetString,
  sequence,
  set,
} from './der-writer.ts'
import { parsePem } from './pem.ts'
import type { Randomness } from './sealed-key.ts'

export type Pkcs12Draft = {
  readonly key: KeyObject
  /** Leaf first. */
  readonly chainPem: string
  readonly password: string
  /** What a key store shows: the alias in Java, the friendly name in Windows. */
  readonly friendlyName?: string
}

const oid = {
  data: objectIdentifier('1.2.840.113549.1.7.1'),
  encryptedData: objectIdentifier('1.2.840.113549.1.7.6'),
  shroudedKeyBag: objectIdentifier('1.2.840.113549.1.12.10.1.2'),
  certBag: objectIdentifier('1.2.840.113549.1.12.10.1.3'),
  x509Certificate: objectIdentifier('1.2.840.113549.1.9.22.1'),
  friendlyName: objectIdentifier('1.2.840.113549.1.9.20'),
  localKeyId: objectIdentifier('1.2.840.113549.1.9.21'),
  pbes2: objectIdentifier('1.2.840.113549.1.5.13'),
  pbkdf2: objectIdentifier('1.2.840.113549.1.5.12'),
  hmacWithSha256: objectIdentifier('1.2.840.113549.2.9'),
  aes256Cbc: objectIdentifier('2.16.840.1.101.3.4.1.42'),
  sha256: objectIdentifier('2.16.840.1.101.3.4.2.1'),
} as const

/** For guessing, the cheaper of cipher and MAC is what counts, so both have the same. */
const iterations = 10_000
const saltLength = 16
const ivLength = 16
const keyLength = 32

const derive = promisify(pbkdf2)

/**
 * A key and its chain as one PKCS #12 file (RFC 7292): PBES2 with AES-256 and PBKDF2-HMAC-SHA-256 around both, a MAC with
 * SHA-256. OpenSSL 1.1, Java 8u301 and Windows Server 2019 or newer read it.
 * @throws RangeError when there is no certificate, or the first is not for the key
 */
export async function buildPkcs12(draft: Pkcs12Draft, parts: Randomness): Promise<Buffer> {
  const { key, chainPem, password, friendlyName } = draft
  const chain = parsePem(chainPem).blocks.filter(({ label }) => label === 'CERTIFICATE')
  const [leaf, ...issuers] = chain.map(({ der }) => der)
  if (leaf === undefined) throw new RangeError('there is no certificate to put beside the key')
  if (!new X509Certificate(leaf).checkPrivateKey(key)) throw new RangeError('the certificate is for another key')
  // Ties the key to its certificate among the others.
  const attributes = [
    attribute(oid.localKeyId, octetString(hash('sha1', leaf, 'buffer'))),
    ...(friendlyName === undefined ? [] : [attribute(oid.friendlyName, element(tag.bmpString, utf16(friendlyName)))]),
  ]
  const certificates = sequence(certBag(leaf, attributes), ...issuers.map((der) => certBag(der, [])))
  const safes = sequence(
    await encryptedContent(certificates, password, parts),
    plainContent(sequence(await keyBag(key, attributes, password, parts))),
  )
  return sequence(integer(3), plainContent(safes), macData(safes, password, parts))
}

/** ContentInfo (RFC 5652 §3) around octets that are not hidden. */
function plainContent(content: Uint8Array): Buffer {
  return sequence(oid.data, context(0, octetString(content)))
}

/** EncryptedData (RFC 5652 §8). */
async function encryptedContent(content: Uint8Array, password: string, parts: Randomness): Promise<Buffer> {
  const { algorithm, encrypted } = await encrypt(content, password, parts)
  const data = sequence(integer(0), sequence(oid.data, algorithm, contextPrimitive(0, encrypted)))
  return sequence(oid.encryptedData, context(0, data))
}

function certBag(certificateDer: Uint8Array, attributes: readonly Buffer[]): Buffer {
  const certificate = sequence(oid.x509Certificate, context(0, octetString(certificateDer)))
  return safeBag(oid.certBag, certificate, attributes)
}

/** EncryptedPrivateKeyInfo (RFC 5958 §3) in its bag. */
async function keyBag(
  key: KeyObject,
  attributes: readonly Buffer[],
  password: string,
  parts: Randomness,
): Promise<Buffer> {
  const plain = key.export({ type: 'pkcs8', format: 'der' })
  try {
    const { algorithm, encrypted } = await encrypt(plain, password, parts)
    return safeBag(oid.shroudedKeyBag, sequence(algorithm, octetString(encrypted)), attributes)
  } finally {
    plain.fill(0)
  }
}

function safeBag(type: Buffer, value: Buffer, attributes: readonly Buffer[]): Buffer {
  // X.690 §11.6: the elements of a SET OF stand in the order of their octets.
  const inOrder = [...attributes].sort((left, right) => left.compare(right))
  return sequence(type, context(0, value), ...(inOrder.length === 0 ? [] : [set(...inOrder)]))
}

function attribute(type: Buffer, value: Buffer): Buffer {
  return sequence(type, set(value))
}

type Encrypted = { readonly algorithm: Buffer; readonly encrypted: Buffer }

/** PBES2 (RFC 8018 §6.2). */
async function encrypt(plain: Uint8Array, password: string, parts: Randomness): Promise<Encrypted> {
  const salt = parts.randomBytes(saltLength)
  const iv = parts.randomBytes(ivLength)
  const key = await derive(password, salt, iterations, keyLength, 'sha256')
  try {
    const cipher = createCipheriv('aes-256-cbc', key, iv)
    const prf = sequence(oid.hmacWithSha256, nullValue())
    const kdf = sequence(oid.pbkdf2, sequence(octetString(salt), integer(iterations), prf))
    return {
      algorithm: sequence(oid.pbes2, sequence(kdf, sequence(oid.aes256Cbc, octetString(iv)))),
      encrypted: Buffer.concat([cipher.update(plain), cipher.final()]),
    }
  } finally {
    key.fill(0)
  }
}

/** MacData (RFC 7292 §4). */
function macData(content: Uint8Array, password: string, parts: Randomness): Buffer {
  const salt = parts.randomBytes(saltLength)
  const mac = createHmac('sha256', macKey(password, salt)).update(content).digest()
  const digestInfo = sequence(sequence(oid.sha256, nullValue()), octetString(mac))
  return sequence(digestInfo, octetString(salt), integer(iterations))
}

const macKeyPurpose = 3
const blockLength = 64

/** RFC 7292 appendix B.2, for a key as long as the digest: its blocks are then never carried on. */
function macKey(password: string, salt: Uint8Array): Buffer {
  const purpose = Buffer.alloc(blockLength, macKeyPurpose)
  // Appendix B.1: with a zero character at the end.
  const secret = fillBlocks(Buffer.concat([utf16(password), Buffer.alloc(2)]))
  const input = Buffer.concat([purpose, fillBlocks(salt), secret])
  let derived = hash('sha256', input, 'buffer')
  for (let round = 1; round < iterations; round++) derived = hash('sha256', derived, 'buffer')
  input.fill(0)
  secret.fill(0)
  return derived
}

/** Repeated up to a whole number of blocks. */
function fillBlocks(octets: Uint8Array): Buffer {
  return Buffer.alloc(Math.ceil(octets.length / blockLength) * blockLength, octets)
}

/** Big-endian UTF-16, as BMPString has it. */
function utf16(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16()
}
