import type { Identifier } from './identifier.ts'
import { isJsonObject, type JsonObject } from './json-object.ts'

/** The registered error types (RFC 8555 §6.7, RFC 9773 §7.4, ACME profiles) and the HTTP status an ACME server sends. */
export const problemStatus = {
  accountDoesNotExist: 400,
  alreadyReplaced: 409,
  alreadyRevoked: 400,
  badCSR: 400,
  badNonce: 400,
  badPublicKey: 400,
  badRevocationReason: 400,
  badSignatureAlgorithm: 400,
  caa: 403,
  compound: 400,
  connection: 400,
  dns: 400,
  externalAccountRequired: 403,
  incorrectResponse: 400,
  invalidContact: 400,
  invalidProfile: 400,
  malformed: 400,
  orderNotReady: 403,
  rateLimited: 429,
  rejectedIdentifier: 403,
  serverInternal: 500,
  tls: 400,
  unauthorized: 403,
  unsupportedContact: 400,
  unsupportedIdentifier: 400,
  userActionRequired: 403,
} as const

export type ProblemCode = keyof typeof problemStatus

const errorNamespace = 'urn:ietf:params:acme:error:'

/** An RFC 9457 document as a CA sent it. */
export type Problem = {
  readonly type: string
  readonly detail: string
  readonly status: number
  readonly subproblems: readonly Subproblem[]
}

/** One failed name inside a problem (RFC 8555 §6.7.1). */
export type Subproblem = { readonly type: string; readonly detail: string; readonly identifier?: Identifier }

/** What the caller may usefully do next. Decided where the failure is understood, obeyed everywhere else. */
export type Retry =
  | { readonly when: 'never' }
  | { readonly when: 'backoff' }
  | { readonly when: 'notBefore'; readonly atMs: number }
  | { readonly when: 'newOrder' }

/** The only error thrown on purpose. `message` is for the caller, `cause` only for the log. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly code: ProblemCode
  readonly retry: Retry
  /** The CA itself sent it, as a problem document: it has understood the request, and the answer was not lost. */
  readonly isFromCa: boolean
  constructor(
    code: ProblemCode,
    message: string,
    options: { readonly retry?: Retry; readonly cause?: unknown; readonly isFromCa?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retry = options.retry ?? { when: 'never' }
    this.isFromCa = options.isFromCa ?? false
  }

  /** The same problem in other words. */
  withMessage(message: string): ProblemError {
    return new ProblemError(this.code, message, { retry: this.retry, cause: this })
  }
}

/**
 * Makes any thrown value a ProblemError; what nobody understood says nothing about itself to the caller.
 * A plugin from outside has nothing to import: an Error of this name and with a registered code counts as one.
 */
export function asProblemError(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error
  if (error instanceof Error && error.name === 'ProblemError' && 'code' in error && isProblemCode(error.code)) {
    const backoff = 'retry' in error && isJsonObject(error.retry) && error.retry.when === 'backoff'
    return new ProblemError(error.code, error.message, { retry: { when: backoff ? 'backoff' : 'never' }, cause: error })
  }
  return new ProblemError('serverInternal', 'internal error; the log has the details', { cause: error })
}

function isProblemCode(code: unknown): code is ProblemCode {
  return typeof code === 'string' && Object.hasOwn(problemStatus, code)
}

/** Reads a problem document; anything else becomes one with what the status says (RFC 8555 §6.7). */
export function parseProblem(status: number, body: unknown): Problem {
  const document: JsonObject = isJsonObject(body) ? body : {}
  const type = typeof document.type === 'string' ? document.type : 'about:blank'
  const detail = typeof document.detail === 'string' ? document.detail : `HTTP status ${status} without a reason`
  const listed = Array.isArray(document.subproblems) ? document.subproblems.slice(0, 100) : []
  const subproblems = listed.filter(isJsonObject).map((sub): Subproblem => {
    const identifier = sub.identifier
    const named = isJsonObject(identifier) && typeof identifier.value === 'string' ? identifier.value : undefined
    return {
      type: textOf(sub.type) ?? 'about:blank',
      detail: textOf(sub.detail) ?? '',
      ...(named === undefined
        ? {}
        : { identifier: { type: isJsonObject(identifier) && identifier.type === 'ip' ? 'ip' : 'dns', value: named } }),
    }
  })
  return { type, detail, status, subproblems }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** The registered token of a problem; types that we do not know are judged by their HTTP status. */
export function problemCode(problem: Pick<Problem, 'type' | 'status'>): ProblemCode {
  const token = problem.type.startsWith(errorNamespace) ? problem.type.slice(errorNamespace.length) : ''
  if (isProblemCode(token)) return token
  if (token === 'agreementRequired') return 'userActionRequired' // Pebble's and older Boulders' word for it
  if (problem.status === 429) return 'rateLimited'
  if (problem.status >= 500) return 'serverInternal'
  return problem.status === 401 || problem.status === 403 ? 'unauthorized' : 'malformed'
}

/** One line for a person: the CA's own words, with the names they are about. */
export function describeProblem(problem: Problem): string {
  const parts = problem.subproblems.map((sub) =>
    sub.identifier ? `${sub.identifier.value}: ${sub.detail}` : sub.detail,
  )
  return oneLine([problem.detail, ...parts].join('; '))
}

/** Text of others for our own line: printable, one line, bounded. */
export function oneLine(text: string): string {
  const flat = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim()
  return flat.length > 1000 ? `${flat.slice(0, 997)}...` : flat
}
