import { caaIssueValue } from '../acme/caa.ts'
import { dnsAccountName } from '../acme/dns-account.ts'
import { type PersistOffer, persistName, persistValue } from '../acme/dns-persist.ts'
import type { Identifier } from '../acme/identifier.ts'
import { isWildcard } from '../acme/identifier.ts'

/** What is to be known of the CA and of our account there. */
export type CaView = {
  readonly identities: readonly string[]
  readonly persist: PersistOffer | undefined
  readonly accountUrl: string | undefined
  readonly thumbprint: string | undefined
}

/** A record as an administrator would publish it. `needed`: without it the name cannot be proven. */
export type WantedRecord = {
  readonly name: string
  readonly type: 'CNAME' | 'CAA' | 'TXT'
  readonly tag?: 'issue' | 'issuewild'
  readonly value: string
  readonly need: 'needed' | 'recommended' | 'possible'
  readonly why: string
}

/**
 * @param zone the zone of the embedded DNS server, where the block's verification has one
 * @param method the challenge that the block's verification answers
 */
export function wantedRecords(
  identifier: Identifier,
  ca: CaView,
  method: string | undefined,
  zone: string | undefined,
): WantedRecord[] {
  const wildcard = isWildcard(identifier)
  const base = wildcard ? identifier.value.slice(2) : identifier.value
  const records: WantedRecord[] = []
  if (zone !== undefined) {
    const why = 'delegates the proof of the name to us, once and for all'
    records.push({ name: `_acme-challenge.${base}`, type: 'CNAME', value: `${base}.${zone}`, need: 'needed', why })
  }
  const [identity] = ca.identities
  if (identity !== undefined) {
    const value = caaIssueValue(identity, ca.accountUrl, method)
    const why = 'nobody else gets a certificate for the name, not even at the same CA'
    records.push({ name: base, type: 'CAA', tag: wildcard ? 'issuewild' : 'issue', value, need: 'recommended', why })
  }
  if (ca.accountUrl === undefined) return records
  if (zone !== undefined) {
    const name = dnsAccountName(ca.accountUrl, base)
    const why = 'the same for dns-account-01 (a draft), where others have the name delegated already'
    records.push({ name, type: 'CNAME', value: `${base}.${zone}`, need: 'possible', why })
  }
  const { persist, thumbprint, accountUrl } = ca
  const [issuerDomainName] = persist?.issuerDomainNames ?? []
  if (persist !== undefined && thumbprint !== undefined && issuerDomainName !== undefined) {
    const { accountHashPrefix } = persist
    const wish = { domain: base, issuerDomainName, accountHashPrefix, wildcard }
    const why = 'proves the name by itself where the CA takes dns-persist-01 (a draft)'
    const value = persistValue({ accountUrl, thumbprint }, wish)
    records.push({ name: persistName(base), type: 'TXT', value, need: 'possible', why })
  }
  return records
}

/** As in a zone file (RFC 1035 §5.1, RFC 8659 §4.1.1). */
export function zoneLine({ name, type, tag, value }: WantedRecord): string {
  if (type === 'CNAME') return `${name}. IN CNAME ${value}.`
  if (type === 'CAA') return `${name}. IN CAA 0 ${tag} ${JSON.stringify(value)}`
  // A character string has room for 255 octets (RFC 1035 §3.3.14).
  const strings = value.match(/.{1,250}/g) ?? []
  return `${name}. IN TXT ${strings.map((text) => JSON.stringify(text)).join(' ')}`
}
