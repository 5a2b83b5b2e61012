import { rootCertificates } from 'node:tls'
import { Agent, request } from 'undici'
import type { HttpClient, HttpReply } from '../plugin-api.ts'

const connectionsPerPeer = 16
const keepAliveMs = 30_000
const connectTimeoutMs = 10_000

/**
 * A pooled client that keeps its connections.
 * @param trustedCaPem roots to trust beside the built-in ones
 */
export function createHttpClient(trustedCaPem: readonly string[]): HttpClient & AsyncDisposable {
  const ca = trustedCaPem.length === 0 ? {} : { ca: [...rootCertificates, ...trustedCaPem] }
  const dispatcher = new Agent({
    connections: connectionsPerPeer,
    keepAliveTimeout: keepAliveMs,
    connect: { timeout: connectTimeoutMs, ...ca },
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
