import { believedNowMs, clocksAgree } from '../../acme/believed-time.ts'
import { ProblemError } from '../../acme/problem.ts'
import { errorCode } from '../../error-code.ts'
import type { HttpReply, PluginContext } from '../../plugin-api.ts'
import { type RequestKey, signRequest } from '../../signature/sign-request.ts'

/** With a body it is a POST. */
export type HubQuestion = {
  readonly path: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Signed requests to another acmems. */
export interface HubConnection {
  readonly host: string
  /**
   * Signed; once more where the server's `Date` shows that our clock is why it did not hold.
   * @throws ProblemError when nothing came back
   */
  ask(question: HubQuestion, key: RequestKey, context: PluginContext): Promise<HttpReply>
  /** Unsigned: what everybody may ask. @throws ProblemError when nothing came back */
  askUnsigned(path: string, context: PluginContext): Promise<HttpReply>
  /** The time by the server's `Date` headers. Asks only where there is a doubt. @throws ProblemError */
  timeMs(context: PluginContext): Promise<number | undefined>
}

const maxReplyBytes = 256 * 1024
/** Longer than a server lets a caller wait for the CA. */
const postTimeoutMs = 150_000
const askTimeoutMs = 20_000
const dateLifetimeMs = 60_000
const untrustedPauseMs = 60_000
const nonceBytes = 16
/** A signature that is so much off may have been refused for that; the rest of the delay is the network's. */
const correctableMs = 60_000
/** For everybody, and small. */
const timePath = '/agent.sh.sha256'

export function createHubConnection(origin: string, userAgent: string): HubConnection {
  const { host } = new URL(origin)
  let lastDate: { readonly hubMs: number; readonly monotonicMs: number } | undefined

  async function send(
    method: 'GET' | 'POST',
    path: string,
    more: { readonly headers?: Readonly<Record<string, string>>; readonly body?: string },
    context: PluginContext,
  ): Promise<HttpReply> {
    const { http, clock, signal } = context
    try {
      const reply = await http.request(`${origin}${path}`, {
        ...more,
        method,
        headers: { 'user-agent': userAgent, ...more.headers },
        maxBytes: maxReplyBytes,
        timeoutMs: method === 'POST' ? postTimeoutMs : askTimeoutMs,
        signal,
      })
      const hubMs = dateOf(reply)
      if (hubMs !== undefined) lastDate = { hubMs, monotonicMs: clock.monotonicMs() }
      return reply
    } catch (cause) {
      if (signal.aborted) throw signal.reason
      throw new ProblemError('serverInternal', `the server at ${host} ${whyNot(cause)}`, {
        // Who shows the wrong key does so a moment later, too.
        retry: isUntrusted(cause) ? { when: 'notBefore', atMs: clock.nowMs() + untrustedPauseMs } : { when: 'backoff' },
        cause,
      })
    }
  }

  function sinceMs({ clock }: PluginContext): number {
    return lastDate === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - lastDate.monotonicMs
  }

  function estimateMs(context: PluginContext): number | undefined {
    return lastDate === undefined ? undefined : lastDate.hubMs + sinceMs(context)
  }

  async function ask(
    { path, body, headers }: HubQuestion,
    key: RequestKey,
    context: PluginContext,
  ): Promise<HttpReply> {
    const { clock, log } = context
    const method = body === undefined ? 'GET' : 'POST'
    const sent = body === undefined ? {} : { body }
    const about = body === undefined ? headers : { ...headers, 'content-type': 'text/plain' }
    const signedAt = (createdAtMs: number) => {
      const nonce = Buffer.from(context.randomBytes(nonceBytes)).toString('hex')
      const signature = signRequest({ method, url: `${origin}${path}`, body }, key, { createdAtMs, nonce })
      return send(method, path, { ...sent, headers: { ...signature, ...about } }, context)
    }
    const createdAtMs = believedNowMs(clock.nowMs(), estimateMs(context))
    const reply = await signedAt(createdAtMs)
    const hubMs = reply.status === 401 ? dateOf(reply) : undefined
    if (hubMs === undefined || Math.abs(hubMs - createdAtMs) < correctableMs) return reply
    log.warn("the clock of this machine and that of the server differ; requests are signed by the server's", {
      ours: new Date(clock.nowMs()).toISOString(),
      theirs: new Date(hubMs).toISOString(),
    })
    return await signedAt(hubMs)
  }

  async function timeMs(context: PluginContext): Promise<number | undefined> {
    const known = estimateMs(context)
    if (known !== undefined && clocksAgree(context.clock.nowMs(), known)) return known
    // A machine that slept has a monotonic clock that slept, too: a disagreement counts only while it is new.
    if (sinceMs(context) > dateLifetimeMs) await send('GET', timePath, {}, context)
    return estimateMs(context)
  }

  return { host, ask, askUnsigned: (path, context) => send('GET', path, {}, context), timeMs }
}

function dateOf(reply: HttpReply): number | undefined {
  const ms = Date.parse(reply.headers.get('date')?.[0] ?? '')
  return Number.isNaN(ms) ? undefined : ms
}

/** Goes on after "the server at HOST". */
export function whyNot(cause: unknown): string {
  if (!(cause instanceof Error)) return 'did not answer'
  if (cause.name === 'PinError') return `is not the one that was pinned: ${cause.message}`
  if (cause.name === 'TimeoutError') return 'did not answer in time'
  const code = errorCode(cause)
  if (isUntrusted(cause)) return `shows a certificate that is not trusted here (${code}); give pin or ca-file`
  return `did not answer: ${code ?? cause.message}`
}

/** Node's codes are those of OpenSSL's X509_V_ERR. */
function isUntrusted(cause: unknown): boolean {
  return (
    cause instanceof Error &&
    (cause.name === 'PinError' || /CERT|_SIGNATURE|ISSUER|ALTNAME/.test(errorCode(cause) ?? ''))
  )
}
