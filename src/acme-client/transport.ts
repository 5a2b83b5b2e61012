import { clocksAgree } from '../acme/believed-time.ts'
import { type Directory, parseDirectory } from '../acme/directory.ts'
import { describeProblem, type Problem, ProblemError, parseProblem, problemCode, type Retry } from '../acme/problem.ts'
import { type JwsPayload, type ProtectedHeader, signFlattened } from '../jws/jws.ts'
import type { AccountKey, HttpReply, PluginContext } from '../plugin-api.ts'
import { publicJwkOf } from './account-identity.ts'
import { createNoncePool, isNonce } from './nonce-pool.ts'
import { parseRetryAfter } from './retry-after.ts'

/** Who signs: by the account's URL, or by the key itself where there is no account yet (RFC 8555 §6.2). */
export type Signer = { readonly key: AccountKey; readonly accountUrl?: string }

/** An answer of the CA, as far as every resource needs it. */
export type AcmeReply = {
  readonly status: number
  readonly bodyText: string
  readonly location: string | undefined
  readonly retryAfterMs: number | undefined
  /** Targets of `Link` headers by their relation. */
  readonly links: ReadonlyMap<string, readonly string[]>
}

/** Signed requests to one CA. */
export interface AcmeTransport {
  directory(context: PluginContext): Promise<Directory>
  /** Unsigned; only for what RFC 8555 §6.3 and RFC 9773 §4 leave unsigned. @throws ProblemError */
  get(url: string, context: PluginContext): Promise<AcmeReply>
  /**
   * The time by the CA's `Date` headers; undefined when it sends none. Asks only where there is a doubt.
   * @throws ProblemError when it had to ask and could not
   */
  timeMs(context: PluginContext): Promise<number | undefined>
  /**
   * @param payload undefined makes it a POST-as-GET
   * @throws ProblemError with the CA's own words; `retry` says what is of use
   */
  post(url: string, payload: JwsPayload, signer: Signer, context: PluginContext, accept?: string): Promise<AcmeReply>
}

const maxReplyBytes = 1024 * 1024
const requestTimeoutMs = 30_000
const maxNonceRetries = 10
const directoryLifetimeMs = 3_600_000
const dateLifetimeMs = 60_000

