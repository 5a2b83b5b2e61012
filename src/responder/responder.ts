import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { isIPv6 } from 'node:net'
import { tokenPattern } from '../acme/challenge.ts'
import type { FindAnswer } from './live-answers.ts'
import { challengePath, relayedHeader } from './token-relay.ts'

/**
 * Answers http-01 validation requests (RFC 8555 §8.3). Whatever is not an answer that a solver left for exactly this
 * host is 404: a web server in front can then ask the next acmems.
 * @param onError told when the answers could not be looked up
 */
export function createResponder(findAnswer: FindAnswer, onError: (error: unknown) => void): RequestListener {
  return (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(request, response, 405, 'only GET and HEAD are answered here\n', { allow: 'GET, HEAD' })
      return
    }
    const path = (request.url ?? '').split('?')[0] ?? ''
    const token = path.startsWith(challengePath) ? path.slice(challengePath.length) : ''
    const host = hostOf(request)
    if (!tokenPattern.test(token) || host === undefined) {
      send(request, response, 404, 'not found\n')
      return
    }
    findAnswer({ type: 'http-01', token, host }, request.headers[relayedHeader] !== undefined).then(
      (answer) =>
        answer === undefined ? send(request, response, 404, 'not found\n') : send(request, response, 200, answer),
      (error: unknown) => {
        onError(error)
        send(request, response, 503, 'try again\n')
      },
    )
  }
}

/** `Host` as the name that was validated: without port, brackets or final dot, in lower case. Validators differ in all four. */
function hostOf(request: IncomingMessage): string | undefined {
  const [host = '', ...more] = request.headersDistinct.host ?? []
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+?)\.?)(?::\d{1,5})?$/.exec(host)
  if (match === null || more.length > 0) return undefined
  const [, address, name] = match
  if (address === undefined) return name?.toLowerCase()
  return isIPv6(address) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : undefined
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { ...headers, 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) })
  response.end(request.method === 'HEAD' ? undefined : text)
}
