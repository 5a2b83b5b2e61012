import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { type AddressRanges, plainAddress } from '../plugins/address-range.ts'

/**
 * Can nobody on the network read this request and its answer? It came over TLS, or never left this machine. Where a
 * trusted proxy passed it on, that must say `X-Forwarded-Proto: https`, too; what others say of themselves counts
 * for nothing.
 */
export function isConfidential(request: IncomingMessage, trustedProxies: AddressRanges): boolean {
  const peer = plainAddress(request.socket.remoteAddress ?? '')
  const isTls = request.socket instanceof TLSSocket
  const isForwarded = ['x-forwarded-for', 'x-forwarded-proto', 'forwarded'].some(
    (name) => request.headers[name] !== undefined,
  )
  if (!isForwarded) return isTls || isThisMachine(peer)
  if (!trustedProxies.includes(peer)) return isTls
  if (!isTls && !isThisMachine(peer)) return false
  // Each proxy adds to the right; what is not https somewhere on the way was readable there.
  return [request.headers['x-forwarded-proto'] ?? '']
    .flat()
    .join(',')
    .split(',')
    .every((scheme) => scheme.trim().toLowerCase() === 'https')
}

/** A UNIX socket has no address. */
function isThisMachine(address: string): boolean {
  return address === '' || address === '::1' || address.startsWith('127.')
}
