import { createHash } from 'node:crypto'
import type { JsonObject } from './json-object.ts'

/** What a CA's directory says about dns-persist-01 (draft-ietf-acme-dns-persist-02). */
export type PersistOffer = { readonly issuerDomainNames: readonly string[]; readonly accountHashPrefix: string }

export type PersistAccount = { readonly accountUrl: string; readonly thumbprint: string }

export type PersistWish = {
  /** The record's own name, or `*` for a value that is the same for all names. */
  readonly domain: string
  readonly issuerDomainName: string
  readonly accountHashPrefix: string
  /** Also for names below it and wildcards. */
  readonly wildcard?: boolean
  /** Seconds since 1970, after which it counts no more. */
  readonly persistUntil?: number
}

/** Where the record stands; `name` without `*.`. */
export function persistName(name: string): string {
  return `_validation-persist.${name}`
}

/** base64url(SHA-256(length of the domain in one octet || domain || JWK thumbprint || account URL)). */
export function persistAccountHash(domain: string, { accountUrl, thumbprint }: PersistAccount): string {
  const length = Buffer.byteLength(domain)
  if (length > 255) throw new RangeError('a name of more than 255 octets')
  return createHash('sha256')
    .update(Buffer.of(length))
    .update(domain + thumbprint + accountUrl)
    .digest('base64url')
}

/** The TXT record's value. */
export function persistValue(account: PersistAccount, wish: PersistWish): string {
  return [
    wish.issuerDomainName,
    `accounturi=${wish.accountHashPrefix}sha-256/${persistAccountHash(wish.domain, account)}`,
    ...(wish.wildcard === true ? ['policy=wildcard'] : []),
    ...(wish.persistUntil === undefined ? [] : [`persistUntil=${wish.persistUntil}`]),
  ].join('; ')
}

/**
 * What the directory's `meta` offers; undefined when it does not.
 * Earlier drafts spelt the keys with hyphens, and had no prefix: their account URI was the account's URL.
 */
export function parsePersistOffer(meta: JsonObject): PersistOffer | undefined {
  const names = meta.issuerDomainNames ?? meta['issuer-domain-names']
  const prefix = meta.accountHashPrefix ?? meta['account-hash-prefix']
  if (!Array.isArray(names) || typeof prefix !== 'string') return undefined
  const issuerDomainNames = names.filter((name) => typeof name === 'string').slice(0, 10)
  return issuerDomainNames.length === 0 ? undefined : { issuerDomainNames, accountHashPrefix: prefix }
}
