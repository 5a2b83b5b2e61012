import { type KeyObject, sign } from 'node:crypto'
import { Attributes, CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier,
  Attribute,
  BasicConstraints,
  Extension,
  Extensions,
  GeneralName,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509'
import { type Identifier, uniqueIdentifiers } from '../acme/identifier.ts'
import type { CsrDigest, CsrDraft } from './csr-draft.ts'
import { keyIdentifier } from './key-identifier.ts'
import { spkiOf } from './spki.ts'
import { commonNamesOf, nameOf, parseSubject, type Subject } from './subject.ts'

const extensionRequestOid = '1.2.840.113549.1.9.14'
const tlsFeatureOid = '1.3.6.1.5.5.7.1.24'
/** SEQUENCE OF INTEGER (RFC 7633 §4.1) with status_request, which is 5. */
const statusRequest = Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x05)

/**
 * Makes a certificate request (RFC 2986) and returns its DER.
 * @throws RangeError for names, a subject or a key that no request should be made of
 */
export function buildCsrDer(draft: CsrDraft): Uint8Array {
  const subject = parseSubject(draft.subject ?? '')
  const identifiers = uniqueIdentifiers(draft.identifiers)
  checkNames(identifiers, subject)
  const algorithm = signatureAlgorithm(draft.key, draft.digest)
  const extensions = new Extensions(extensionsOf(draft, identifiers, subject))
  const info = new CertificationRequestInfo({
    subject: nameOf(subject),
    subjectPKInfo: AsnConvert.parse(spkiOf(draft.key), SubjectPublicKeyInfo),
    attributes: new Attributes([
      new Attribute({ type: extensionRequestOid, values: [AsnConvert.serialize(extensions)] }),
    ]),
  })
  const signature = sign(algorithm.digest, Buffer.from(AsnConvert.serialize(info)), draft.key)
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm: algorithm.identifier,
    signature: Uint8Array.from(signature).buffer,
  })
  return new Uint8Array(AsnConvert.serialize(request))
}

/** A name that stands only in the subject is in no certificate that a client believes (RFC 9525 §6.3): none is asked for. */
function checkNames(identifiers: readonly Identifier[], subject: Subject): void {
  if (identifiers.length === 0) throw new RangeError('a request needs at least one name')
  const [commonName, ...more] = commonNamesOf(subject)
  if (more.length > 0) throw new RangeError('a subject has one common name (CN) at most')
  if (commonName === undefined) return
  const isNamed = identifiers.some(({ type, value }) => type === 'dns' && value === commonName.toLowerCase())
  if (!isNamed)
    throw new RangeError(
      `the common name ${commonName} is not one of the DNS names; add it to them, or leave it out of the subject`,
    )
}

function extensionsOf(draft: CsrDraft, identifiers: readonly Identifier[], subject: Subject): Extension[] {
  const { keyUsage = [], mustStaple = false } = draft
  const usageFlags = keyUsage.reduce((flags, name) => flags | KeyUsageFlags[name], 0)
  const names = identifiers.map(
    ({ type, value }) => new GeneralName(type === 'dns' ? { dNSName: value } : { iPAddress: value }),
  )
  return [
    // RFC 5280 §4.2.1.6: critical where the subject says nothing.
    extension(id_ce_subjectAltName, new SubjectAlternativeName(names), subject.length === 0),
    extension(id_ce_basicConstraints, new BasicConstraints(), true),
    extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifier(draft.key))),
    ...(usageFlags === 0 ? [] : [extension(id_ce_keyUsage, new KeyUsage(usageFlags), true)]),
    ...(mustStaple ? [new Extension({ extnID: tlsFeatureOid, extnValue: new OctetString(statusRequest) })] : []),
  ]
}

function extension(oid: string, value: object, critical = false): Extension {
  return new Extension({ extnID: oid, critical, extnValue: new OctetString(AsnConvert.serialize(value)) })
}

const rsaWithDigest = {
  sha256: '1.2.840.113549.1.1.11',
  sha384: '1.2.840.113549.1.1.12',
  sha512: '1.2.840.113549.1.1.13',
} as const
const ecdsaWithDigest = {
  sha256: '1.2.840.10045.4.3.2',
  sha384: '1.2.840.10045.4.3.3',
  sha512: '1.2.840.10045.4.3.4',
} as const
const ed25519Oid = '1.3.101.112'
/** A digest as long as the curve (RFC 5480 §4). */
const digestOfCurve: Readonly<Record<string, CsrDigest>> = {
  prime256v1: 'sha256',
  secp384r1: 'sha384',
  secp521r1: 'sha512',
}

type SignatureAlgorithm = { readonly digest: CsrDigest | null; readonly identifier: AlgorithmIdentifier }

function signatureAlgorithm(key: KeyObject, wanted: CsrDigest | undefined): SignatureAlgorithm {
  const curve = key.asymmetricKeyDetails?.namedCurve ?? ''
  const curveDigest = digestOfCurve[curve]
  switch (key.asymmetricKeyType) {
    case 'rsa': {
      const digest = wanted ?? 'sha256'
      // RFC 4055 §5: NULL must stand there.
      return { digest, identifier: new AlgorithmIdentifier({ algorithm: rsaWithDigest[digest], parameters: null }) }
    }
    case 'ec': {
      if (curveDigest === undefined) throw new RangeError(`the curve must be P-256, P-384 or P-521, not ${curve}`)
      const digest = wanted ?? curveDigest
      return { digest, identifier: new AlgorithmIdentifier({ algorithm: ecdsaWithDigest[digest] }) }
    }
    case 'ed25519':
      // RFC 8410 §3: its digest is its own, and there are no parameters.
      return { digest: null, identifier: new AlgorithmIdentifier({ algorithm: ed25519Oid }) }
    default:
      throw new RangeError(`a request is signed by an RSA, EC or Ed25519 key, not by ${key.asymmetricKeyType}`)
  }
}
