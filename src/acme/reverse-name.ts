import { isIPv4 } from 'node:net'
import { ipOctets, parseIpOctets } from './identifier.ts'

const ipv4Suffix = '.in-addr.arpa'
const ipv6Suffix = '.ip6.arpa'

/** The reverse DNS name of an address (RFC 1034 §5.2.1, RFC 3596 §2.5): the SNI of its tls-alpn-01 validation (RFC 8738 §6). */
export function reverseName(address: string): string {
  const octets = [...ipOctets(address)]
  if (isIPv4(address)) return octets.reverse().join('.') + ipv4Suffix
  const nibbles = octets.flatMap((octet) => [octet >> 4, octet & 15])
  return (
    nibbles
      .reverse()
      .map((nibble) => nibble.toString(16))
      .join('.') + ipv6Suffix
  )
}

/** The address whose reverse name this is; undefined for any other name. */
export function addressOfReverseName(name: string): string | undefined {
  const lower = name.toLowerCase()
  if (lower.endsWith(ipv4Suffix)) {
    const labels = lower.slice(0, -ipv4Suffix.length).split('.')
    if (labels.length !== 4 || !labels.every((label) => /^(0|[1-9]\d{0,2})$/.test(label) && Number(label) < 256))
      return undefined
    return labels.reverse().join('.')
  }
  if (!lower.endsWith(ipv6Suffix)) return undefined
  const labels = lower.slice(0, -ipv6Suffix.length).split('.')
  if (labels.length !== 32 || !labels.every((label) => /^[0-9a-f]$/.test(label))) return undefined
  return parseIpOctets(Buffer.from(labels.reverse().join(''), 'hex')).value
}
