import type { KeyObject } from 'node:crypto'
import type { Identifier } from '../acme/identifier.ts'

/** As openssl and RFC 5280 §4.2.1.3 call them. */
export const keyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const
export type KeyUsageName = (typeof keyUsages)[number]

export const csrDigests = ['sha256', 'sha384', 'sha512'] as const
export type CsrDigest = (typeof csrDigests)[number]

export type CsrDraft = {
  /** Private: RSA, EC on P-256, P-384 or P-521, or Ed25519. */
  readonly key: KeyObject
  /** What the certificate is for: DNS names, wildcards among them, and IP addresses, all as alternative names. */
  readonly identifiers: readonly Identifier[]
  /** `/CN=www.example.org/O=Example`; by default it says nothing. A common name must be one of the DNS names. */
  readonly subject?: string
  /** None by default: the CA then decides. */
  readonly keyUsage?: readonly KeyUsageName[]
  /** TLS feature status_request (RFC 7633). Let's Encrypt refuses it since it ended OCSP. */
  readonly mustStaple?: boolean
  /** By default what fits the key. */
  readonly digest?: CsrDigest
}
