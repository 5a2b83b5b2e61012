import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Clock, LogFields, Logger } from '../plugin-api.ts'
import type { AddressRanges } from '../plugins/address-range.ts'
import { answerEarly } from './early-answer.ts'
import { presentedHead } from './presented.ts'

/** An answer, not sent yet, and what the log says about it. */
export type Answer = {
  readonly status: number
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
  readonly log: LogFields
}

export type AnsweringParts = {
  /** What the log calls its requests. */
  readonly what: string
  readonly trustedProxies: () => AddressRanges
  readonly clock: Clock
  readonly log: Logger
  readonly makeRequestId: () => string
  /** Asked again and again by every host: what is answered is no news. */
  readonly isRoutine?: boolean
  /** Said, with 503, where answering failed: a state that cannot be used now. */
  readonly unavailable: string
}

const retrySeconds = '60'

/** A door that looks at a whole request and then answers in plain text; every answer is logged. */
export function createAnsweringDoor(
  parts: AnsweringParts,
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<Answer>,
): RequestListener {
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = parts.clock.nowMs()
    const requestId = parts.makeRequestId()
    const client = presentedHead(request, parts.trustedProxies()).remoteAddress
    let reply: Answer
    try {
      reply = await answer(request, response)
    } catch (error) {
      if (response.destroyed || response.socket?.destroyed === true) {
        parts.log.info(parts.what, { requestId, client, outcome: 'client went away' })
        return
      }
      reply = { ...refuse(503, parts.unavailable, { 'retry-after': retrySeconds }), log: { outcome: 'failed', error } }
    }
    send(request, response, reply, { ...reply.headers, 'x-request-id': requestId })
    const line = { requestId, client, status: reply.status, ...reply.log, durationMs: parts.clock.nowMs() - startedMs }
    if (reply.status >= 500) parts.log.warn(parts.what, line)
    // Most of what hosts ask is whether there is anything new.
    else if (reply.status === 304 || (parts.isRoutine === true && reply.status < 400)) parts.log.debug(parts.what, line)
    else parts.log.info(parts.what, line)
  }
  return (request, response) => void serve(request, response)
}

export function refuse(
  status: number,
  reason: string,
  headers: Readonly<Record<string, string>> = {},
  log: LogFields = {},
): Answer {
  return { status, text: `${reason}\n`, headers, log: { outcome: 'refused', reason, ...log } }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, text }: Answer,
  headers: Record<string, string>,
): void {
  const hasBody = 'transfer-encoding' in request.headers || (request.headers['content-length'] ?? '0') !== '0'
  if (hasBody && !request.complete) {
    answerEarly(request, response, status, text, headers)
    return
  }
  const about = { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text) }
  response.writeHead(status, status === 304 ? headers : { ...about, ...headers })
  response.end(text)
}
