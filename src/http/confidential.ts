import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { plainAddress } from '../plugins/address-range.ts'

/**
 * Can nobody on the network read this request and its answer? It came over TLS, or never left this machine. Where a
 * proxy in front passed it on, the proxy must say `X-Forwarded-Proto: https`, unless its client is on this machine.
 * @param remoteAddress the caller's, as `presentedHead` found it
 */
export function isConfidential(request: IncomingMessage, remoteAddress: string): boolean {
  const peer = plainAddress(request.socket.remoteAddress ?? '')
  if (!(request.socket instanceof TLSSocket) && !isThisMachine(peer)) return false
  const said = request.headers['x-forwarded-proto']
  // Each proxy adds to the right; what is not https somewhere on the way was readable there.
  if (said !== undefined)
    return [said]
      .flat()
      .join(',')
      .split(',')
      .every((scheme) => scheme.trim().toLowerCase() === 'https')
  return remoteAddress === peer || isThisMachine(remoteAddress)
}

/** A UNIX socket has no address. */
function isThisMachine(address: string): boolean {
  return address === '' || address === '::1' || address.startsWith('127.')
}
