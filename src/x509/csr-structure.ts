import { type DerElement, DerError, readElements, readStructure, requireElement, tag } from './der.ts'

/** The parts of a CertificationRequest (RFC 2986 §4), as their octets stand in it. Nothing in them is believed yet. */
export type CsrStructure = {
  /** What is signed. */
  readonly infoDer: Uint8Array
  /** The content of the subject: relative distinguished names. */
  readonly subject: Uint8Array
  readonly spkiDer: Uint8Array
  readonly attributes: readonly CsrAttribute[]
  /** Object identifiers are compared as octets, in hexadecimal: two texts for one identifier cannot be. */
  readonly signatureOid: string | undefined
  readonly signature: Uint8Array
}

export type CsrAttribute = { readonly oid: string; readonly values: readonly DerElement[] }

/** @throws DerError where it is not DER or not a CertificationRequest */
export function readCsrStructure(der: Uint8Array): CsrStructure {
  const [info, algorithm, signature, ...more] = readElements(readStructure(der, tag.sequence, 'the request'))
  if (more.length > 0) throw new DerError('the request has more than three parts')
  const [version, subject, spki, attributes, ...others] = readElements(
    requireElement(info, tag.sequence, 'the request information'),
  )
  if (Buffer.from(requireElement(version, tag.integer, 'the version')).toString('hex') !== '00')
    throw new DerError('the version is not 1')
  if (others.length > 0) throw new DerError('the request information has more than four parts')
  return {
    infoDer: info?.octets ?? der,
    subject: requireElement(subject, tag.sequence, 'the subject'),
    spkiDer: checkKeyInfo(spki),
    attributes:
      attributes === undefined
        ? []
        : readElements(requireElement(attributes, tag.context0, 'the attributes')).map(readAttribute),
    signatureOid: readAlgorithm(algorithm),
    signature: readBits(signature),
  }
}

function readAttribute(element: DerElement): CsrAttribute {
  const [type, values, ...more] = readElements(requireElement(element, tag.sequence, 'an attribute'))
  if (more.length > 0) throw new DerError('an attribute has more than two parts')
  return { oid: oidOf(type), values: readElements(requireElement(values, tag.set, "an attribute's values")) }
}

/** RFC 5280 §4.1.2.7: an algorithm and a bit string. What the key is worth, parseSubjectPublicKey says. */
function checkKeyInfo(spki: DerElement | undefined): Uint8Array {
  const [algorithm, bits, ...more] = readElements(requireElement(spki, tag.sequence, 'the public key'))
  if (more.length > 0) throw new DerError('the public key has more than two parts')
  oidOf(readElements(requireElement(algorithm, tag.sequence, "the key's algorithm"))[0])
  readBits(bits)
  return spki?.octets ?? new Uint8Array()
}

/** undefined where there are parameters: none of the algorithms that we take has any (RSA-PSS does). */
function readAlgorithm(element: DerElement | undefined): string | undefined {
  const [oid, parameters, ...more] = readElements(requireElement(element, tag.sequence, 'the signature algorithm'))
  const type = oidOf(oid)
  if (more.length > 0) throw new DerError('the signature algorithm has more than two parts')
  return parameters === undefined || (parameters.tag === tag.null && parameters.content.length === 0) ? type : undefined
}

function readBits(element: DerElement | undefined): Uint8Array {
  const content = requireElement(element, tag.bitString, 'a bit string')
  if (content[0] !== 0) throw new DerError('a bit string that does not end with its last octet')
  return content.subarray(1)
}

export function oidOf(element: DerElement | undefined): string {
  return Buffer.from(requireElement(element, tag.objectIdentifier, 'an object identifier')).toString('hex')
}