/** @param userAgent RFC 8555 §6.1: every request MUST carry one */
export function createTransport(directoryUrl: string, userAgent: string, nowMs: () => number): AcmeTransport {
  const nonces = createNoncePool(nowMs)
  const protocol = new URL(directoryUrl).protocol
  const host = new URL(directoryUrl).host
  let cached: { directory: Promise<Directory>; atMs: number } | undefined
  let lastDate: { readonly caMs: number; readonly monotonicMs: number } | undefined
  /** On the clock that never jumps. */
  let closedUntilMonotonicMs = Number.NEGATIVE_INFINITY

  /** A CA that says 503 and when to come back is not called before, for anything. */
  function refuseWhileClosed({ clock }: PluginContext): void {
    const waitMs = closedUntilMonotonicMs - clock.monotonicMs()
    if (waitMs <= 0) return
    throw new ProblemError('serverInternal', `the CA at ${host} asked not to be called now`, {
      retry: { when: 'notBefore', atMs: nowMs() + waitMs },
    })
  }

  function noteReply(reply: HttpReply, { clock }: PluginContext): void {
    const caMs = Date.parse(headerOf(reply, 'date') ?? '')
    if (!Number.isNaN(caMs)) lastDate = { caMs, monotonicMs: clock.monotonicMs() }
    const retryAfterMs =
      reply.status === 503 ? parseRetryAfter(headerOf(reply, 'retry-after'), Number.isNaN(caMs) ? nowMs() : caMs) : 0
    if (retryAfterMs !== undefined && retryAfterMs > 0) closedUntilMonotonicMs = clock.monotonicMs() + retryAfterMs
  }

  async function send(
    context: PluginContext,
    url: string,
    method: 'GET' | 'HEAD' | 'POST',
    body?: string,
    accept?: string,
  ) {
    if (!URL.canParse(url) || new URL(url).protocol !== protocol) {
      throw unusable(`the CA gave an address that is no ${protocol} URL`, undefined)
    }
    refuseWhileClosed(context)
    const headers = {
      'user-agent': userAgent,
      'accept-language': 'en',
      ...(accept === undefined ? {} : { accept }),
      ...(body === undefined ? {} : { 'content-type': 'application/jose+json' }),
    }
    const limits = { maxBytes: maxReplyBytes, timeoutMs: requestTimeoutMs, signal: context.signal }
    try {
      const reply = await context.http.request(url, {
        method,
        headers,
        ...(body === undefined ? {} : { body }),
        ...limits,
      })
      noteReply(reply, context)
      return reply
    } catch (cause) {
      if (context.signal.aborted) throw context.signal.reason
      throw new ProblemError('serverInternal', `the CA at ${host} did not answer: ${networkReason(cause)}`, {
        retry: { when: 'backoff' },
        cause,
      })
    }
  }

  async function fetchDirectory(context: PluginContext): Promise<Directory> {
    const reply = await send(context, directoryUrl, 'GET')
    if (reply.status !== 200) throw notDirectory(problemOf(reply, nowMs()), reply.status)
    try {
      return parseDirectory(JSON.parse(textOf(reply)))
    } catch (cause) {
      throw unusable(`what ${host} answered is no ACME directory`, cause)
    }
  }

  function directory(context: PluginContext): Promise<Directory> {
    if (cached === undefined || Math.abs(nowMs() - cached.atMs) > directoryLifetimeMs) {
      const entry = { directory: fetchDirectory(context), atMs: nowMs() }
      cached = entry
      entry.directory.catch(() => {
        if (cached === entry) cached = undefined
      })
    }
    return cached.directory
  }

  /** A wrong address or a CA that is away: in neither case is it the caller's fault, whatever the status says. */
  function notDirectory(problem: ProblemError, status: number): ProblemError {
    const retry = problem.retry.when === 'notBefore' ? problem.retry : ({ when: 'backoff' } as const)
    return new ProblemError(
      'serverInternal',
      `${host} has no ACME directory there (HTTP status ${status}): ${problem.message}`,
      { retry, cause: problem },
    )
  }

  async function freshNonce(context: PluginContext): Promise<string> {
    const kept = nonces.take()
    if (kept !== undefined) return kept
    const reply = await send(context, (await directory(context)).newNonceUrl, 'HEAD')
    const nonce = nonceOf(reply)
    if (reply.status >= 400) throw problemOf(reply, nowMs())
    if (nonce === undefined) throw unusable('the CA hands out no nonce', undefined)
    return nonce
  }

  async function post(
    url: string,
    payload: JwsPayload,
    signer: Signer,
    context: PluginContext,
    accept?: string,
  ): Promise<AcmeReply> {
    let nonce = await freshNonce(context)
    for (let attempt = 0; ; attempt++) {
      const identity = signer.accountUrl === undefined ? { jwk: publicJwkOf(signer.key) } : { kid: signer.accountUrl }
      const header: ProtectedHeader = { alg: signer.key.alg, ...identity, nonce, url }
      const jws = await signFlattened(header, payload, (octets) => signer.key.sign(octets, context))
      const reply = await send(context, url, 'POST', JSON.stringify(jws), accept)
      const replayNonce = nonceOf(reply)
      if (reply.status < 400) {
        nonces.add(replayNonce)
        return understand(reply, nowMs())
      }
      const error = problemOf(reply, nowMs())
      if (error.code !== 'badNonce' || attempt >= maxNonceRetries) {
        nonces.add(replayNonce)
        throw error.code === 'badNonce' ? unusable('the CA refuses every nonce it hands out', error) : error
      }
      // The nonce of the error is the one to use (RFC 8555 §6.5); when one was too old, so are the others.
      nonces.clear()
      nonce = replayNonce ?? (await freshNonce(context))
    }
  }

  async function get(url: string, context: PluginContext): Promise<AcmeReply> {
    const reply = await send(context, url, 'GET')
    if (reply.status !== 200) throw problemOf(reply, nowMs())
    return understand(reply, nowMs())
  }

  async function timeMs(context: PluginContext): Promise<number | undefined> {
    const { clock } = context
    const sinceMs = () =>
      lastDate === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - lastDate.monotonicMs
    const estimateMs = () => (lastDate === undefined ? undefined : lastDate.caMs + sinceMs())
    const known = estimateMs()
    if (known !== undefined && clocksAgree(clock.nowMs(), known)) return known
    // A machine that slept has a monotonic clock that slept, too: a disagreement counts only while it is new.
    if (sinceMs() > dateLifetimeMs) {
      const entry = { directory: fetchDirectory(context), atMs: clock.nowMs() }
      await entry.directory
      cached = entry
    }
    return estimateMs()
  }

  return { directory, post, get, timeMs }
}

