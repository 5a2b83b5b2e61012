import { oneLine, ProblemError } from '../../acme/problem.ts'
import { parseRetryAfter } from '../../acme-client/retry-after.ts'
import { errorCode } from '../../error-code.ts'
import type { HttpClient, HttpReply, HttpRequest, Option, PluginContext } from '../../plugin-api.ts'
import { parseCount } from '../option-values.ts'

/** The keys that every provider with an HTTP API has. */
export const apiOptions = {
  zone: {
    meaning: 'the zone that holds the records (default: found by asking for the name and its parents)',
    type: 'name',
    parse: parseZone,
  },
  timeout: { meaning: 'how long one request may take', type: 'seconds', default: '30', parse: parseCount },
  'ca-file': { meaning: 'roots to trust beside the usual ones, in PEM', type: 'path', parse: String },
} as const satisfies Record<string, Option<unknown>>

export function endpointOption<const Default extends string>(byDefault: Default) {
  return {
    meaning: 'where the API is: https, or http on this machine',
    type: 'URL',
    default: byDefault,
    parse: parseEndpoint,
  } as const satisfies Option<string>
}

export function ttlOption<const Default extends string>(byDefault: Default) {
  return { meaning: 'time to live of the records', type: 'seconds', default: byDefault, parse: parseCount } as const
}

export function parseZone(text: string): string {
  const name = text.replace(/\.$/, '').toLowerCase()
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name)) throw new Error(`${JSON.stringify(text)} is no name of a zone`)
  return name
}

/** A token must not travel in the clear. @throws Error with a sentence for the operator */
export function parseEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new Error(`${JSON.stringify(text)} is no address; write https://host/path`)
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new Error('an endpoint has no user, no query and no fragment')
  const isLocal = url.hostname === 'localhost' || url.hostname === '[::1]' || /^127\.[\d.]+$/.test(url.hostname)
  if (url.protocol === 'http:' && !isLocal)
    throw new Error(`${JSON.stringify(text)} would send the secret in the clear; http is only for this machine`)
  return url.href.replace(/\/+$/, '')
}

/** What is the same in all requests to one provider. */
export type ApiSettings = {
  /** How the provider is called in messages. */
  readonly provider: string
  readonly endpoint: string
  readonly timeoutMs: number
  readonly maxBytes?: number
  readonly secrets: readonly string[]
  /** Instead of the context's, where `ca-file` asks for its own. */
  readonly http?: HttpClient | undefined
  /** The provider's own words in an answer that refuses. */
  explain(text: string): string | undefined
  /** An answer that refuses only for the moment, whatever its status says. */
  isBusy?(text: string): boolean
}

export type ApiRequest = Pick<HttpRequest, 'method' | 'headers' | 'body'> & {
  /** Below the endpoint, with its query. */
  readonly path: string
  /** Statuses that are no failure beside 2xx. */
  readonly accept?: readonly number[]
  /** A refusal that says that all is as it should be. */
  forgive?(text: string): boolean
}

const defaultMaxBytes = 1024 * 1024
const pausesMs = [200, 1000]
const longestPauseMs = 10_000

/**
 * Asks, and asks again where that helps soon: nothing that we ask for does harm twice, and what is to be removed is
 * removed now or stays.
 * @throws ProblemError `dns` with the provider's words, and when it is of use to ask again
 */
export async function callApi(settings: ApiSettings, request: ApiRequest, context: PluginContext): Promise<HttpReply> {
  const { clock, signal } = context
  for (const pauseMs of pausesMs) {
    try {
      return await callOnce(settings, request, context)
    } catch (error) {
      const retry = error instanceof ProblemError ? error.retry : undefined
      const waitMs =
        retry?.when === 'notBefore' ? retry.atMs - clock.nowMs() : retry?.when === 'backoff' ? pauseMs : undefined
      if (waitMs === undefined || waitMs > longestPauseMs) throw error
      await clock.sleep(Math.max(waitMs, pauseMs), signal)
    }
  }
  return callOnce(settings, request, context)
}

async function callOnce(settings: ApiSettings, request: ApiRequest, context: PluginContext): Promise<HttpReply> {
  const { path, accept = [], forgive, ...rest } = request
  const what = `${request.method} ${path.replace(/\?.*/, '')}`
  let reply: HttpReply
  try {
    reply = await (settings.http ?? context.http).request(settings.endpoint + path, {
      ...rest,
      maxBytes: settings.maxBytes ?? defaultMaxBytes,
      timeoutMs: settings.timeoutMs,
      signal: context.signal,
    })
  } catch (cause) {
    context.signal.throwIfAborted()
    throw new ProblemError('dns', `${settings.provider} (${settings.endpoint}) ${describeFailure(cause, settings)}`, {
      retry: { when: 'backoff' },
      cause,
    })
  }
  if ((reply.status >= 200 && reply.status < 300) || accept.includes(reply.status)) return reply
  if (forgive?.(Buffer.from(reply.body).toString('utf8'))) return reply
  throw refusal(settings, what, reply, context)
}

function describeFailure(cause: unknown, { timeoutMs, maxBytes = defaultMaxBytes }: ApiSettings): string {
  const code = errorCode(cause)
  const name = cause instanceof Error ? cause.name : ''
  if (name === 'TimeoutError' || name === 'AbortError' || code === 'ABORT_ERR')
    return `did not answer within ${timeoutMs / 1000} s`
  if (cause instanceof Error && cause.message.includes(`more than ${maxBytes} bytes`))
    return `sent an answer of more than ${maxBytes} bytes`
  return `cannot be reached (${code ?? 'see the log'})`
}

function refusal(settings: ApiSettings, what: string, reply: HttpReply, { clock }: PluginContext): ProblemError {
  const { status } = reply
  const text = Buffer.from(reply.body).toString('utf8')
  const words = settings.explain(text) ?? text
  const said = redactSecrets(oneLine(words), settings.secrets)
  const message = `${settings.provider} answered ${status} to ${what}${said === '' ? '' : `: ${said}`}${adviceFor(status)}`
  const waitMs = parseRetryAfter(reply.headers.get('retry-after')?.[0], clock.nowMs())
  if (status === 429 || (status === 503 && waitMs !== undefined))
    return new ProblemError('dns', message, {
      retry: waitMs === undefined ? { when: 'backoff' } : { when: 'notBefore', atMs: clock.nowMs() + waitMs },
    })
  const temporary =
    settings.isBusy?.(text) === true || status >= 500 || status === 408 || status === 409 || status === 423
  return new ProblemError('dns', message, { retry: { when: temporary ? 'backoff' : 'never' } })
}

function adviceFor(status: number): string {
  if (status === 401) return ' (check the token in this [verification])'
  return status === 403 ? ' (check the token in this [verification], and what it may do)' : ''
}

export function redactSecrets(text: string, secrets: readonly string[]): string {
  return secrets
    .filter((secret) => secret.length > 0)
    .reduce((shown, secret) => shown.replaceAll(secret, '[secret]'), text)
}
