import { createPublicKey, hash, type KeyObject } from 'node:crypto'

/** The SubjectPublicKeyInfo of a public key, or of a private key's public half. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return publicKey.export({ type: 'spki', format: 'der' })
}

/** The SHA-256 of the SubjectPublicKeyInfo, by which keys are known, pinned and blocked. */
export function spkiSha256(key: KeyObject, encoding: 'hex' | 'base64' | 'base64url'): string {
  return hash('sha256', spkiOf(key), encoding)
}

/** The same, as curl's --pinnedpubkey wants it. */
export function pinOfKey(key: KeyObject): string {
  return `sha256//${spkiSha256(key, 'base64')}`
}
