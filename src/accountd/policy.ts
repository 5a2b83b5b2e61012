import { isIP } from 'node:net'
import { parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import { isJsonObject } from '../acme/json-object.ts'
import { coversName, type NamePattern } from '../policy/name-pattern.ts'
import type { SigningRequest } from '../remote-key/protocol.ts'
import { endsAccount, hasTwins, isPlainUrl, kindOf, type RequestKind } from './request-kind.ts'

/**
 * What a socket may have signed. `everything`: the admin socket. `account`: what lacme-accountd signs, except what
 * gives the account away or ends it. `issuing`: only what gets and takes back certificates.
 */
export type Reach = 'everything' | 'account' | 'issuing'

export type Policy = {
  readonly reach: Reach
  /** Of the CA; where there is none, any. */
  readonly origins: readonly string[]
  /** The account that requests must be of. */
  readonly accountUrl: string | undefined
  readonly names: NameList | undefined
}

export type NameList = {
  readonly patterns: readonly NamePattern[]
  /** As RFC 5952 writes them. */
  readonly addresses: readonly string[]
  readonly wildcards: boolean
}

export type Judgement =
  | { readonly sign: true; readonly kind: RequestKind }
  | { readonly sign: false; readonly why: string }

const issuing: readonly RequestKind[] = [
  ...(['read', 'newOrder', 'newAuthz', 'challenge', 'finalize', 'revokeCert', 'deactivateAuthz'] as const),
  'findAccount',
]
const headerNames = ['alg', 'nonce', 'url', 'kid', 'jwk']

/** @param alg of the key */
export function judge(request: SigningRequest, alg: string, policy: Policy): Judgement {
  const { reach, accountUrl, names } = policy
  const { kind, payload } = kindOf(request, accountUrl)
  if (reach === 'everything') return { sign: true, kind }
  if (endsAccount(request)) return no('it would give the account away or end it')
  if (reach === 'account') return { sign: true, kind }
  const flaw = flawOfHeader(request, alg, policy)
  if (flaw !== undefined) return no(flaw)
  if (!issuing.includes(kind)) return no('it is none of the requests that get certificates')
  const isByKey = request.header.kid === undefined
  if (isByKey && kind !== 'findAccount') return no('it is not signed as the account')
  if (kind === 'findAccount' && accountUrl !== undefined) return no('the account is not to be looked up')
  if (names !== undefined && (kind === 'newOrder' || kind === 'newAuthz')) {
    const asked = kind === 'newOrder' ? payload.identifiers : [payload.identifier]
    const stranger = Array.isArray(asked) ? asked.find((identifier) => !isListed(identifier, names)) : payload
    if (stranger !== undefined) return no(`${JSON.stringify(stranger)} is not among the names`)
  }
  return { sign: true, kind }
}

function no(why: string): Judgement {
  return { sign: false, why }
}

function flawOfHeader({ header, headerText }: SigningRequest, alg: string, policy: Policy): string | undefined {
  const { url, kid, jwk } = header
  if (hasTwins(headerText) || Object.keys(header).some((name) => !headerNames.includes(name)))
    return 'its header has members that it should not have'
  if (header.alg !== alg) return `its algorithm is not ${alg}`
  if (typeof url !== 'string' || !isPlainUrl(url) || !policy.origins.includes(new URL(url).origin))
    return "it is not for the CA's address"
  if ((kid === undefined) === (jwk === undefined)) return 'it names both account and key, or neither'
  if (kid === undefined) return undefined
  if (typeof kid !== 'string' || !isPlainUrl(kid)) return 'its account is no address'
  if (policy.accountUrl === undefined)
    return policy.origins.includes(new URL(kid).origin) ? undefined : "its account is not one of the CA's"
  return kid === policy.accountUrl ? undefined : 'it is of another account'
}

function isListed(identifier: unknown, { patterns, addresses, wildcards }: NameList): boolean {
  if (!isJsonObject(identifier) || Object.keys(identifier).some((name) => name !== 'type' && name !== 'value'))
    return false
  const { type, value } = identifier
  if (typeof value !== 'string') return false
  if (type !== 'ip' && (type !== 'dns' || isIP(value) !== 0)) return false
  try {
    if (type === 'ip') return addresses.includes(parseIpAddress(value).value)
    return coversName(patterns, wildcards, parseDnsName(value))
  } catch {
    return false
  }
}
