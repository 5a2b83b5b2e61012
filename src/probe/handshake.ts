import { createHash } from 'node:crypto'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { type Certificate, parseCertificate } from '../x509/certificate.ts'
import type { ProbePlace } from './probe-place.ts'
import { startTls } from './start-tls.ts'

/** What a server showed of itself. */
export type Served = { readonly leaf: Certificate; readonly sha256: string }

export type HandshakeWish = {
  readonly signal: AbortSignal
  /** A server may have certificates with keys of several kinds: it is asked for one with this. */
  readonly keyType?: 'rsa' | 'ec'
}

const signatureAlgorithms = {
  rsa: 'RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512:RSA+SHA1',
  ec: 'ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512',
} as const

/**
 * Connects to one address, as far as TLS shows a certificate, and hangs up. Nothing is verified: the certificate is
 * compared with the one that was issued, by whoever asks.
 * @throws Error saying why none was seen
 */
export async function readServed(address: string, place: ProbePlace, wish: HandshakeWish): Promise<Served> {
  const { signal } = wish
  signal.throwIfAborted()
  const plain = connectTcp({ host: address, port: place.port })
  try {
    await connected(plain, signal)
    await startTls(place.scheme, plain, signal)
    const der = await certificateOf(plain, place, wish)
    return { leaf: readLeaf(der), sha256: createHash('sha256').update(der).digest('hex') }
  } finally {
    plain.destroy()
  }
}

function connected(socket: Socket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new Error('no answer in time'))
    signal.addEventListener('abort', abort, { once: true })
    // Stays: a connection that breaks between two steps must not be an error of nobody's.
    socket.on('error', reject)
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort)
      resolve()
    })
  })
}

function certificateOf(plain: Socket, place: ProbePlace, { signal, keyType }: HandshakeWish): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      socket: plain,
      rejectUnauthorized: false,
      // Nothing is sent: what an old server can must be enough to see what it shows.
      minVersion: 'TLSv1',
      ciphers: 'DEFAULT:@SECLEVEL=0',
      ...(place.serverName === undefined ? {} : { servername: place.serverName }),
      ...(keyType === undefined ? {} : { sigalgs: signatureAlgorithms[keyType] }),
    })
    const finish = (act: () => void) => {
      signal.removeEventListener('abort', abort)
      act()
      socket.destroy()
    }
    const abort = () => finish(() => reject(new Error('no answer in time')))
    signal.addEventListener('abort', abort)
    const show = (otherwise: Error) => {
      const der = shownBy(socket)
      finish(() => (der === undefined ? reject(otherwise) : resolve(der)))
    }
    socket.on('secureConnect', () => show(new Error('the server shows no certificate')))
    // Before TLS 1.3 a server that wants a client's certificate hangs up only after it showed its own.
    socket.on('error', show)
    socket.on('close', () => show(new Error('the connection was closed before a certificate was shown')))
  })
}

function shownBy(socket: TLSSocket): Buffer | undefined {
  const { raw } = socket.getPeerCertificate() ?? {}
  return raw === undefined || raw.length === 0 ? undefined : raw
}

function readLeaf(der: Buffer): Certificate {
  try {
    return parseCertificate(der)
  } catch (cause) {
    throw new Error('the server shows a certificate that cannot be read', { cause })
  }
}
