import { X509Certificate } from 'node:crypto'
import { type Identifier, parseIpAddress } from '../acme/identifier.ts'

/** What we ask a certificate: node:crypto parses, this gives it the field's names and units. */
export type Certificate = {
  readonly x509: X509Certificate
  readonly identifiers: readonly Identifier[]
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** Upper-case hexadecimal, as openssl prints it. */
  readonly serial: string
}

/** @throws Error when it is no certificate */
export function parseCertificate(der: Uint8Array): Certificate {
  const x509 = new X509Certificate(der)
  return {
    x509,
    identifiers: (x509.subjectAltName ?? '').split(', ').filter(Boolean).map(identifierOf),
    notBeforeMs: x509.validFromDate.getTime(),
    notAfterMs: x509.validToDate.getTime(),
    serial: x509.serialNumber,
  }
}

/** Kinds and spellings that we never ask for stay as they are: they then equal no name that was asked for. */
function identifierOf(text: string): Identifier {
  if (text.startsWith('IP Address:')) return parseIpAddress(text.slice('IP Address:'.length))
  return { type: 'dns', value: text.startsWith('DNS:') ? text.slice('DNS:'.length).toLowerCase() : text }
}
