import { BlockList, isIP, isIPv6 } from 'node:net'

/** A set of addresses: single ones and CIDR ranges. */
export type AddressRanges = { includes(address: string): boolean }

/**
 * Checks one `ip =` value and returns it.
 * @throws Error with a sentence for the operator
 */
export function parseAddressRange(text: string): string {
  const [address = '', prefixText, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0 || address.includes('%')) {
    throw new Error(
      `${JSON.stringify(text)} is no IP address or range (like 192.0.2.0/24 or 2001:db8::/32); host names are not looked up`,
    )
  }
  if (prefixText === undefined) return text
  const bits = family === 4 ? 32 : 128
  const prefix = Number(prefixText)
  if (!/^\d{1,3}$/.test(prefixText) || prefix > bits) throw new Error(`the prefix of ${text} must be 0 to ${bits}`)
  const network = networkAddress(address, prefix)
  if (network !== addressOctets(address).join())
    throw new Error(`${text} has bits set beyond its prefix; did you mean ${suggest(network, prefix, family)}?`)
  return text
}

function addressOctets(address: string): number[] {
  if (!isIPv6(address)) return address.split('.').map(Number)
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)))
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right]
  return all.flatMap((group) => [group >> 8, group & 255])
}

function networkAddress(address: string, prefix: number): string {
  return addressOctets(address)
    .map((octet, index) => octet & (0xff00 >> Math.min(8, Math.max(0, prefix - index * 8))) & 0xff)
    .join()
}

function suggest(network: string, prefix: number, family: number): string {
  const octets = network.split(',').map(Number)
  if (family === 4) return `${octets.join('.')}/${prefix}`
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((octets[2 * i] ?? 0) << 8) | (octets[2 * i + 1] ?? 0)).toString(16),
  )
  return `${new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)}/${prefix}`
}

/** @param ranges values that parseAddressRange accepted */
export function addressRanges(ranges: readonly string[]): AddressRanges {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  // Callers come back: the last answer is mostly the next one, too.
  let last = { address: '', included: false }
  return {
    includes: (address) => {
      if (last.address === address) return last.included
      const plain = plainAddress(address)
      const included = isIP(plain) !== 0 && list.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
      last = { address, included }
      return included
    },
  }
}

/** A peer's address without zone, and as IPv4 where a dual-stack socket shows it mapped (RFC 4291 §2.5.5.2). */
export function plainAddress(address: string): string {
  const withoutZone = address.split('%')[0] ?? ''
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(withoutZone) ? withoutZone.slice(7) : withoutZone
}
