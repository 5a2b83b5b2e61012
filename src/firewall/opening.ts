import { isIPv4, isIPv6 } from 'node:net'

export type Family = 'ip' | 'ip6'
export type Protocol = 'tcp' | 'udp'

/** What a rule of ours lets in: new connections to one port, of one family, to one address or to any. */
export type Opening = {
  readonly family: Family
  readonly protocol: Protocol
  readonly port: number
  readonly address: string | undefined
}

/**
 * What must be let in so that validators come to this listener; undefined where nobody from outside can be meant.
 * @param listener `host:port` or `[v6%zone]:port`
 * @throws Error when it names no address
 */
export function openingOf(listener: string, protocol: Protocol): Opening | undefined {
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(listener) ?? []
  const address = host.replace(/^\[|\]$/g, '').replace(/%.*$/, '')
  if (address === 'localhost' || /^127\./.test(address) || address === '::1') return undefined
  const place = { protocol, port: Number(port) }
  if (isIPv4(address)) return { ...place, family: 'ip', address: address === '0.0.0.0' ? undefined : address }
  // As the listeners themselves have it: one that is written as IPv6 takes no IPv4 connections.
  if (isIPv6(address)) return { ...place, family: 'ip6', address: isUnspecified(address) ? undefined : address }
  throw new Error(
    host === 'fd'
      ? `listener = ${listener} names no port; write the address of the socket, which the responder finds by it`
      : `listener = ${listener}: a rule of a firewall needs an address in the place of ${host}`,
  )
}

export function describeOpening({ family, protocol, port, address }: Opening): string {
  return `${protocol} port ${port} of ${address ?? (family === 'ip' ? 'IPv4' : 'IPv6')}`
}

function isUnspecified(address: string): boolean {
  return /^[0:]+$/.test(address)
}
