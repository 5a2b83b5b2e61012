import type { Socket } from 'node:net'
import { rootCertificates, TLSSocket } from 'node:tls'
import { Agent, buildConnector, request } from 'undici'
import type { HttpClient, HttpReply } from '../plugin-api.ts'
import { pinOfKey } from '../x509/spki.ts'

const connectionsPerPeer = 16
const keepAliveMs = 30_000
const connectTimeoutMs = 10_000

/**
 * A pooled client that keeps its connections.
 * @param trustedCaPem roots to trust beside the built-in ones
 * @param pins keys that the peer may have, `sha256//BASE64` of the SubjectPublicKeyInfo: checked instead of its chain
 */
export function createHttpClient(
  trustedCaPem: readonly string[],
  pins: readonly string[] = [],
): HttpClient & AsyncDisposable {
  const ca = trustedCaPem.length === 0 ? {} : { ca: [...rootCertificates, ...trustedCaPem] }
  const dispatcher = new Agent({
    connections: connectionsPerPeer,
    keepAliveTimeout: keepAliveMs,
    connect: pins.length === 0 ? { timeout: connectTimeoutMs, ...ca } : connectPinned(pins),
  })
  return {
    async request(url, { method, headers, body, maxBytes, timeoutMs, signal }) {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
      const options = {
        method,
        dispatcher,
        signal: deadline,
        ...(headers === undefined ? {} : { headers }),
        ...(body === undefined ? {} : { body }),
      }
      const response = await request(url, options)
      return {
        status: response.statusCode,
        headers: new Map(Object.entries(response.headers).map(([name, value]) => [name, listOf(value)])),
        body: await readBounded(response.body, maxBytes),
      }
    },
    [Symbol.asyncDispose]: () => dispatcher.close(),
  }
}

/** The peer has another key than the pinned one: it is somebody else, or has a new key that nobody announced. */
export class PinError extends Error {
  override readonly name = 'PinError'
}

/** As curl's `-k --pinnedpubkey`: nothing is sent before the key is known to be the right one. */
function connectPinned(pins: readonly string[]): buildConnector.connector {
  // Without resumed sessions every connection shows its certificate.
  const connect = buildConnector({ timeout: connectTimeoutMs, rejectUnauthorized: false, maxCachedSessions: 0 })
  return (options, callback) =>
    connect(options, (...[error, socket]: buildConnector.CallbackArgs) => {
      if (error !== null) return callback(error, null)
      const pin = pinOf(socket)
      if (pin !== undefined && pins.includes(pin)) return callback(null, socket)
      socket.destroy()
      callback(
        new PinError(pin === undefined ? 'a pin needs TLS' : `its key is ${pin}, which is not the pinned one`),
        null,
      )
    })
}

function pinOf(socket: Socket): string | undefined {
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
  if (certificate === undefined) return undefined
  return pinOfKey(certificate.publicKey)
}

function listOf(value: string | string[] | undefined): readonly string[] {
  if (value === undefined) return []
  return typeof value === 'string' ? [value] : value
}

async function readBounded(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<HttpReply['body']> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > maxBytes) throw new Error(`an answer of more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
