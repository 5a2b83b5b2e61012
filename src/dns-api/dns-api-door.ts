import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import { asProblemError } from '../acme/problem.ts'
import { readBody } from '../http/body.ts'
import { answerEarly, isWaitingForContinue } from '../http/early-answer.ts'
import { presentedHead } from '../http/presented.ts'
import type { Logger, Presented } from '../plugin-api.ts'
import type { AddressRanges } from '../plugins/address-range.ts'
import { authenticate, couldAuthenticate } from '../policy/authorize.ts'
import type { Block } from '../policy/block.ts'
import { type AcmeDnsParts, findAccount, register, update } from './acme-dns.ts'
import { type ApiAnswer, refuse } from './api-answer.ts'
import { changePublished, type HttpreqParts } from './httpreq.ts'

/** What the configuration of the moment says. */
export type DnsApiRules = {
  readonly trustedProxies: AddressRanges
  readonly blocks: readonly Block[]
  /** Names of our zones; accounts are made in the first. */
  readonly zones: readonly string[]
}

export type DnsApiParts = AcmeDnsParts &
  HttpreqParts & { readonly rules: () => DnsApiRules; readonly log: Logger; readonly makeId: () => string }

type Head = Omit<Presented, 'bodyBytes'>
/** Answers a request with its body, or says before the body that there is no use in it. */
type Route = (request: OpenRequest) => Promise<ApiAnswer>
type OpenRequest = {
  readonly head: Head
  readonly rules: DnsApiRules
  /** An answer: what came is no body that could be used. */
  readBody(): Promise<{ readonly bodyBytes: Buffer } | ApiAnswer>
}

const maxBodyBytes = 4096

/**
 * Lets other ACME clients publish TXT values for names that they may have, in the words of acme-dns and of lego's
 * httpreq. The paths are compared as they were sent: five of them need no router.
 */
export function createDnsApiDoor(parts: DnsApiParts): RequestListener {
  const routes: Readonly<Record<string, Route>> = {
    'GET /health': async () => ({ status: 200, body: undefined, log: {} }),
    'POST /register': asCaller((body, head, rules) => register(body, head.caller, rules.zones[0], parts)),
    'POST /update': withAccount,
    'POST /present': asCaller((body, head, rules) => changePublished('present', body, head.caller, rules, parts)),
    'POST /cleanup': asCaller((body, head, rules) => changePublished('cleanup', body, head.caller, rules, parts)),
  }

  /** With the credentials of an auth block, as at /sign. */
  function asCaller(
    act: (
      body: JsonObject,
      head: { readonly caller: ReturnType<typeof authenticate> },
      rules: DnsApiRules,
    ) => Promise<ApiAnswer>,
  ): Route {
    return async ({ head, rules, readBody: read }) => {
      const stranger = () => refuse(401, 'forbidden', `no auth block accepts this caller (${head.remoteAddress})`)
      if (!couldAuthenticate(head, rules.blocks)) return stranger()
      const received = await read()
      if ('status' in received) return received
      const caller = authenticate({ ...head, bodyBytes: received.bodyBytes }, rules.blocks)
      if (caller.blocks.length === 0) return stranger()
      const body = parseJson(received.bodyBytes)
      return body === undefined ? malformedJson() : act(body, { caller }, rules)
    }
  }

  /** With the account that acme-dns' headers name. */
  async function withAccount({ head, rules, readBody: read }: OpenRequest): Promise<ApiAnswer> {
    const account = await findAccount(head, rules.blocks, parts.accounts)
    if (account === undefined) return refuse(401, 'forbidden', 'no account has this user and key, from this address')
    const received = await read()
    if ('status' in received) return received
    const body = parseJson(received.bodyBytes)
    return body === undefined ? malformedJson() : update(body, account, parts)
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = parts.nowMs()
    const requestId = parts.makeId()
    const rules = parts.rules()
    const head = presentedHead(request, rules.trustedProxies)
    const route = routes[`${request.method} ${request.url}`]
    let answer: ApiAnswer
    try {
      answer =
        route === undefined
          ? wrongRoute(request, Object.keys(routes))
          : await route({ head, rules, readBody: () => readRequestBody(request, response, head) })
    } catch (error) {
      if (response.destroyed || response.socket?.destroyed === true) return
      answer = failed(error)
    }
    send(request, response, answer, requestId)
    const { remoteAddress: client, method, path } = head
    const line = { requestId, client, method, path, status: answer.status, ...answer.log }
    const durationMs = parts.nowMs() - startedMs
    if (answer.status >= 500) parts.log.warn('dns-api request', { ...line, durationMs })
    else if (route !== routes['GET /health']) parts.log.info('dns-api request', { ...line, durationMs })
  }
  return (request, response) => void serve(request, response)
}

async function readRequestBody(
  request: IncomingMessage,
  response: ServerResponse,
  { headers }: Head,
): Promise<{ bodyBytes: Buffer } | ApiAnswer> {
  const tooLarge = () => refuse(413, 'too_large', `the request is larger than ${maxBodyBytes} bytes`)
  if ((headers.get('content-encoding') ?? []).some((encoding) => encoding.toLowerCase() !== 'identity'))
    return refuse(415, 'compressed', 'the body must not be compressed')
  if (Number(headers.get('content-length')?.[0] ?? 0) > maxBodyBytes) return tooLarge()
  if (isWaitingForContinue(request)) response.writeContinue()
  const bodyBytes = await readBody(request, maxBodyBytes)
  return bodyBytes === undefined ? tooLarge() : { bodyBytes }
}

/** Nothing at all is an empty object: acme-dns' clients register so. */
function parseJson(bodyBytes: Buffer): JsonObject | undefined {
  if (bodyBytes.length === 0) return {}
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bodyBytes))
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function malformedJson(): ApiAnswer {
  return refuse(400, 'malformed_json_payload', 'the body is no JSON object')
}

function wrongRoute(request: IncomingMessage, routes: readonly string[]): ApiAnswer {
  const methods = routes.map((route) => route.split(' ')).filter(([, path]) => path === request.url)
  const [method] = methods[0] ?? []
  if (method === undefined)
    return refuse(404, 'not_found', 'there are /register, /update, /present, /cleanup and /health')
  return { ...refuse(405, 'method_not_allowed', `only ${method} is understood here`), headers: { allow: method } }
}

function failed(error: unknown): ApiAnswer {
  const problem = asProblemError(error)
  const status = problem.code === 'malformed' ? 400 : 500
  const answer = refuse(status, status === 400 ? 'malformed' : 'internal_error', problem.message)
  return problem.cause === undefined ? answer : { ...answer, log: { ...answer.log, cause: problem.cause } }
}

function send(request: IncomingMessage, response: ServerResponse, answer: ApiAnswer, requestId: string): void {
  const text = answer.body === undefined ? '' : `${JSON.stringify(answer.body)}\n`
  const headers = { ...answer.headers, 'x-request-id': requestId }
  if (!request.complete) {
    answerEarly(request, response, answer.status, text, headers)
    return
  }
  response.writeHead(answer.status, {
    ...headers,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}
