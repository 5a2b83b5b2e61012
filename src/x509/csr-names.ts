import { isUtf8 } from 'node:buffer'
import { type Identifier, parseDnsName, parseIpOctets } from '../acme/identifier.ts'
import { ProblemError } from '../acme/problem.ts'
import { type CsrStructure, oidOf } from './csr-structure.ts'
import { type DerElement, DerError, readElements, readStructure, requireElement, tag } from './der.ts'

/** What Let's Encrypt allows in one certificate. */
export const maxNames = 100
/** A name may be repeated, but not for ever. */
const maxEntries = 1000

/** Object identifiers in hexadecimal, as their octets are. */
const extensionRequestOid = '2a864886f70d01090e'
const basicConstraintsOid = '551d13'
const subjectAltNameOid = '551d11'
const tlsFeatureOid = '2b06010505070118'
const commonNameOid = '550403'

/** `mustStaple`: a host that asks for it is told at once that it cannot be had; a configuration that says it knows its CA. */
export type CsrRules = { readonly mustStaple?: 'refused' | 'allowed' }

/** GeneralName (RFC 5280 §4.2.1.6): the two kinds that a CA certifies for us. */
const dnsNameTag = 0x82
const ipAddressTag = 0x87

/**
 * The subject alternative names that a request asks for, after a look at what else it asks for.
 * @throws ProblemError `badCSR`, `malformed`
 */
export function requestedNames(structure: CsrStructure, { mustStaple = 'allowed' }: CsrRules): Identifier[] {
  const requests = structure.attributes.filter(({ oid }) => oid === extensionRequestOid)
  if (requests.length === 0) return []
  const [wishes, ...more] = requests.flatMap(({ values }) => values)
  if (wishes === undefined || more.length > 0)
    throw new ProblemError('badCSR', 'the request must ask for extensions once')
  const extensions = reading(() =>
    readElements(requireElement(wishes, tag.sequence, 'the extensions')).map(readExtension),
  )
  if (new Set(extensions.map(({ oid }) => oid)).size !== extensions.length)
    throw new ProblemError('badCSR', 'an extension is asked for twice')
  const wishOf = (oid: string) => extensions.find((extension) => extension.oid === oid)?.value
  refuseCa(wishOf(basicConstraintsOid))
  if (mustStaple === 'refused' && wishOf(tlsFeatureOid) !== undefined) {
    throw new ProblemError(
      'badCSR',
      "the request asks for must-staple, which Let's Encrypt refuses since it ended OCSP",
    )
  }
  const names = wishOf(subjectAltNameOid)
  return names === undefined ? [] : readNames(names).map(identifierOf)
}

type Extension = { readonly oid: string; readonly value: Uint8Array }

function readExtension(element: DerElement): Extension {
  const parts = readElements(requireElement(element, tag.sequence, 'an extension'))
  const [type, ...rest] = parts
  const value = rest[0]?.tag === tag.boolean ? rest[1] : rest[0]
  if (parts.length > 3 || value !== parts.at(-1)) throw new DerError('an extension has other parts than it may have')
  return { oid: oidOf(type), value: requireElement(value, tag.octetString, "an extension's value") }
}

function refuseCa(constraints: Uint8Array | undefined): void {
  if (constraints === undefined) return
  const [first] = reading(() => readElements(readStructure(constraints, tag.sequence, 'the basic constraints')))
  if (first?.tag === tag.boolean && first.content.some((octet) => octet !== 0))
    throw new ProblemError('badCSR', 'the request asks for a CA certificate')
}

function readNames(value: Uint8Array): DerElement[] {
  const names = reading(() => readElements(readStructure(value, tag.sequence, 'the alternative names')))
  if (names.length > maxEntries) throw tooManyNames()
  return names
}

export function tooManyNames(): ProblemError {
  return new ProblemError('badCSR', `the request has more than the ${maxNames} names that are allowed`)
}

function identifierOf(name: DerElement): Identifier {
  if (name.tag === dnsNameTag) return parseDnsName(Buffer.from(name.content).toString('latin1'))
  if (name.tag === ipAddressTag) return parseIpOctets(name.content)
  throw new ProblemError('badCSR', 'the request has an alternative name that is neither a DNS name nor an IP address')
}

/**
 * The subject's common name, which counts as a name like the others.
 * @throws ProblemError `badCSR` for more than one, `malformed` for one that is no name
 */
export function commonNames(structure: CsrStructure): Identifier[] {
  const values = reading(() =>
    readElements(structure.subject)
      .flatMap((relative) => readElements(requireElement(relative, tag.set, 'a relative distinguished name')))
      .map((attribute) => readElements(requireElement(attribute, tag.sequence, 'an attribute of the subject')))
      .filter(([type]) => oidOf(type) === commonNameOid)
      .map(([, value]) => decodeText(value)),
  )
  if (values.length > 1) throw new ProblemError('badCSR', 'the request has more than one common name')
  return values.map(parseDnsName)
}

/** DirectoryString (RFC 5280 §4.1.2.4), as far as anybody uses it. */
function decodeText(element: DerElement | undefined): string {
  const octets = Buffer.from(element?.content ?? [])
  switch (element?.tag) {
    case tag.utf8String:
      if (!isUtf8(octets)) throw new DerError('the common name is no UTF-8')
      return octets.toString('utf8')
    case tag.printableString:
    case tag.ia5String:
    case tag.teletexString:
      return octets.toString('latin1')
    case tag.bmpString:
      if (octets.length % 2 !== 0) throw new DerError('half a character')
      return octets.swap16().toString('utf16le')
    default:
      throw new DerError('the common name is no text')
  }
}

/** The request's signature holds, so this is what its sender wrote: not damage, but something no CA should sign. */
function reading<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new ProblemError('badCSR', 'a part of the request could not be read', { cause })
  }
}
