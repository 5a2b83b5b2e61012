import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { asProblemError, type ProblemError } from '../acme/problem.ts'
import { readBody } from '../http/body.ts'
import { answerEarly, isWaitingForContinue } from '../http/early-answer.ts'
import { presentedHead } from '../http/presented.ts'
import {
  type SignatureCheck,
  type SignatureRefusal,
  type SignatureRules,
  unsigned,
  type VerifiedHead,
} from '../http/signature-check.ts'
import { type AliasOf, discreetEvent, discreetLog } from '../issuance/discretion.ts'
import type { Issuance, Means } from '../issuance/issue.ts'
import type { Clock, Grant, IssuanceEvent, LogFields, Logger, Presented } from '../plugin-api.ts'
import type { AddressRanges } from '../plugins/address-range.ts'
import {
  authenticate,
  authorize,
  couldAuthenticate,
  couldAuthenticateSigned,
  couldOnlyBeUnrecorded,
  isUnrecorded,
  type Refusal,
} from '../policy/authorize.ts'
import type { Block } from '../policy/block.ts'
import { isSigned } from '../signature/request-signature.ts'
import type { Certificate } from '../x509/certificate.ts'
import { type Csr, UnreadableCsrError } from '../x509/csr.ts'
import { createCsrCache } from './csr-cache.ts'
import type { LegacyUses } from './legacy-uses.ts'
import { signStatusOf } from './sign-status.ts'

/** What the configuration of the moment says; asked for once a request, so a reload never changes one in flight. */
export type SignRules = {
  readonly maxBodyBytes: number
  readonly trustedProxies: AddressRanges
  readonly blocks: readonly Block[]
  readonly signatures: SignatureRules
  meansOf(grant: Grant): Means
}

export type SignParts = {
  readonly rules: () => SignRules
  readonly issuance: Issuance
  readonly checkSignature: SignatureCheck
  readonly legacyUses: LegacyUses
  /** For what is said of requests that leave no record. */
  readonly aliasOf: AliasOf
  readonly clock: Clock
  readonly log: Logger
  readonly makeRequestId: () => string
  /** Comes after the answer; never throws. */
  readonly tell: (event: IssuanceEvent) => void
  /** A host has this certificate now; never throws, and costs nothing. */
  readonly pickedUp?: (block: string, client: string, leaf: Certificate) => void
}

/** The answer, not sent yet, and what the log says about it. */
type Answer = {
  readonly status: number
  readonly text: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
  readonly log: LogFields
}

/** One request, and whether anything about it may be written down. It becomes clear on the way. */
type Visit = { isUnrecorded: boolean }

/**
 * `POST /sign`: a PEM request in, a PEM chain out, as acmems always did it. One path, compared as it was sent, so
 * there is no router: a proxy in front must see the same path as we do.
 */
