import { dns01Prefix } from '../acme/answer-record.ts'
import { tokenPattern } from '../acme/challenge.ts'
import { type Identifier, parseDnsName } from '../acme/identifier.ts'
import type { JsonObject } from '../acme/json-object.ts'
import { dns01TxtValue } from '../acme/key-authorization.ts'
import { ProblemError } from '../acme/problem.ts'

/** What a client wants to be published: a value for the TXT record of a name. */
export type PublishWish = { readonly name: Identifier; readonly value: string }

/** RFC 8555 §8.4: base64url of 32 octets. */
export const txtPattern = /^[A-Za-z0-9_-]{43}$/

/**
 * Reads lego's two modes: `{fqdn, value}`, and RAW's `{domain, token, keyAuth}`.
 * @param zones ours: newer clients follow the CNAME themselves and then name what it points at
 * @throws ProblemError `malformed`
 */
export function readPublishWish(body: JsonObject, zones: readonly string[]): PublishWish {
  const { fqdn, value, domain, token, keyAuth } = body
  if (typeof fqdn === 'string' && typeof value === 'string') {
    if (!txtPattern.test(value)) throw malformed('value is not the base64url of a SHA-256 (43 characters)')
    return { name: parseDnsName(nameOfFqdn(fqdn, zones)), value }
  }
  if (typeof domain === 'string' && typeof token === 'string' && typeof keyAuth === 'string') {
    const [ofToken, thumbprint = '', ...more] = keyAuth.split('.')
    if (!tokenPattern.test(token) || ofToken !== token || more.length > 0 || !txtPattern.test(thumbprint))
      throw malformed('keyAuth is not the token, a dot, and a thumbprint (RFC 8555 section 8.1)')
    const name = parseDnsName(domain.replace(/\.$/, '').replace(/^\*\./, ''))
    return { name, value: dns01TxtValue(keyAuth) }
  }
  throw malformed('neither {"fqdn", "value"} nor {"domain", "token", "keyAuth"}')
}

function nameOfFqdn(fqdn: string, zones: readonly string[]): string {
  const owner = fqdn.toLowerCase().replace(/\.$/, '')
  if (owner.includes('*')) throw malformed('a wildcard is proven by the record of the name below it')
  if (owner.startsWith(dns01Prefix)) return owner.slice(dns01Prefix.length)
  const zone = zones.find((candidate) => owner.endsWith(`.${candidate}`))
  const name = zone === undefined ? '' : owner.slice(0, -zone.length - 1)
  // One label alone is an account's, which has a door of its own.
  if (name.includes('.')) return name
  throw malformed(`fqdn is not ${dns01Prefix}NAME`)
}

function malformed(detail: string): ProblemError {
  return new ProblemError('malformed', detail)
}
