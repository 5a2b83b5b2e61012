// Requests made beforehand, so that their making is in no figure.
import { generateKeyPairSync, sign } from 'node:crypto'
import { Attributes, CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier,
  Attribute,
  Extension,
  Extensions,
  GeneralName,
  id_ce_subjectAltName,
  SubjectAlternativeName,
  SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509'

const ecdsaWithSha256 = '1.2.840.10045.4.3.2'
const extensionRequest = '1.2.840.113549.1.9.14'

/** PEM requests for `PREFIX-0.example.test` and so on, each with a P-256 key of its own. */
export function makeCsrs(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => makeCsr(`${prefix}-${index}.example.test`))
}

function makeCsr(name: string): string {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const names = new SubjectAlternativeName([new GeneralName({ dNSName: name })])
  const extension = new Extension({
    extnID: id_ce_subjectAltName,
    extnValue: new OctetString(AsnConvert.serialize(names)),
  })
  const info = new CertificationRequestInfo({
    subjectPKInfo: AsnConvert.parse(publicKey.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo),
    attributes: new Attributes([
      new Attribute({ type: extensionRequest, values: [AsnConvert.serialize(new Extensions([extension]))] }),
    ]),
  })
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm: new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 }),
    signature: new Uint8Array(sign('sha256', Buffer.from(AsnConvert.serialize(info)), privateKey)).buffer,
  })
  const base64 = Buffer.from(AsnConvert.serialize(request)).toString('base64')
  const lines = base64.match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`
}
