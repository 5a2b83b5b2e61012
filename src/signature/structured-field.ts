/**
 * Structured fields (RFC 8941, RFC 9651) as far as signatures need them: dictionaries of items and inner lists with
 * parameters. Strict and bounded: what has two readings has none here. Numbers with a fraction, dates and display
 * strings are refused, as no field of ours has them.
 */

export type Token = { readonly token: string }
export type BareItem = number | string | boolean | Uint8Array | Token
export type Parameters = ReadonlyMap<string, BareItem>
export type Item = { readonly value: BareItem; readonly parameters: Parameters }
export type InnerList = { readonly items: readonly Item[]; readonly parameters: Parameters }
export type Dictionary = ReadonlyMap<string, Item | InnerList>

/** The text is no structured field, or one that is not understood here. */
export class StructuredFieldError extends Error {
  override readonly name = 'StructuredFieldError'
}

export const maxFieldLength = 8192
const maxMembers = 8
const maxListItems = 24
const maxParameters = 16

const keyPattern = /[a-z*][a-z0-9_.*-]{0,63}/y
const integerPattern = /-?\d{1,15}(?![\d.])/y
const stringPattern = /"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"/y
const tokenPattern = /[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*/y
const bytesPattern = /:((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?):/y
const booleanPattern = /\?([01])/y

type Cursor = { readonly text: string; at: number }

/** @throws StructuredFieldError also for a key that comes twice (RFC 8941 §3.2 would take the last one) */
export function parseDictionary(text: string): Dictionary {
  if (text.length > maxFieldLength) throw new StructuredFieldError('it is too long')
  const cursor: Cursor = { text: text.replace(/^ +| +$/g, ''), at: 0 }
  const members = new Map<string, Item | InnerList>()
  while (cursor.at < cursor.text.length) {
    const key = take(cursor, keyPattern)?.[0]
    if (key === undefined) throw expected(cursor, 'a key')
    if (members.has(key)) throw new StructuredFieldError(`${key} is there twice`)
    if (members.size === maxMembers) throw new StructuredFieldError('it has too many members')
    members.set(key, skip(cursor, '=') ? parseMember(cursor) : { value: true, parameters: parseParameters(cursor) })
    take(cursor, /[ \t]*/y)
    if (cursor.at === cursor.text.length) break
    if (!skip(cursor, ',')) throw expected(cursor, 'a comma')
    take(cursor, /[ \t]*/y)
    if (cursor.at === cursor.text.length) throw new StructuredFieldError('it ends with a comma')
  }
  return members
}

export function isInnerList(member: Item | InnerList | undefined): member is InnerList {
  return member !== undefined && 'items' in member
}

/** In the one form that RFC 8941 §4.1.1.1 gives it: signatures are made over this text. */
export function formatInnerList({ items, parameters }: InnerList): string {
  const inner = items.map(({ value, parameters: own }) => `${formatBareItem(value)}${formatParameters(own)}`)
  return `(${inner.join(' ')})${formatParameters(parameters)}`
}

function parseMember(cursor: Cursor): Item | InnerList {
  if (!skip(cursor, '(')) return parseItem(cursor)
  const items: Item[] = []
  for (;;) {
    take(cursor, / */y)
    if (skip(cursor, ')')) return { items, parameters: parseParameters(cursor) }
    if (items.length === maxListItems) throw new StructuredFieldError('a list in it is too long')
    items.push(parseItem(cursor))
    const next = cursor.text[cursor.at]
    if (next !== ' ' && next !== ')') throw expected(cursor, 'a space or the end of the list')
  }
}

function parseItem(cursor: Cursor): Item {
  return { value: parseBareItem(cursor), parameters: parseParameters(cursor) }
}

function parseParameters(cursor: Cursor): Parameters {
  const parameters = new Map<string, BareItem>()
  while (skip(cursor, ';')) {
    take(cursor, / */y)
    const key = take(cursor, keyPattern)?.[0]
    if (key === undefined) throw expected(cursor, "a parameter's name")
    if (parameters.has(key)) throw new StructuredFieldError(`the parameter ${key} is there twice`)
    if (parameters.size === maxParameters) throw new StructuredFieldError('it has too many parameters')
    parameters.set(key, skip(cursor, '=') ? parseBareItem(cursor) : true)
  }
  return parameters
}

function parseBareItem(cursor: Cursor): BareItem {
  const text = take(cursor, stringPattern)?.[1]
  if (text !== undefined) return text.replace(/\\(.)/g, '$1')
  const bytes = take(cursor, bytesPattern)?.[1]
  if (bytes !== undefined) return new Uint8Array(Buffer.from(bytes, 'base64'))
  const integer = take(cursor, integerPattern)?.[0]
  if (integer !== undefined) return Number(integer)
  const boolean = take(cursor, booleanPattern)?.[1]
  if (boolean !== undefined) return boolean === '1'
  const token = take(cursor, tokenPattern)?.[0]
  if (token !== undefined) return { token }
  throw expected(cursor, 'a value')
}

function formatParameters(parameters: Parameters): string {
  return [...parameters]
    .map(([key, value]) => (value === true ? `;${key}` : `;${key}=${formatBareItem(value)}`))
    .join('')
}

export function formatBareItem(value: BareItem): string {
  // -0 is written 0, which is not what was signed: no signature holds over it.
  if (typeof value === 'number') return String(value)
  if (typeof value === 'boolean') return value ? '?1' : '?0'
  if (typeof value === 'string') return `"${value.replace(/["\\]/g, '\\$&')}"`
  if (value instanceof Uint8Array) return `:${Buffer.from(value).toString('base64')}:`
  return value.token
}

function take(cursor: Cursor, pattern: RegExp): RegExpExecArray | undefined {
  pattern.lastIndex = cursor.at
  const match = pattern.exec(cursor.text)
  if (match === null) return undefined
  cursor.at = pattern.lastIndex
  return match
}

function skip(cursor: Cursor, character: string): boolean {
  if (cursor.text[cursor.at] !== character) return false
  cursor.at++
  return true
}

function expected({ text, at }: Cursor, what: string): StructuredFieldError {
  const found = at < text.length ? JSON.stringify(text.slice(at, at + 20)) : 'the end'
  return new StructuredFieldError(`${what} was expected where ${found} is`)
}
