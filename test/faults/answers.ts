// The answers that the proxy makes itself, and its ways of sending one badly.
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AnswerBody, Ending, SeenRequest } from './rule.ts'
import type { Header, Reply } from './upstream.ts'

const page = '<!DOCTYPE html>\n<html><head><title>Please wait</title></head><body><h1>Please wait</h1></body></html>\n'
const acmeErrorPrefix = 'urn:ietf:params:acme:error:'
const dripTickMs = 100

export type OwnEnding = Extract<Ending, { do: 'status' | 'html' | 'emptyBody' | 'ari' }>

/** No Replay-Nonce: a load balancer has none either. */
export function makeReply(ending: OwnEnding, request: SeenRequest): Reply {
  switch (ending.do) {
    case 'status':
      return makeStatusReply(ending)
    case 'html':
      return { status: 200, headers: [['Content-Type', 'text/html; charset=utf-8']], body: Buffer.from(page) }
    case 'emptyBody':
      return { status: 200, headers: [], body: Buffer.alloc(0) }
    case 'ari':
      return {
        status: ending.status ?? 200,
        headers: [['Content-Type', 'application/json'], ...retryAfterHeader(ending.retryAfter)],
        body: Buffer.from(makeText(ending.body, request)),
      }
    default:
      return ending satisfies never
  }
}

function makeStatusReply(ending: Extract<Ending, { do: 'status' }>): Reply {
  const { status, problemType: type, detail, subproblems } = ending
  const problem = {
    type: type === undefined ? 'about:blank' : type.includes(':') ? type : acmeErrorPrefix + type,
    detail: detail ?? `the fault proxy was told to answer ${status}`,
    status,
    ...(subproblems === undefined ? {} : { subproblems }),
  }
  const isPage = ending.html === true
  const contentType = isPage ? 'text/html; charset=utf-8' : 'application/problem+json'
  return {
    status,
    headers: [['Content-Type', contentType], ...retryAfterHeader(ending.retryAfter), ...listHeaders(ending.headers)],
    body: Buffer.from(isPage ? page : JSON.stringify(problem)),
  }
}

function retryAfterHeader(value: string | undefined): Header[] {
  return value === undefined ? [] : [['Retry-After', value]]
}

export function listHeaders(headers: Readonly<Record<string, string | readonly string[]>> | undefined): Header[] {
  return Object.entries(headers ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value] as const),
  )
}

function makeText(body: AnswerBody, request: SeenRequest): string {
  const value = typeof body === 'function' ? body(request) : body
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Status and header fields; what is sent after them is the caller's affair. */
function writeHead(res: ServerResponse, { status, headers, body }: Reply): void {
  // Neither has content, and Content-Length would be that of another answer (RFC 9110 §8.6).
  const hasLength = res.req.method !== 'HEAD' && status !== 204
  const length: Header[] = hasLength ? [['Content-Length', String(body.length)]] : []
  res.writeHead(status, [...headers, ...length].flat())
}

export function sendWhole(res: ServerResponse, reply: Reply): void {
  writeHead(res, reply)
  res.end(reply.body)
}

export async function sendDripping(
  res: ServerResponse,
  reply: Reply,
  bytesPerSecond: number,
  signal: AbortSignal,
): Promise<void> {
  writeHead(res, reply)
  res.flushHeaders()
  const size = Math.max(1, Math.floor((bytesPerSecond * dripTickMs) / 1000))
  const pauseMs = (size * 1000) / bytesPerSecond
  for (let sent = 0; sent < reply.body.length && !res.destroyed; sent += size) {
    await sleep(pauseMs, undefined, { signal })
    res.write(reply.body.subarray(sent, sent + size))
  }
  res.end()
}

export async function sendTruncated(res: ServerResponse, reply: Reply): Promise<void> {
  writeHead(res, reply)
  const half = reply.body.subarray(0, Math.floor(reply.body.length / 2))
  await new Promise((resolve) => res.write(half, resolve))
  res.destroy()
}

/** JSON as far as one can tell, so that only its size gives it away. */
export async function sendEndless(res: ServerResponse, signal: AbortSignal): Promise<void> {
  res.writeHead(200, ['Content-Type', 'application/json'])
  res.write('{"filler":[')
  const chunk = Buffer.from('"acmems fault proxy",'.repeat(3000))
  while (!res.destroyed) {
    signal.throwIfAborted()
    if (res.write(chunk)) await sleep(0, undefined, { signal })
    else await new Promise<void>((resolve) => res.once('drain', resolve).once('close', resolve))
  }
}
