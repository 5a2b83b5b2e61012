import { hash } from 'node:crypto'
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'

/** lacme-accountd's protocol, version 1: what its holder says about a key, and what it is asked to sign. */
export type Greeting = {
  readonly alg: string
  /** RFC 7638 */
  readonly thumbprint: string
  /** undefined: it is kept back, and the account's address is there instead. */
  readonly publicJwk: Readonly<Record<string, string>> | undefined
  readonly accountUrl: string | undefined
}

/** A line of the protocol has so many octets at most: a finalization with a hundred names has some ten thousand. */
export const maxLineBytes = 256 * 1024

/** RFC 7638 §3: the members that count, in their order. Also what goes over the wire. */
function canonicalJwk(jwk: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(jwk).sort(([left], [right]) => (left < right ? -1 : 1))))
}

export function thumbprintOfJwk(jwk: Readonly<Record<string, string>>): string {
  return hash('sha256', canonicalJwk(jwk), 'base64url')
}

/** Both lines with which the holder begins. */
export function formatGreeting({ alg, thumbprint, publicJwk, accountUrl }: Greeting): string {
  const extra = { alg, 'jwk-thumbprint': thumbprint, ...(accountUrl === undefined ? {} : { kid: accountUrl }) }
  return `1 OK ${JSON.stringify(extra)}\r\n${publicJwk === undefined ? '{}' : canonicalJwk(publicJwk)}\r\n`
}

/**
 * Reads both lines, without their ends. Holders before lacme 0.8 say `1 OK` and no more: RS256, the thumbprint from the key.
 * @throws Error when that is no holder of a key
 */
export function parseGreeting(versionLine: string, jwkLine: string): Greeting {
  const [extra, jwk] = [readObject(checkVersion(versionLine)), readObject(jwkLine)]
  const [given, alg, kid] = [extra['jwk-thumbprint'], extra.alg ?? 'RS256', extra.kid]
  const isShown = Object.keys(jwk).length > 0
  const publicJwk = isShown ? requireJwk(jwk) : undefined
  const thumbprint = publicJwk === undefined ? given : thumbprintOfJwk(publicJwk)
  if (typeof alg !== 'string') throw new Error('its algorithm is no text')
  if (kid !== undefined && typeof kid !== 'string') throw new Error("its account's address is no text")
  if (typeof thumbprint !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(thumbprint))
    throw new Error('it shows neither the key nor its thumbprint')
  if (given !== undefined && given !== thumbprint) throw new Error("it says another thumbprint than its key's")
  if (publicJwk === undefined && kid === undefined)
    throw new Error("it shows neither the key nor the account's address")
  return { alg, thumbprint, publicJwk, accountUrl: kid }
}

/**
 * @returns what more the first line says
 * @throws Error when that is no holder of a key
 */
export function checkVersion(line: string): string {
  const [, version, extraText = '{}'] = /^(\d+) OK(?: (.*))?$/s.exec(line) ?? []
  if (version === undefined)
    throw new Error(
      `what answers is no lacme-accountd, or something else is printed before it (by a login shell, say): ${quote(line)}`,
    )
  if (version !== '1') throw new Error(`it speaks version ${version} of the protocol; only 1 is known`)
  return extraText
}

function requireJwk(jwk: JsonObject): Record<string, string> {
  const wanted = jwk.kty === 'RSA' ? ['e', 'kty', 'n'] : ['crv', 'kty', 'x', 'y']
  const members = wanted.map((name) => [name, jwk[name]] as const)
  if (!members.every((member): member is readonly [string, string] => typeof member[1] === 'string'))
    throw new Error('its key is neither RSA nor EC')
  return Object.fromEntries(members)
}

function readObject(text: string): JsonObject {
  const value = tryJson(text)
  if (!isJsonObject(value)) throw new Error(`it answers no JSON: ${quote(text)}`)
  return value
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

/** A JWS signing input (RFC 7515 §5.1), as text. */
export type SigningRequest = {
  readonly header: JsonObject
  readonly headerText: string
  /** Empty in a POST-as-GET. */
  readonly payloadText: string
}

/** Why a line is not signed, in lacme-accountd's words. */
export type Malformed = { readonly malformed: string; readonly headerText?: string; readonly payloadText?: string }

/**
 * Accepts what lacme-accountd accepts; values are not looked at.
 * @param mayBeInner accepts what the new key signs in a key rollover, too: it has no nonce (RFC 8555 §7.3.5)
 */
export function parseSigningRequest(line: string, mayBeInner = false): SigningRequest | Malformed {
  const dot = line.indexOf('.')
  const [header64, payload64] = dot < 0 ? [line, undefined] : [line.slice(0, dot), line.slice(dot + 1)]
  if (!/^[A-Za-z0-9_-]+$/.test(header64)) return { malformed: 'malformed JWS Protected Header' }
  if (payload64 === undefined || !/^[A-Za-z0-9_-]*$/.test(payload64)) return { malformed: 'malformed JWS Payload' }
  const [headerText, payloadText] = [header64, payload64].map((text) => Buffer.from(text, 'base64url').toString())
  const texts = { headerText: headerText ?? '', payloadText: payloadText ?? '' }
  const header = tryJson(texts.headerText)
  const isThere = (name: string) => isJsonObject(header) && header[name] !== undefined && header[name] !== null
  const isInner = mayBeInner && isThere('jwk') && !isThere('kid')
  const needed = isInner ? ['alg', 'url'] : ['alg', 'nonce', 'url']
  if (!isJsonObject(header) || !needed.every(isThere) || !['jwk', 'kid'].some(isThere))
    return { malformed: 'invalid JWS Protected Header', ...texts }
  return { header, ...texts }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
