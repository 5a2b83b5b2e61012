// The way to the CA behind the proxy: the request as it came, the answer as it was given.
import type { ClientRequest } from 'node:http'
import { Agent, request } from 'node:https'
import { isIP } from 'node:net'

export type Header = readonly [name: string, value: string]

export type Reply = { readonly status: number; readonly headers: readonly Header[]; readonly body: Buffer }

export type Outgoing = {
  readonly method: string
  readonly path: string
  readonly headers: readonly Header[]
  readonly body: Buffer
}

/** The request that has no answer yet. */
type Note = (req: ClientRequest | undefined) => void

export type Upstream = Disposable & { forward(outgoing: Outgoing): Promise<Reply> }

/** Of one connection, not of the message (RFC 9110 §7.6.1); the length is told anew. */
const hopByHop = new Set(['connection', 'keep-alive', 'transfer-encoding', 'te', 'upgrade', 'content-length', 'expect'])

/** Node's flat list of names and values. */
export function pairHeaders(raw: readonly string[]): Header[] {
  return raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1] ?? ''] as const] : []))
}

/** @param caPem what its TLS certificate must lead to; the usual roots when undefined */
export function createUpstream(origin: string, caPem: string | undefined): Upstream {
  const { hostname: bracketed, port } = new URL(origin)
  const hostname = bracketed.replace(/^\[|\]$/g, '')
  // Otherwise it would follow the Host header, which is the proxy's and not in the CA's TLS certificate.
  const servername = isIP(hostname) === 0 ? hostname : ''
  const agent = new Agent({ keepAlive: true, ...(caPem === undefined ? {} : { ca: caPem }) })

  function send({ method, path, headers, body }: Outgoing, note: Note): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const passed = headers.filter(([name]) => !hopByHop.has(name.toLowerCase()))
      const length: Header[] = body.length > 0 || method === 'POST' ? [['Content-Length', String(body.length)]] : []
      // Flat, because an object could not hold the Host header and repeated ones as they came.
      const flat = [...passed, ...length].flat()
      const target = { hostname, servername, port: port || 443, path, method, agent }
      const req = request({ ...target, headers: flat }, (res) => {
        note(undefined)
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('error', reject)
        res.on('end', () =>
          resolve({
            status: res.statusCode ?? 0,
            headers: pairHeaders(res.rawHeaders).filter(([name]) => !hopByHop.has(name.toLowerCase())),
            body: Buffer.concat(chunks),
          }),
        )
      })
      note(req)
      req.on('error', reject)
      req.end(body)
    })
  }

  return {
    async forward(outgoing) {
      let started: ClientRequest | undefined
      const note: Note = (req) => {
        started = req
      }
      try {
        return await send(outgoing, note)
      } catch (error) {
        // A kept connection that the CA closed meanwhile is no fault that anybody asked for.
        if (started?.reusedSocket !== true || !isReset(error)) throw error
        return send(outgoing, note)
      }
    },
    [Symbol.dispose]: () => agent.destroy(),
  }
}

function isReset(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
}
