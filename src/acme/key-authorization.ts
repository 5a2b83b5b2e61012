import { createHash } from 'node:crypto'

/** RFC 8555 §8.1: the token, a dot, and the account key's RFC 7638 thumbprint. The body of an http-01 answer. */
export function keyAuthorization(token: string, thumbprint: string): string {
  return `${token}.${thumbprint}`
}

/** RFC 8555 §8.4: the value of the TXT record, base64url of the SHA-256 of the key authorization. */
export function dns01TxtValue(keyAuthorizationText: string): string {
  return createHash('sha256').update(keyAuthorizationText).digest('base64url')
}