function understand(reply: HttpReply, nowMs: number): AcmeReply {
  return {
    status: reply.status,
    bodyText: textOf(reply),
    location: headerOf(reply, 'location'),
    retryAfterMs: parseRetryAfter(headerOf(reply, 'retry-after'), nowMs),
    links: parseLinks(reply.headers.get('link') ?? []),
  }
}

/** RFC 8288, as far as CAs use it. */
function parseLinks(values: readonly string[]): Map<string, string[]> {
  const links = new Map<string, string[]>()
  for (const match of values
    .slice(0, 50)
    .join(',')
    .matchAll(/<([^>]{1,2048})>\s*;\s*rel="?([a-z-]{1,40})"?/gi)) {
    const [, target = '', relation = ''] = match
    links.set(relation, [...(links.get(relation) ?? []), target])
  }
  return links
}

/** RFC 8555 §6.7; also for answers that no CA wrote (a proxy's HTML page). */
function problemOf(reply: HttpReply, nowMs: number): ProblemError {
  const problem = parseProblem(reply.status, tryJson(textOf(reply)))
  const help = parseLinks(reply.headers.get('link') ?? []).get('help')?.[0]
  const words = `${describeProblem(problem)}${help === undefined ? '' : ` (see ${help})`}`
  const code = problemCode(problem)
  return new ProblemError(code, words, {
    retry: retryOf(problem, parseRetryAfter(headerOf(reply, 'retry-after'), nowMs), nowMs),
    isFromCa: problem.type !== 'about:blank',
  })
}

function retryOf(problem: Problem, retryAfterMs: number | undefined, nowMs: number): Retry {
  const code = problemCode(problem)
  const temporary = code === 'rateLimited' || code === 'badNonce' || problem.status >= 500 || problem.status < 400
  if (!temporary) return { when: 'never' }
  return retryAfterMs === undefined ? { when: 'backoff' } : { when: 'notBefore', atMs: nowMs + retryAfterMs }
}

/** What the CA sent makes no sense: treated like a failing server, tried again later. */
export function unusable(reason: string, cause: unknown): ProblemError {
  return new ProblemError('serverInternal', reason, { retry: { when: 'backoff' }, cause })
}

/** @throws ProblemError when the body is no JSON */
export function jsonOf(reply: AcmeReply): unknown {
  try {
    return JSON.parse(reply.bodyText)
  } catch (cause) {
    throw unusable('the CA answered something that is no JSON', cause)
  }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function textOf(reply: HttpReply): string {
  return new TextDecoder().decode(reply.body)
}

function nonceOf(reply: HttpReply): string | undefined {
  const value = headerOf(reply, 'replay-nonce')
  return value !== undefined && isNonce(value) ? value : undefined
}

function headerOf(reply: HttpReply, name: string): string | undefined {
  return reply.headers.get(name)?.[0]
}

function networkReason(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown reason'
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message
}
