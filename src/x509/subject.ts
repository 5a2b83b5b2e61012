import { AsnConvert } from '@peculiar/asn1-schema'
import { AttributeTypeAndValue, AttributeValue, Name, RelativeDistinguishedName } from '@peculiar/asn1-x509'

/** Object identifiers of the attributes that have a short name (RFC 4519, RFC 5280 appendix A), as openssl has them. */
const attributeOids: Readonly<Record<string, string>> = {
  CN: '2.5.4.3',
  SN: '2.5.4.4',
  serialNumber: '2.5.4.5',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  street: '2.5.4.9',
  O: '2.5.4.10',
  OU: '2.5.4.11',
  title: '2.5.4.12',
  GN: '2.5.4.42',
  emailAddress: '1.2.840.113549.1.9.1',
  UID: '0.9.2342.19200300.100.1.1',
  DC: '0.9.2342.19200300.100.1.25',
}

/** RFC 5280 appendix A: the attributes whose values are not UTF-8 text. */
const printable = new Set(['C', 'serialNumber'])
const ia5 = new Set(['emailAddress', 'DC'])

/** What a value may be long (RFC 5280 appendix A, the upper bounds); what is not here may be as long as a name. */
const maxLengths: Readonly<Record<string, number>> = {
  CN: 64,
  C: 2,
  O: 64,
  OU: 64,
  L: 128,
  ST: 128,
  serialNumber: 64,
  title: 64,
}
const maxLength = 255

type Attribute = { readonly type: string; readonly value: string }

/** A subject: relative distinguished names, each of one attribute or, joined by `+`, of several. */
export type Subject = readonly (readonly Attribute[])[]

/**
 * Reads `/TYPE=value/TYPE=value`, as `openssl req -subj` and lacme write a subject; `\` takes the meaning from the
 * character after it. `/` and the empty text are the subject that says nothing.
 * @throws RangeError that says what is wrong with it
 */
export function parseSubject(text: string): Subject {
  if (text === '' || text === '/') return []
  if (!text.startsWith('/'))
    throw new RangeError(`a subject begins with "/", as in /CN=www.example.org; not so ${text}`)
  return split(text.slice(1), '/')
    .filter((part, index, parts) => part !== '' || index < parts.length - 1)
    .map((relative) => split(relative, '+').map(parseAttribute))
}

/** The common names of a subject, of which there should be one at most. */
export function commonNamesOf(subject: Subject): string[] {
  return subject
    .flat()
    .filter(({ type }) => type === 'CN' || type === attributeOids.CN)
    .map(({ value }) => value)
}

/** The subject for a request or a certificate (RFC 5280 §4.1.2.4). */
export function nameOf(subject: Subject): Name {
  return new Name(subject.map((relative) => new RelativeDistinguishedName(inDerOrder(relative.map(attributeOf)))))
}

/** X.690 §11.6: the elements of a SET OF stand in the order of their octets; the library leaves them as they came. */
function inDerOrder(attributes: readonly AttributeTypeAndValue[]): AttributeTypeAndValue[] {
  return attributes
    .map((attribute) => ({ attribute, octets: Buffer.from(AsnConvert.serialize(attribute)) }))
    .sort((left, right) => left.octets.compare(right.octets))
    .map(({ attribute }) => attribute)
}

function attributeOf({ type, value }: Attribute): AttributeTypeAndValue {
  return new AttributeTypeAndValue({ type: attributeOids[type] ?? type, value: attributeValue(type, value) })
}

/** At this separator, except where a backslash stands before it; the backslashes stay. */
function split(text: string, separator: string): string[] {
  const parts: string[] = ['']
  for (const [piece] of text.matchAll(/\\.|./gsu)) {
    if (piece === separator) parts.push('')
    else parts.push(`${parts.pop() ?? ''}${piece}`)
  }
  return parts
}

function parseAttribute(text: string): Attribute {
  const [, type = '', escaped = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? []
  const value = escaped.replace(/\\(.)/gsu, '$1')
  if (type === '')
    throw new RangeError(`"${text}" in the subject is not TYPE=value; write "\\/" for a slash in a value`)
  if (attributeOids[type] === undefined && !/^[0-2](\.(0|[1-9][0-9]*))+$/.test(type))
    throw new RangeError(
      `${type} in the subject is not known; known are ${Object.keys(attributeOids).join(', ')}, and numbers as in 2.5.4.3`,
    )
  const longest = maxLengths[type] ?? maxLength
  const length = [...value].length
  if (length === 0) throw new RangeError(`${type} in the subject is empty`)
  if (length > longest) throw new RangeError(`${type} in the subject has ${length} characters; ${longest} is the most`)
  if (printable.has(type) && !/^[A-Za-z0-9 '()+,./:=?-]*$/.test(value))
    throw new RangeError(`${type} in the subject may have letters, digits and '()+,-./:=? only; not so ${value}`)
  if (ia5.has(type) && !/^[\x20-\x7e]*$/.test(value))
    throw new RangeError(`${type} in the subject must be ASCII; not so ${value}`)
  return { type, value }
}

function attributeValue(type: string, value: string): AttributeValue {
  if (printable.has(type)) return new AttributeValue({ printableString: value })
  return new AttributeValue(ia5.has(type) ? { ia5String: value } : { utf8String: value })
}
