import { isIP, isIPv4 } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'
import { isJsonObject, requireString } from './json-object.ts'
import { ProblemError } from './problem.ts'

/**
 * What a certificate names: a DNS name (RFC 8555 §9.7.7, `*.` in front for a wildcard) or an IP address (RFC 8738).
 * Always normalised: lower case A-labels without a trailing dot; dotted IPv4; RFC 5952 IPv6.
 */
export type Identifier = { readonly type: 'dns' | 'ip'; readonly value: string }

const maxNameLength = 253
const maxLabels = 10 // what Let's Encrypt accepts; a longer name could only fail later and cost an order

/**
 * Reads a DNS name strictly: letters, digits and hyphens only (RFC 5890 §2.3.1), valid A-labels, at most one
 * wildcard and only as the whole leftmost label (RFC 6125 §6.4.3).
 * @throws ProblemError `malformed` that quotes the name
 */
export function parseDnsName(text: string): Identifier {
  const refuse = (reason: string) => new ProblemError('malformed', `${quoteName(text)} is not a usable name: ${reason}`)
  // Before lower case: letters of other scripts exist whose lower case is ASCII (the Kelvin sign).
  if (/[^\x21-\x7e]/.test(text))
    throw refuse('only letters, digits and hyphens are allowed (write other scripts as xn-- labels)')
  const value = text.toLowerCase()
  if (value === '') throw refuse('it is empty')
  if (value.length > maxNameLength) throw refuse(`longer than ${maxNameLength} characters`)
  if (value.endsWith('.')) throw refuse('it ends with a dot')
  const wildcard = value.startsWith('*.')
  const labels = (wildcard ? value.slice(2) : value).split('.')
  if (labels.length + (wildcard ? 1 : 0) > maxLabels) throw refuse(`more than ${maxLabels} labels`)
  if (wildcard && labels.length < 2) throw refuse('a wildcard needs at least two labels after it')
  for (const label of labels) {
    const reason = whyNotLabel(label)
    if (reason !== undefined) throw refuse(reason)
  }
  // A name whose last label is a number is an IPv4 address to every URL parser (WHATWG URL §3.5).
  if (/^(\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '')) throw refuse('its last label is a number')
  return { type: 'dns', value }
}

function whyNotLabel(label: string): string | undefined {
  if (label === '') return 'a label is empty'
  if (label.length > 63) return 'a label is longer than 63 characters'
  if (label.includes('*')) return 'a wildcard stands only as the whole first label'
  if (!/^[a-z0-9-]+$/.test(label))
    return 'only letters, digits and hyphens are allowed (write other scripts as xn-- labels)'
  if (label.startsWith('-') || label.endsWith('-')) return 'a label starts or ends with a hyphen'
  if (label.slice(2, 4) === '--' && !isALabel(label)) return `"${label}" is no valid xn-- label`
  return undefined
}

/** An A-label is one that decodes and encodes to itself again (RFC 5890 §2.3.2.1). */
function isALabel(label: string): boolean {
  if (!label.startsWith('xn--')) return false
  const decoded = domainToUnicode(label)
  return decoded !== '' && decoded !== label && !decoded.includes('�') && domainToASCII(decoded) === label
}

/**
 * Reads the text form of an IP address and returns it canonical (RFC 8738 §3, RFC 5952).
 * @throws ProblemError `malformed`
 */
export function parseIpAddress(text: string): Identifier {
  const family = isIP(text)
  if (family === 0 || text.includes('%')) throw new ProblemError('malformed', `${quoteName(text)} is not an IP address`)
  return { type: 'ip', value: family === 4 ? text : new URL(`http://[${text}]`).hostname.slice(1, -1) }
}

/** Reads the octets of an iPAddress name (RFC 5280 §4.2.1.6). @throws ProblemError `malformed` unless 4 or 16 octets */
export function parseIpOctets(octets: Uint8Array): Identifier {
  if (octets.length === 4) return { type: 'ip', value: octets.join('.') }
  if (octets.length !== 16) throw new ProblemError('malformed', `an IP address of ${octets.length} octets`)
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((octets[2 * i] ?? 0) << 8) | (octets[2 * i + 1] ?? 0)).toString(16),
  )
  return parseIpAddress(groups.join(':'))
}

/** The octets of an IP identifier, for an iPAddress name. */
export function ipOctets(value: string): Uint8Array {
  if (isIPv4(value)) return Uint8Array.from(value.split('.'), Number)
  const [head = '', tail] = value.split('::')
  const groupsOf = (part: string) => (part === '' ? [] : part.split(':'))
  const left = groupsOf(head)
  const right = tail === undefined ? [] : groupsOf(tail)
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return Uint8Array.from(groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]))
}

export function isWildcard(identifier: Identifier): boolean {
  return identifier.type === 'dns' && identifier.value.startsWith('*.')
}

/** A text that is equal exactly when the identifiers are. */
export function identifierKey(identifier: Identifier): string {
  return `${identifier.type}:${identifier.value}`
}

/** Each identifier once, in the order of first appearance. */
export function uniqueIdentifiers(identifiers: readonly Identifier[]): Identifier[] {
  return [...new Map(identifiers.map((identifier) => [identifierKey(identifier), identifier])).values()]
}

export function sameIdentifiers(left: readonly Identifier[], right: readonly Identifier[]): boolean {
  const keysOf = (list: readonly Identifier[]) => JSON.stringify([...new Set(list.map(identifierKey))].sort())
  return keysOf(left) === keysOf(right)
}

/** A caller's text for a message: quoted, bounded, and without characters that could forge a line. */
export function quoteName(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text
  return JSON.stringify(shown).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** An identifier as the CA repeats it: compared, never trusted, so its spelling is only lower-cased. @throws TypeError */
export function parseWireIdentifier(value: unknown): Identifier {
  if (!isJsonObject(value)) throw new TypeError('an identifier is no JSON object')
  const type = requireString(value, 'type')
  if (type !== 'dns' && type !== 'ip') throw new TypeError(`identifier type ${type}`)
  return { type, value: requireString(value, 'value').toLowerCase() }
}
