import type { RequestListener, ServerOptions } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Socket } from 'node:net'

/** A chain, leaf first, and the leaf's key. */
export type TlsIdentity = { readonly certificatePem: string; readonly keyPem: string }

/** Where a listener's certificate comes from: two files, or whatever else keeps one. */
export interface TlsSource {
  readonly current: () => TlsIdentity
  /** Calls when `current` says something else than before. @returns stops that */
  onChange(changed: () => void): () => void
}

export type ListenerTls = {
  readonly source: TlsSource
  /** Clients are asked for a certificate. Whoever has none comes in without; what one is worth is decided later. */
  readonly asksForCertificate: boolean
}

export type OpenServer = {
  readonly server: Server
  /** Those in the middle of a handshake, too, which `closeAllConnections` does not know. */
  endConnections(): void
}

const handshakeTimeoutMs = 6000

// TLS 1.2 only with forward secrecy and AEAD; TLS 1.3 has nothing else.
const ciphers = [
  ...['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'],
  ...['ECDSA', 'RSA'].flatMap((kind) =>
    ['AES128-GCM-SHA256', 'AES256-GCM-SHA384', 'CHACHA20-POLY1305'].map((cipher) => `ECDHE-${kind}-${cipher}`),
  ),
].join(':')

/** An HTTP server behind TLS; a changed certificate counts from the next connection on. */
export function createTlsServer(options: ServerOptions, tls: ListenerTls, handle: RequestListener): OpenServer {
  const secureOptions = () => {
    const { certificatePem, keyPem } = tls.source.current()
    return { cert: certificatePem, key: keyPem, ciphers, minVersion: 'TLSv1.2' as const }
  }
  const server = createServer(
    {
      ...options,
      ...secureOptions(),
      honorCipherOrder: true,
      handshakeTimeout: handshakeTimeoutMs,
      requestCert: tls.asksForCertificate,
      rejectUnauthorized: false,
    },
    handle,
  )
  const connections = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  const stopListening = tls.source.onChange(() => server.setSecureContext(secureOptions()))
  server.once('close', stopListening)
  return {
    server,
    endConnections() {
      for (const socket of connections) socket.destroy()
    },
  }
}
