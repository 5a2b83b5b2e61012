import { type PersistOffer, parsePersistOffer } from './dns-persist.ts'
import { isJsonObject, optionalString, requireString } from './json-object.ts'

/** RFC 8555 §7.1.1, with RFC 9773 §4 and the profiles draft: where a CA's resources are, and what it offers. */
export type Directory = {
  readonly newNonceUrl: string
  readonly newAccountUrl: string
  readonly newOrderUrl: string
  readonly revokeCertUrl?: string
  readonly keyChangeUrl?: string
  readonly renewalInfoUrl?: string
  readonly termsOfServiceUrl?: string
  readonly externalAccountRequired: boolean
  /** Profile name to its description; empty when the CA has none. */
  readonly profiles: ReadonlyMap<string, string>
  /** Names for the CA in CAA records (RFC 8659). */
  readonly caaIdentities?: readonly string[]
  readonly persist?: PersistOffer
}

/** @throws TypeError naming what is missing */
export function parseDirectory(body: unknown): Directory {
  if (!isJsonObject(body)) throw new TypeError('the directory is no JSON object')
  const meta = isJsonObject(body.meta) ? body.meta : {}
  const profiles = isJsonObject(meta.profiles) ? Object.entries(meta.profiles) : []
  const identities = Array.isArray(meta.caaIdentities) ? meta.caaIdentities : []
  const optional = {
    persist: parsePersistOffer(meta),
    revokeCertUrl: optionalString(body, 'revokeCert'),
    keyChangeUrl: optionalString(body, 'keyChange'),
    renewalInfoUrl: optionalString(body, 'renewalInfo'),
    termsOfServiceUrl: optionalString(meta, 'termsOfService'),
  }
  return {
    newNonceUrl: requireString(body, 'newNonce'),
    newAccountUrl: requireString(body, 'newAccount'),
    newOrderUrl: requireString(body, 'newOrder'),
    externalAccountRequired: meta.externalAccountRequired === true,
    caaIdentities: identities.filter((name) => typeof name === 'string'),
    profiles: new Map(profiles.map(([name, description]) => [name, String(description)])),
    ...definedOnly(optional),
  }
}

function definedOnly<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
