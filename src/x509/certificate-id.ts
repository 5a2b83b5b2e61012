import { type DerElement, readElements, readStructure, requireElement, tag } from './der.ts'

const authorityKeyIdentifierOid = '551d23' // 2.5.29.35
const context0Primitive = 0x80
const context3 = 0xa3

/**
 * The name by which a CA's renewal information knows a certificate: the authority key identifier and the serial's DER
 * content octets, leading zero included, each as base64url (RFC 9773 §4.1).
 * @returns undefined for a certificate without an authority key identifier
 * @throws DerError when it is no certificate
 */
export function certificateId(certificateDer: Uint8Array): string | undefined {
  const [tbs] = readElements(readStructure(certificateDer, tag.sequence, 'the certificate'))
  const fields = readElements(requireElement(tbs, tag.sequence, 'the signed part'))
  // A version stands before the serial in every certificate that can have extensions.
  const serial = requireElement(fields[fields[0]?.tag === tag.context0 ? 1 : 0], tag.integer, 'the serial number')
  const keyIdentifier = authorityKeyIdentifier(fields)
  return keyIdentifier === undefined ? undefined : `${base64url(keyIdentifier)}.${base64url(serial)}`
}

function authorityKeyIdentifier(fields: readonly DerElement[]): Uint8Array | undefined {
  const wrapped = fields.find((field) => field.tag === context3)
  if (wrapped === undefined) return undefined
  const [list] = readElements(wrapped.content)
  for (const extension of readElements(requireElement(list, tag.sequence, 'the extensions'))) {
    const [oid, ...rest] = readElements(requireElement(extension, tag.sequence, 'an extension'))
    if (oid === undefined || Buffer.from(oid.content).toString('hex') !== authorityKeyIdentifierOid) continue
    const value = requireElement(rest.at(-1), tag.octetString, 'the authority key identifier')
    const parts = readElements(readStructure(value, tag.sequence, 'the authority key identifier'))
    return parts.find((part) => part.tag === context0Primitive)?.content
  }
  return undefined
}

function base64url(octets: Uint8Array): string {
  return Buffer.from(octets).toString('base64url')
}
