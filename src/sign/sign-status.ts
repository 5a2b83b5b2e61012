import type { ProblemCode, ProblemError } from '../acme/problem.ts'

/**
 * acmems' status for each way to fail: 421 when the CA could not validate a name, 429 for its rate limits, 403 for
 * names that may not be had, 400 for requests that no CA signs, 500 and 503 for everything that is not the caller's.
 */
const signStatus: Readonly<Record<ProblemCode, number>> = {
  accountDoesNotExist: 500,
  alreadyReplaced: 500,
  alreadyRevoked: 500,
  badCSR: 400,
  badNonce: 503,
  badPublicKey: 400,
  badRevocationReason: 500,
  badSignatureAlgorithm: 500,
  caa: 421,
  compound: 400,
  connection: 421,
  dns: 421,
  externalAccountRequired: 500,
  incorrectResponse: 421,
  invalidContact: 500,
  invalidProfile: 500,
  malformed: 400,
  orderNotReady: 500,
  rateLimited: 429,
  rejectedIdentifier: 403,
  serverInternal: 500,
  tls: 421,
  unauthorized: 403,
  unsupportedContact: 500,
  unsupportedIdentifier: 400,
  userActionRequired: 500,
}

const defaultRetrySeconds = 30

/** The answer's status, and how long to wait where asking again is of use. */
export function signStatusOf(error: ProblemError, nowMs: number): { status: number; retryAfterSeconds?: number } {
  const status = signStatus[error.code]
  if (error.retry.when === 'notBefore') {
    return {
      status: status === 500 ? 503 : status,
      retryAfterSeconds: Math.max(1, Math.ceil((error.retry.atMs - nowMs) / 1000)),
    }
  }
  if (error.retry.when === 'backoff')
    return { status: status === 500 ? 503 : status, retryAfterSeconds: defaultRetrySeconds }
  return { status }
}
