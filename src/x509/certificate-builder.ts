import { type KeyObject, sign, type X509Certificate } from 'node:crypto'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
} from '@peculiar/asn1-x509'
import type { Identifier } from '../acme/identifier.ts'
import { acmeIdentifierOid } from './acme-identifier.ts'
import { keyIdentifier } from './key-identifier.ts'
import { spkiOf } from './spki.ts'

type CertificateCommon = {
  readonly publicKey: KeyObject
  /** An EC key on P-256; without a certificate the new certificate signs itself. */
  readonly issuer: { readonly key: KeyObject; readonly certificate?: X509Certificate }
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** 16 random octets. */
  readonly serial: Uint8Array
}

export type CertificateDraft =
  | (CertificateCommon & { readonly kind: 'leaf'; readonly identifiers: readonly Identifier[] })
  | (CertificateCommon & { readonly kind: 'authority'; readonly commonName: string; readonly pathLength?: number })
  | (CertificateCommon & {
      /** What a tls-alpn-01 validator looks at (RFC 8737 §3); of use for nothing else. */
      readonly kind: 'challenge'
      readonly identifier: Identifier
      readonly digest: Uint8Array
    })

const ecdsaWithSha256 = '1.2.840.10045.4.3.2'
const commonNameOid = '2.5.4.3'
const maxCommonNameLength = 64

/** Makes a certificate (RFC 5280 §4) and returns its DER. */
export function buildCertificate(draft: CertificateDraft): Uint8Array {
  const subject = commonName(draft)
  const issuerCertificate = draft.issuer.certificate?.raw
  const tbs = new TBSCertificate({
    version: 2,
    serialNumber: positiveInteger(draft.serial),
    signature: new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 }),
    issuer:
      issuerCertificate === undefined
        ? subject
        : AsnConvert.parse(issuerCertificate, Certificate).tbsCertificate.subject,
    validity: new Validity({ notBefore: new Date(draft.notBeforeMs), notAfter: new Date(draft.notAfterMs) }),
    subject,
    subjectPublicKeyInfo: AsnConvert.parse(spkiOf(draft.publicKey), SubjectPublicKeyInfo),
    extensions: new Extensions(extensionsOf(draft)),
  })
  const signature = sign('sha256', Buffer.from(AsnConvert.serialize(tbs)), draft.issuer.key)
  const certificate = new Certificate({
    tbsCertificate: tbs,
    signatureAlgorithm: new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 }),
    signatureValue: bufferOf(signature),
  })
  return new Uint8Array(AsnConvert.serialize(certificate))
}

function extensionsOf(draft: CertificateDraft): Extension[] {
  const identifiers = [
    extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifier(draft.publicKey))),
    extension(
      id_ce_authorityKeyIdentifier,
      new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(keyIdentifier(draft.issuer.key)) }),
    ),
  ]
  switch (draft.kind) {
    case 'authority': {
      const { pathLength } = draft
      const constraints = new BasicConstraints({
        cA: true,
        ...(pathLength === undefined ? {} : { pathLenConstraint: pathLength }),
      })
      const usage = new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)
      return [
        extension(id_ce_basicConstraints, constraints, true),
        extension(id_ce_keyUsage, usage, true),
        ...identifiers,
      ]
    }
    case 'challenge': {
      const names = new SubjectAlternativeName([generalName(draft.identifier)])
      const digest = new OctetString(bufferOf(draft.digest))
      return [extension(id_ce_subjectAltName, names), extension(acmeIdentifierOid, digest, true)]
    }
    case 'leaf': {
      const names = draft.identifiers.map(generalName)
      const encipherment = draft.publicKey.asymmetricKeyType === 'rsa' ? KeyUsageFlags.keyEncipherment : 0
      return [
        extension(id_ce_basicConstraints, new BasicConstraints(), true),
        extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature | encipherment), true),
        extension(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_serverAuth, id_kp_clientAuth])),
        // RFC 5280 §4.2.1.6: critical where the subject says nothing.
        extension(id_ce_subjectAltName, new SubjectAlternativeName(names), commonName(draft).length === 0),
        ...identifiers,
      ]
    }
    default:
      return draft satisfies never
  }
}

function generalName({ type, value }: Identifier): GeneralName {
  return new GeneralName(type === 'dns' ? { dNSName: value } : { iPAddress: value })
}

function extension(oid: string, value: object, critical = false): Extension {
  return new Extension({ extnID: oid, critical, extnValue: new OctetString(AsnConvert.serialize(value)) })
}

/** A common name has room for 64 characters (RFC 5280 appendix A); longer names stand only in the alternative names. */
function commonName(draft: CertificateDraft): Name {
  const text = subjectText(draft)
  if (text === undefined || text.length > maxCommonNameLength) return new Name()
  const value = new AttributeValue({ utf8String: text })
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: commonNameOid, value })])])
}

function subjectText(draft: CertificateDraft): string | undefined {
  if (draft.kind === 'authority') return draft.commonName
  // RFC 5280 §4.1.2.4: an issuer has a name, and it is its own issuer.
  if (draft.kind === 'challenge') return 'acmems challenge'
  return draft.identifiers.find(({ type }) => type === 'dns')?.value
}

function positiveInteger(octets: Uint8Array): ArrayBuffer {
  const copy = Uint8Array.from(octets)
  copy[0] = ((copy[0] ?? 0) & 0x7f) | 0x40
  return copy.buffer
}

function bufferOf(octets: Uint8Array): ArrayBuffer {
  return Uint8Array.from(octets).buffer
}
