import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Presented } from '../plugin-api.ts'
import { type AddressRanges, plainAddress } from '../plugins/address-range.ts'
import { spkiSha256 } from '../x509/spki.ts'

/** The head of a request, as the policy sees it. */
export function presentedHead(request: IncomingMessage, trustedProxies: AddressRanges): Omit<Presented, 'bodyBytes'> {
  const headers = new Map<string, string[]>()
  const raw = request.rawHeaders
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    const values = headers.get(name)
    if (values === undefined) headers.set(name, [raw[i + 1] ?? ''])
    else values.push(raw[i + 1] ?? '')
  }
  const remoteAddress = clientAddress(
    plainAddress(request.socket.remoteAddress ?? ''),
    headers.get('x-forwarded-for') ?? [],
    trustedProxies,
  )
  const head = { remoteAddress, method: request.method ?? '', path: request.url ?? '', headers }
  const pin = request.socket instanceof TLSSocket ? clientPinOf(request.socket) : undefined
  return pin === undefined ? head : { ...head, clientCertificateSpkiSha256: pin }
}

/** Asked once a connection. */
const clientPins = new WeakMap<TLSSocket, string | undefined>()

/**
 * Of the peer's certificate. TLS proves that the peer has its key, whoever signed the certificate (RFC 8446 §4.4.3,
 * RFC 5246 §7.4.8), and a resumed session is the same peer's.
 */
function clientPinOf(socket: TLSSocket): string | undefined {
  if (clientPins.has(socket)) return clientPins.get(socket)
  const certificate = socket.getPeerX509Certificate()
  const pin = certificate === undefined ? undefined : spkiSha256(certificate.publicKey, 'base64')
  clientPins.set(socket, pin)
  return pin
}

/**
 * The address that the last trusted proxy saw. Read from the right: every hop adds there, and what stands further
 * left than the first untrusted hop is that hop's own invention.
 */
function clientAddress(peer: string, forwardedFor: readonly string[], trustedProxies: AddressRanges): string {
  if (!trustedProxies.includes(peer)) return peer
  const hops = forwardedFor
    .join(',')
    .split(',')
    .map((hop) => plainAddress(hop.trim()))
  let address = peer
  for (const hop of hops.reverse()) {
    if (isIP(hop) === 0) break
    address = hop
    if (!trustedProxies.includes(hop)) break
  }
  return address
}
