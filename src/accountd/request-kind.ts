import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import type { SigningRequest } from '../remote-key/protocol.ts'

/** What a request would do at the CA (RFC 8555), read from its payload. */
export type RequestKind =
  | 'read'
  | 'newOrder'
  | 'newAuthz'
  | 'challenge'
  | 'finalize'
  | 'revokeCert'
  | 'deactivateAuthz'
  | 'findAccount'
  | 'other'

/** Members that a payload of the kind may have. One of another name, in another case, or twice, makes it `other`. */
const shapes: readonly { readonly kind: RequestKind; readonly needs: readonly string[]; readonly may?: string[] }[] = [
  { kind: 'newOrder', needs: ['identifiers'], may: ['notBefore', 'notAfter', 'profile', 'replaces'] },
  { kind: 'newAuthz', needs: ['identifier'] },
  { kind: 'finalize', needs: ['csr'] },
  { kind: 'revokeCert', needs: ['certificate'], may: ['reason'] },
  { kind: 'deactivateAuthz', needs: ['status'] },
  { kind: 'findAccount', needs: ['onlyReturnExisting'] },
]

export type KnownRequest = { readonly kind: RequestKind; readonly payload: JsonObject }

/**
 * Strict, because CAs are not: many are written in Go, whose JSON reader takes `Status` for `status` and the last of two.
 * @param accountUrl of the account, if it is known: what is sent there is never one about an authorization
 */
export function kindOf({ header, payloadText }: SigningRequest, accountUrl: string | undefined): KnownRequest {
  if (payloadText === '') return { kind: 'read', payload: {} }
  const payload = readObject(payloadText)
  if (payload === undefined || hasTwins(payloadText)) return { kind: 'other', payload: {} }
  const names = Object.keys(payload)
  if (names.length === 0) return { kind: 'challenge', payload }
  const shape = shapes.find(
    ({ needs, may = [] }) =>
      needs.every((name) => names.includes(name)) && names.every((name) => needs.includes(name) || may.includes(name)),
  )
  const { url } = header
  switch (shape?.kind) {
    case 'deactivateAuthz':
      return {
        kind: payload.status === 'deactivated' && isAuthorizationUrl(url, accountUrl) ? 'deactivateAuthz' : 'other',
        payload,
      }
    case 'findAccount':
      return { kind: payload.onlyReturnExisting === true ? 'findAccount' : 'other', payload }
    default:
      return { kind: shape?.kind ?? 'other', payload }
  }
}

/** Would it give the account to another key, or end it? Errs on that side: it is asked where all else is signed. */
export function endsAccount({ header, headerText, payloadText }: SigningRequest): boolean {
  const { url } = header
  if (typeof url === 'string' && /key-?change|key-?roll|rollover/i.test(url)) return true
  if (payloadText === '') return false
  const payload = readObject(payloadText)
  // Nobody should read it; in case that somebody does (Python takes NaN, and UTF-16), with nothing hidden in it.
  if (payload === undefined) return /deactivat|revoked|signature|[\\\0]/i.test(payloadText)
  const names = keysOf(payloadText).map(fold)
  if (['protected', 'signature', 'oldkey'].some((name) => Object.keys(payload).map(fold).includes(name))) return true
  if (!names.includes('status')) return false
  // Of two addresses, we take the second.
  return (
    hasTwins(payloadText) ||
    hasTwins(headerText) ||
    payload.status !== 'deactivated' ||
    !isAuthorizationUrl(url, undefined)
  )
}

/** As RFC 8555's examples and the CAs that there are name them: …/authz/…, /authZ/…, /authz-v3/…, /authorization/… */
function isAuthorizationUrl(url: unknown, accountUrl: string | undefined): boolean {
  if (typeof url !== 'string' || !isPlainUrl(url)) return false
  if (accountUrl !== undefined && url.toLowerCase() === accountUrl.toLowerCase()) return false
  return /\/auth(z|orization)s?(-v\d+)?\/[^/]/i.test(new URL(url).pathname)
}

/** Has the address only one way to be written? Otherwise a CA may see another one in it than we do. */
export function isPlainUrl(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { href, pathname, search, hash, username } = new URL(url)
  return href === url && search === '' && hash === '' && username === '' && !/%|\/\/|\\/.test(pathname)
}

function readObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Is a name there twice in one object, or in two cases? Of JSON that can be read. */
export function hasTwins(json: string): boolean {
  const open: Set<string>[] = []
  for (const { depth, name } of namesIn(json)) {
    open.length = Math.min(open.length, depth + 1)
    if (name === undefined) open[depth] = new Set()
    else if (open[depth]?.has(fold(name)) === true) return true
    else open[depth]?.add(fold(name))
  }
  return false
}

function keysOf(json: string): string[] {
  return namesIn(json).flatMap(({ name }) => name ?? [])
}

/** Every name with how deep its object is; without a name, an object (or list) begins there. */
function namesIn(json: string): { depth: number; name?: string }[] {
  const found: { depth: number; name?: string }[] = []
  let depth = -1
  for (const [, text, isKey, bracket] of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|([[\]{}])/gs)) {
    if (bracket === '{' || bracket === '[') found.push({ depth: ++depth })
    else if (bracket !== undefined) depth--
    else if (isKey !== undefined && text !== undefined) found.push({ depth, name: String(JSON.parse(text)) })
  }
  return found
}

/** As Go's reader does it: the long s is an s to it, the Kelvin sign a k. */
function fold(name: string): string {
  return name.toUpperCase().toLowerCase()
}