export function createSignDoor(parts: SignParts): RequestListener {
  const csrs = createCsrCache()
  const veiled = discreetLog(parts.log, parts.aliasOf)

  function refuseRoute(request: IncomingMessage, response: ServerResponse): void {
    const isSign = request.url === '/sign'
    const [status, text] = isSign
      ? [405, 'only POST is understood here\n']
      : [404, 'there is nothing here; requests go to POST /sign\n']
    parts.log.info('request', {
      status,
      method: request.method,
      path: request.url,
      client: presentedHead(request, parts.rules().trustedProxies).remoteAddress,
    })
    answerEarly(request, response, status, text, isSign ? { allow: 'POST' } : {})
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = parts.clock.nowMs()
    const requestId = parts.makeRequestId()
    const rules = parts.rules()
    const head = presentedHead(request, rules.trustedProxies)
    const visit: Visit = { isUnrecorded: couldOnlyBeUnrecorded(head, rules.blocks) }
    const log = () => (visit.isUnrecorded ? veiled : parts.log)
    let answer: Answer
    try {
      answer =
        rules.signatures.wanted && isSigned(head)
          ? await answerSigned(request, response, head, rules, visit)
          : (refuseHead(head, rules) ?? (await answerBody(request, response, head, rules, visit)))
    } catch (error) {
      if (response.destroyed || response.socket?.destroyed === true) {
        log().info('request', { requestId, client: head.remoteAddress, outcome: 'client went away' })
        return
      }
      answer = answerFailure(error, parts.clock.nowMs())
    }
    const headers = { ...answer.headers, 'x-request-id': requestId }
    // What is ready in one turn goes out together: a client that the first answer wakes is awake for the others.
    if (request.complete) setImmediate(send, response, answer, headers)
    else answerEarly(request, response, answer.status, answer.text, headers)
    const line = {
      requestId,
      client: head.remoteAddress,
      status: answer.status,
      ...answer.log,
      durationMs: parts.clock.nowMs() - startedMs,
    }
    if (answer.status >= 500) log().warn('request', line)
    else log().info('request', line)
  }

  /** A signature that does not hold refuses the request, whatever else would speak for the caller. */
  async function answerSigned(
    request: IncomingMessage,
    response: ServerResponse,
    head: Omit<Presented, 'bodyBytes'>,
    rules: SignRules,
    visit: Visit,
  ): Promise<Answer> {
    const verified = await parts.checkSignature(head, rules.signatures)
    if ('refused' in verified) return signatureRefusal(verified.refused)
    visit.isUnrecorded = couldOnlyBeUnrecorded(verified.head, rules.blocks)
    const answer =
      refuseHead(verified.head, rules) ?? (await answerBody(request, response, verified.head, rules, visit, verified))
    return { ...answer, log: { keyId: verified.head.signedBy.keyId, ...answer.log } }
  }

  /** Everything that is clear before the body: who cannot be let in, or sends what cannot be taken, is not read. */
  function refuseHead(head: Omit<Presented, 'bodyBytes'>, rules: SignRules): Answer | undefined {
    if (!couldAuthenticate(head, rules.blocks)) {
      const isUnsigned = rules.signatures.wanted && head.signedBy === undefined
      return isUnsigned && couldAuthenticateSigned(head, rules.blocks)
        ? signatureRefusal(
            unsigned(head, 'this request must be signed (RFC 9421); docs/request-signatures.md has the lines'),
          )
        : refusal(403, `no auth block accepts this caller (${head.remoteAddress})`)
    }
    const length = head.headers.get('content-length')?.[0]
    const encodings = head.headers.get('content-encoding') ?? []
    if (encodings.some((encoding) => encoding.toLowerCase() !== 'identity'))
      return refusal(415, 'the body must not be compressed')
    if (length !== undefined && Number(length) > rules.maxBodyBytes) return tooLarge(rules)
    if (length === undefined && !head.headers.has('transfer-encoding'))
      return refusal(411, 'the request must say its Content-Length')
    return undefined
  }

  async function answerBody(
    request: IncomingMessage,
    response: ServerResponse,
    head: Omit<Presented, 'bodyBytes'>,
    rules: SignRules,
    visit: Visit,
    verified?: VerifiedHead,
  ): Promise<Answer> {
    if (isWaitingForContinue(request)) response.writeContinue()
    const bodyBytes = await readBody(request, rules.maxBodyBytes)
    if (bodyBytes === undefined) return tooLarge(rules)
    if (!head.headers.has('content-length'))
      return refusal(411, 'the request must say its Content-Length; chunks are not taken')
    const refused = await verified?.admit(bodyBytes)
    if (refused !== undefined) return signatureRefusal(refused)
    const caller = authenticate({ ...head, bodyBytes }, rules.blocks)
    visit.isUnrecorded = isUnrecorded(caller, rules.blocks)
    if (caller.blocks.length === 0)
      return rejected(head, visit, [], 'no auth block accepts this caller; is the Authentication header right?')
    const csr = csrs.parse(bodyBytes)
    const decision = authorize(caller, csr, rules.blocks)
    visit.isUnrecorded = decision.allowed ? decision.grant.unrecorded === true : visit.isUnrecorded
    if (visit.isUnrecorded) csrs.forget(bodyBytes)
    if (!decision.allowed) return rejected(head, visit, namesOf(csr), describeRefusal(decision.refused))
    parts.legacyUses.note(decision.grant.block, rules.blocks)
    return await issue(decision.grant, bodyBytes, rules, visit)
  }

  function tell(event: IssuanceEvent, visit: Visit): void {
    parts.tell(visit.isUnrecorded ? discreetEvent(event, parts.aliasOf) : event)
  }

  function rejected(
    { remoteAddress }: Omit<Presented, 'bodyBytes'>,
    visit: Visit,
    names: readonly string[],
    reason: string,
  ): Answer {
    tell({ kind: 'request.rejected', atMs: parts.clock.nowMs(), names, remoteAddress, reason }, visit)
    return { ...refusal(403, reason), log: { names, outcome: 'rejected', reason } }
  }

  async function issue(grant: Grant, postedBytes: Uint8Array, rules: SignRules, visit: Visit): Promise<Answer> {
    const names = namesOf(grant.csr)
    const common = { names, block: grant.block, remoteAddress: grant.caller.remoteAddress }
    try {
      const means = rules.meansOf(grant)
      const { chain, source } = await parts.issuance.issue({ grant, postedBytes, means })
      const { serial, notAfterMs } = chain.leaf
      // Where nothing is kept, who came is not, either.
      if (means.storage.keepsNothing !== true && grant.unrecorded !== true)
        parts.pickedUp?.(grant.block, common.remoteAddress, chain.leaf)
      if (source === 'issued')
        tell({ kind: 'certificate.issued', atMs: parts.clock.nowMs(), ...common, serial, notAfterMs }, visit)
      return { status: 200, text: chain.pemBytes, log: { names, block: grant.block, outcome: source, serial } }
    } catch (error) {
      const problem = asProblemError(error)
      const { code, message: reason } = problem
      tell({ kind: 'issuance.failed', atMs: parts.clock.nowMs(), ...common, code, reason }, visit)
      const answer = answerFailure(problem, parts.clock.nowMs())
      return { ...answer, log: { names, block: grant.block, ...answer.log } }
    }
  }

  return (request, response) => {
    if (request.url === '/sign' && request.method === 'POST') void serve(request, response)
    else refuseRoute(request, response)
  }
}

