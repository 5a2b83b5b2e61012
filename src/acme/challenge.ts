import { isJsonObject, type JsonObject, optionalString, requireString } from './json-object.ts'
import { type Problem, parseProblem } from './problem.ts'

/** RFC 8555 §8, RFC 8737. A challenge of another type is kept, so that a message can name it, and never chosen. */
export type ChallengeType = 'http-01' | 'dns-01' | 'tls-alpn-01'

export type Challenge = {
  readonly url: string
  readonly type: string
  /** base64url; empty for types that have none. */
  readonly token: string
  readonly status: 'pending' | 'processing' | 'valid' | 'invalid'
  readonly problem?: Problem
}

/** The shape RFC 8555 §8.1 gives a token. What does not look like this is never looked up, stored or put into a path. */
export const tokenPattern = /^[A-Za-z0-9_-]{1,128}$/

/** @throws TypeError naming what is wrong */
export function parseChallenge(body: unknown): Challenge {
  if (!isJsonObject(body)) throw new TypeError('a challenge is no JSON object')
  const status = body.status === undefined ? 'pending' : requireString(body, 'status')
  if (status !== 'pending' && status !== 'processing' && status !== 'valid' && status !== 'invalid') {
    throw new TypeError(`challenge status ${status}`)
  }
  const error = body.error
  const problem = isJsonObject(error) ? { problem: parseProblem(Number(error.status ?? 400), error) } : {}
  return {
    url: requireString(body, 'url'),
    type: requireString(body, 'type'),
    token: readToken(body),
    status,
    ...problem,
  }
}

function readToken(body: JsonObject): string {
  const token = optionalString(body, 'token') ?? ''
  if (token !== '' && !tokenPattern.test(token)) throw new TypeError('a challenge token is not base64url')
  return token
}
