import { getDomain } from 'tldts'
import type { Identifier } from '../../acme/identifier.ts'

/**
 * What CAs count their limits by: the registered domain by the Public Suffix List, private suffixes included; an IPv4
 * address itself, an IPv6 address's /64.
 */
export function registeredDomain({ type, value }: Identifier): string {
  if (type === 'dns') return getDomain(value.replace(/^\*\./, ''), { allowPrivateDomains: true }) ?? value
  if (!value.includes(':')) return value
  const [head = '', tail] = value.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - before.length - after.length }, () => '0')
  return `${[...before, ...zeros, ...after].slice(0, 4).join(':')}::/64`
}