function send(response: ServerResponse, answer: Answer, headers: Record<string, string>): void {
  response.writeHead(answer.status, {
    ...headers,
    'content-type': 'text/plain',
    'content-length': Buffer.byteLength(answer.text),
  })
  response.end(answer.text)
}

function refusal(status: number, reason: string): Answer {
  return { status, text: `${reason}\n`, log: { outcome: 'refused', reason } }
}

function signatureRefusal({ status, text, headers, reason }: SignatureRefusal): Answer {
  return { status, text, headers, log: { outcome: 'refused', reason } }
}

function tooLarge(rules: SignRules): Answer {
  return refusal(413, `the request is larger than ${rules.maxBodyBytes} bytes (max-size)`)
}

function answerFailure(error: unknown, nowMs: number): Answer {
  if (error instanceof UnreadableCsrError) return refusal(415, `this is no certificate request: ${error.message}`)
  const problem: ProblemError = asProblemError(error)
  const { status, retryAfterSeconds } = signStatusOf(problem, nowMs)
  const headers = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }
  const cause = problem.cause === undefined ? {} : { cause: problem.cause }
  return {
    status,
    text: `${problem.message}\n`,
    headers,
    log: { outcome: 'failed', code: problem.code, reason: problem.message, ...cause },
  }
}

const maxNamesShown = 5

function describeRefusal(refused: readonly Refusal[]): string {
  const byReason = Map.groupBy(refused, ({ reason }) => reason)
  return [...byReason]
    .map(([reason, list]) => `${shortList(list.map(({ identifier }) => identifier.value))}: ${reason}`)
    .join('; ')
}

function shortList(names: readonly string[]): string {
  const more = names.length - maxNamesShown
  return `${names.slice(0, maxNamesShown).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function namesOf(csr: Csr): string[] {
  return csr.identifiers.map(({ value }) => value)
}
