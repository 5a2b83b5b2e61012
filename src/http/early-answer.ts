import type { IncomingMessage, ServerResponse } from 'node:http'

const maxDiscardedBytes = 32 * 1024 * 1024
const maxDiscardMs = 10_000

/**
 * Answers a request whose body was not read, so that the client sees the answer. Closing at once would reset the
 * connection while the client still sends, and many (wget among them) then never read what was said; so the rest is
 * received and thrown away, within bounds, before the connection ends.
 */
export function answerEarly(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string | Buffer,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.on('error', () => undefined)
  response.writeHead(status, {
    ...headers,
    'content-type': 'text/plain',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  })
  if (request.complete || isWaitingForContinue(request)) {
    response.end(text)
    return
  }
  // Written in full but not ended: ending is what makes Node close the connection.
  response.write(text)
  const end = () => {
    clearTimeout(deadline)
    response.end()
  }
  const deadline = setTimeout(end, maxDiscardMs)
  deadline.unref()
  let discarded = 0
  request.on('data', (chunk: Buffer) => {
    discarded += chunk.length
    if (discarded > maxDiscardedBytes) request.destroy()
  })
  request.on('end', end)
  request.on('error', end)
  request.on('close', end)
  // Reading may have been paused where the limit was passed.
  request.resume()
}

/** Does the client wait to be told to go on (RFC 9110 §10.1.1)? HTTP/1.0 knows no such thing. */
export function isWaitingForContinue(request: IncomingMessage): boolean {
  return request.headers.expect?.toLowerCase() === '100-continue' && request.httpVersion === '1.1'
}
