import { oneLine, type ProblemCode, ProblemError, type Retry } from '../../acme/problem.ts'
import { parseRetryAfter } from '../../acme-client/retry-after.ts'
import type { HttpReply } from '../../plugin-api.ts'

/** What another acmems made of a request for a certificate. */
export type HubAnswer =
  | { readonly outcome: 'issued'; readonly chainPem: string }
  /** It is at it, or soon will be: ask again then. */
  | { readonly outcome: 'later'; readonly notBeforeMs: number; readonly words: string }

/** So long a 503 means that this certificate is not there yet; beyond it the server itself is away. */
const longestShortWaitMs = 60_000

export type HubQuestioner = {
  readonly host: string
  /** Of the request: a refusal that mentions one is about it. */
  readonly names: readonly string[]
  readonly nowMs: number
}

/** @throws ProblemError with the server's own words */
export function readHubAnswer(reply: HttpReply, questioner: HubQuestioner): HubAnswer {
  if (reply.status !== 200) return readHubRefusal(reply, questioner)
  const text = new TextDecoder().decode(reply.body)
  if (text.includes('-----BEGIN CERTIFICATE-----')) return { outcome: 'issued', chainPem: text }
  throw problem('serverInternal', `the server at ${questioner.host} answered something that is no certificate`, {
    when: 'backoff',
  })
}

/** @returns when to ask again, where it only takes a moment. @throws ProblemError with the server's own words */
export function readHubRefusal(
  { status, headers, body }: HttpReply,
  { host, names, nowMs }: HubQuestioner,
): Extract<HubAnswer, { outcome: 'later' }> {
  const text = new TextDecoder().decode(body)
  const words = wordsOf(text, status)
  const retryAfterMs = parseRetryAfter(headers.get('retry-after')?.[0], nowMs)
  const later: Retry =
    retryAfterMs === undefined ? { when: 'backoff' } : { when: 'notBefore', atMs: nowMs + retryAfterMs }
  const never: Retry = { when: 'never' }
  const refused = (code: ProblemCode, retry: Retry = never) => problem(code, `${host} refused: ${words}`, retry)
  switch (status) {
    case 400:
    case 413:
    case 415:
      throw refused('badCSR')
    case 401:
      // Not the fault of who asked us, if somebody did: it is ours, and a person cures it.
      throw problem('userActionRequired', `${host} does not take this machine's signature: ${words}`, never)
    case 403:
      throw refused(names.some((name) => words.includes(name)) ? 'rejectedIdentifier' : 'unauthorized')
    case 421:
      throw refused('incorrectResponse', retryAfterMs === undefined ? never : later)
    case 429:
      throw refused('rateLimited', later)
    case 503:
      if (retryAfterMs !== undefined && retryAfterMs <= longestShortWaitMs)
        return { outcome: 'later', notBeforeMs: nowMs + retryAfterMs, words }
      throw problem('serverInternal', `${host} cannot now: ${words}`, later)
    default:
      throw problem('serverInternal', `${host} answered with status ${status}: ${words}`, later)
  }
}

function problem(code: ProblemCode, message: string, retry: Retry): ProblemError {
  return new ProblemError(code, message, { retry })
}

/** A page that some proxy wrote says nothing to a person. */
function wordsOf(text: string, status: number): string {
  const words = oneLine(text)
  return words === '' || words.startsWith('<') ? `HTTP status ${status}` : words
}
