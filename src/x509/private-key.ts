import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

/** The keys that certificates are made for, as options spell them. */
export const keyTypes = ['ec-256', 'ec-384', 'rsa-2048', 'rsa-3072', 'rsa-4096'] as const
export type KeyType = (typeof keyTypes)[number]

const generate = promisify(generateKeyPair)

/** Makes a key beside the event loop: an RSA key takes seconds. */
export async function generatePrivateKey(keyType: KeyType): Promise<KeyObject> {
  const { privateKey } = await generatePair(keyType)
  return privateKey
}

function generatePair(keyType: KeyType): Promise<{ privateKey: KeyObject }> {
  switch (keyType) {
    case 'ec-256':
      return generate('ec', { namedCurve: 'P-256' })
    case 'ec-384':
      return generate('ec', { namedCurve: 'P-384' })
    case 'rsa-2048':
    case 'rsa-3072':
    case 'rsa-4096':
      return generate('rsa', { modulusLength: Number(keyType.slice('rsa-'.length)) })
    default:
      return keyType satisfies never
  }
}

/** How options spell this key's type; undefined for one that we would not make. */
export function keyTypeOf(key: KeyObject): KeyType | undefined {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  const curve = { prime256v1: 'ec-256', secp384r1: 'ec-384' }[namedCurve ?? '']
  const name = key.asymmetricKeyType === 'rsa' ? `rsa-${modulusLength}` : curve
  return keyTypes.find((keyType) => keyType === name)
}

/**
 * The key's PKCS #8 PEM (RFC 5958, RFC 7468 §10) as octets, which the caller can wipe; a string could not be wiped.
 */
export function privateKeyPem(key: KeyObject): Buffer {
  const der = key.export({ type: 'pkcs8', format: 'der' })
  try {
    return pemOctets('PRIVATE KEY', der)
  } finally {
    der.fill(0)
  }
}

/** @throws Error saying that it is no private key, or is locked by a passphrase */
export function parsePrivateKey(pem: string | Buffer): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    const isLocked = /ENCRYPTED/.test(typeof pem === 'string' ? pem : pem.toString('latin1'))
    throw new Error(
      isLocked ? 'the private key is locked by a passphrase; take it off' : 'this is no private key in PEM',
      { cause },
    )
  }
}

const alphabet = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1')
const octetsPerLine = 48
const padding = 0x3d
const newline = 0x0a

/** formatPem without a string between: Node has base64 only by way of strings. */
function pemOctets(label: string, der: Uint8Array): Buffer {
  const head = Buffer.from(`-----BEGIN ${label}-----\n`, 'latin1')
  const foot = Buffer.from(`-----END ${label}-----\n`, 'latin1')
  const bodyLength = Math.ceil(der.length / 3) * 4 + Math.ceil(der.length / octetsPerLine)
  // A buffer of its own: out of the shared pool, a copy of the key could come to lie in somebody else's.
  const pem = Buffer.alloc(head.length + bodyLength + foot.length)
  let position = head.copy(pem)
  for (let i = 0; i < der.length; i += 3) {
    const bits = ((der[i] ?? 0) << 16) | ((der[i + 1] ?? 0) << 8) | (der[i + 2] ?? 0)
    for (const [digit, shift] of [18, 12, 6, 0].entries())
      pem[position++] = i + digit > der.length ? padding : (alphabet[(bits >> shift) & 63] ?? 0)
    if ((i + 3) % octetsPerLine === 0 || i + 3 >= der.length) pem[position++] = newline
  }
  foot.copy(pem, position)
  return pem
}
