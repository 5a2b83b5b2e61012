import { createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { addressOfReverseName } from '../acme/reverse-name.ts'
import { type Listener, type ListenerLimits, listenAt } from '../http/listener.ts'
import { acmeTlsProtocol } from '../x509/acme-identifier.ts'
import type { ChallengeCertificates } from './challenge-certificates.ts'
import { type ClientHello, readClientHello } from './client-hello.ts'
import type { FindShown } from './live-answers.ts'

export type TlsAlpnParts = {
  readonly findShown: FindShown
  readonly certificates: ChallengeCertificates
  /** Told when the answers could not be looked up. */
  readonly onError: (error: unknown) => void
}

const maxHelloBytes = 16 * 1024 + 5

/** RFC 8446 §6.2 */
const alert = { handshakeFailure: 40, internalError: 80, unrecognizedName: 112, noApplicationProtocol: 120 } as const

/**
 * Answers tls-alpn-01 validation (RFC 8737, RFC 8738 §6): who offers `acme-tls/1` and nothing else, for a host that a
 * solver left an answer for, is shown the certificate with that answer. Everybody else's handshake ends before
 * it has begun: no other protocol is spoken, no other certificate is there.
 * @throws Error naming the address when it cannot be listened on
 */
export async function openTlsAlpnListener(
  address: string,
  parts: TlsAlpnParts,
  { maxConnections, requestTimeoutMs }: ListenerLimits,
): Promise<Listener> {
  const open = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
    // One bound for the whole connection: a validator is done within a second.
    AbortSignal.timeout(requestTimeoutMs).addEventListener('abort', () => socket.destroy())
    receiveHello(socket, (hello, octets) => {
      answer(socket, hello, octets, parts).catch((error: unknown) => {
        parts.onError(error)
        refuse(socket, alert.internalError)
      })
    })
  })
  server.maxConnections = maxConnections
  const boundAddress = await listenAt(server, address)
  return {
    address,
    boundAddress,
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      if (graceMs === 0) for (const socket of open) socket.destroy()
      await closed
    },
  }
}

function receiveHello(socket: Socket, act: (hello: ClientHello, octets: Buffer) => void): void {
  let octets: Buffer = Buffer.alloc(0)
  const receive = (chunk: Buffer) => {
    octets = Buffer.concat([octets, chunk])
    try {
      if (octets.length > maxHelloBytes) throw new RangeError('too much for one ClientHello')
      const hello = readClientHello(octets)
      if (hello === undefined) return
      socket.off('data', receive)
      socket.pause()
      act(hello, octets)
    } catch {
      socket.off('data', receive)
      refuse(socket, alert.handshakeFailure)
    }
  }
  socket.on('data', receive)
}

async function answer(socket: Socket, hello: ClientHello, octets: Buffer, parts: TlsAlpnParts): Promise<void> {
  const [protocol, ...more] = hello.protocols
  if (protocol !== acmeTlsProtocol || more.length > 0) return refuse(socket, alert.noApplicationProtocol)
  if (hello.serverName === undefined) return refuse(socket, alert.unrecognizedName)
  const address = addressOfReverseName(hello.serverName)
  const host = address ?? hello.serverName.toLowerCase()
  const keyAuthorization = await parts.findShown({ type: 'tls-alpn-01', host })
  if (keyAuthorization === undefined) return refuse(socket, alert.unrecognizedName)
  const secureContext = parts.certificates(host, address === undefined ? 'dns' : 'ip', keyAuthorization)
  if (socket.destroyed) return
  socket.unshift(octets)
  const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: [acmeTlsProtocol] })
  secure.on('error', () => socket.destroy())
  // RFC 8737 §3: when the handshake is over, so is the conversation.
  secure.on('secure', () => secure.end())
  secure.resume()
}

function refuse(socket: Socket, description: number): void {
  if (socket.destroyed) return
  socket.end(Buffer.of(21, 3, 3, 0, 2, 2, description))
  socket.resume()
}
