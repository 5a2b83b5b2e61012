import { createHash } from 'node:crypto'

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
const labelOctets = 10

/**
 * The name of the TXT record for dns-account-01 (draft-ietf-acme-dns-account-label-02 §3.2): each account has a label of
 * its own, so that several can be delegated for one name.
 * @param name without `*.`
 */
export function dnsAccountName(accountUrl: string, name: string): string {
  const digest = createHash('sha256').update(accountUrl).digest().subarray(0, labelOctets)
  return `_${base32(digest)}._acme-challenge.${name}`
}

/** RFC 4648 §6 in lower case; the octets here fill their characters, so there is no padding. */
function base32(octets: Uint8Array): string {
  const bits = [...octets].map((octet) => octet.toString(2).padStart(8, '0')).join('')
  return (bits.match(/.{5}/g) ?? []).map((group) => alphabet[Number.parseInt(group, 2)]).join('')
}
