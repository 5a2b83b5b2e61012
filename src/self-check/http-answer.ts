import { request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import { isIP } from 'node:net'
import type { Place } from './places.ts'

/** What came back; without `status` nothing did, and `reason` says why. */
export type HttpAnswer =
  | {
      readonly status: number
      readonly server: string | undefined
      readonly location: string | undefined
      /** undefined: more than a validator reads. */
      readonly body: string | undefined
    }
  | { readonly status?: undefined; readonly reason: string; readonly isHttp: boolean }

const maxBodyBytes = 1024

/** Asks exactly one place, without following anything; a certificate is not looked at, as validators do not. */
export function askPlace(url: URL, place: Place, userAgent: string, signal: AbortSignal): Promise<HttpAnswer> {
  const hostname = url.hostname.replace(/^\[|\]$/g, '')
  const options = {
    ...{ host: place.address, port: place.port, path: url.pathname + url.search, method: 'GET', agent: false, signal },
    headers: { host: url.host, 'user-agent': userAgent, accept: '*/*', connection: 'close' },
    rejectUnauthorized: false,
    ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
  }
  return new Promise((resolve) => {
    const send = url.protocol === 'https:' ? requestTls : requestPlain
    const outgoing = send(options, (response) => {
      const chunks: Buffer[] = []
      let size = 0
      const finish = (body: string | undefined) => {
        const { server, location } = response.headers
        resolve({ status: response.statusCode ?? 0, server: server?.toString(), location, body })
        outgoing.destroy()
      }
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        chunks.push(chunk)
        if (size > maxBodyBytes) finish(undefined)
      })
      response.on('end', () => finish(Buffer.concat(chunks).toString('latin1')))
      response.on('error', (error) => resolve({ reason: reasonOf(error), isHttp: true }))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) =>
      resolve({ reason: reasonOf(error), isHttp: error.code?.startsWith('HPE_') !== true }),
    )
    outgoing.end()
  })
}

/** Words for why a connection came to nothing. */
export function reasonOf(error: NodeJS.ErrnoException): string {
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return 'no answer in time'
  if (error.code === 'ECONNREFUSED') return 'connection refused'
  if (error.code === 'ENETUNREACH' || error.code === 'EHOSTUNREACH') return 'no route from here'
  if (error.code === 'ECONNRESET') return 'the connection was cut'
  return error.code ?? 'no connection'
}
