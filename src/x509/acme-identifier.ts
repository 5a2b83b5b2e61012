import { createHash } from 'node:crypto'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import { Certificate } from '@peculiar/asn1-x509'

/** id-pe-acmeIdentifier (RFC 8737 §3): an OCTET STRING with the SHA-256 of the key authorization. */
export const acmeIdentifierOid = '1.3.6.1.5.5.7.1.31'

/** ALPN's name for the protocol in which nothing is ever said (RFC 8737 §4). */
export const acmeTlsProtocol = 'acme-tls/1'

export function acmeIdentifierDigest(keyAuthorization: string): Uint8Array {
  return createHash('sha256').update(keyAuthorization).digest()
}

/** The digest in a certificate; undefined where there is none, or none that could be read. */
export function readAcmeIdentifier(certificateDer: Uint8Array): Uint8Array | undefined {
  try {
    const { extensions = [] } = AsnConvert.parse(certificateDer, Certificate).tbsCertificate
    const extension = extensions.find(({ extnID }) => extnID === acmeIdentifierOid)
    if (extension === undefined) return undefined
    return new Uint8Array(AsnConvert.parse(extension.extnValue.buffer, OctetString).buffer)
  } catch {
    return undefined
  }
}
