import { hash } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { type Answer, createAnsweringDoor, refuse } from '../http/answering-door.ts'
import { readBody } from '../http/body.ts'
import { isConfidential } from '../http/confidential.ts'
import { isWaitingForContinue } from '../http/early-answer.ts'
import { presentedHead } from '../http/presented.ts'
import type { Clock, LogFields, Logger } from '../plugin-api.ts'
import type { AddressRanges } from '../plugins/address-range.ts'
import { parsePublicKey, thumbprintOf } from '../signature/signing-key.ts'

/** What the configuration of the moment says about enrolment. */
export type EnrollRules = {
  readonly trustedProxies: AddressRanges
  /** Blocks with `enroll = yes`. */
  readonly enrollingBlocks: ReadonlySet<string>
}

/** Tokens and keys, by every server on the same state. */
export type EnrollMemory = {
  useToken(
    tokenHash: string,
    keyId: string,
    atMs: number,
  ): Promise<{ readonly block: string; readonly label: string | undefined } | undefined>
  addKey(key: {
    readonly keyId: string
    readonly block: string
    readonly spkiPem: string
    readonly label: string | undefined
    readonly createdAtMs: number
  }): Promise<boolean>
}

export type EnrollParts = {
  readonly rules: () => EnrollRules
  readonly memory: EnrollMemory
  readonly clock: Clock
  readonly log: Logger
  readonly makeRequestId: () => string
}

const maxBodyBytes = 8192
/** base64url of 32 octets. */
const bearerPattern = /^bearer +([A-Za-z0-9_-]{43}) *$/i

/** What the state knows of a token: who reads it there cannot enrol with it. */
export function hashOfToken(token: string): string {
  return hash('sha256', token, 'hex')
}

/**
 * `POST /enroll`: a one-time token and a public key in PEM in, the key's id out. The same token with the same key is
 * answered the same again, for who lost the answer.
 */
export function createEnrollDoor(parts: EnrollParts): RequestListener {
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<Answer> {
    if (request.method !== 'POST') return { ...refuse(405, 'only POST is understood here'), headers: { allow: 'POST' } }
    const rules = parts.rules()
    if (!isConfidential(request, rules.trustedProxies))
      return refuse(403, 'keys are enrolled only over TLS: the token would be seen on the way')
    const [authorization = '', ...more] =
      presentedHead(request, rules.trustedProxies).headers.get('authorization') ?? []
    const token = bearerPattern.exec(authorization)?.[1]
    if (token === undefined || more.length > 0) return unauthorized('there is no token: Authorization: Bearer TOKEN')
    if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) return tooLarge()
    if (isWaitingForContinue(request)) response.writeContinue()
    const body = await readBody(request, maxBodyBytes)
    return body === undefined ? tooLarge() : await enroll(token, body.toString('latin1'), rules)
  }

  async function enroll(token: string, body: string, { enrollingBlocks }: EnrollRules): Promise<Answer> {
    const publicKey = readPublicKey(body)
    if (typeof publicKey === 'string') return refuse(400, publicKey)
    const keyId = thumbprintOf(publicKey)
    const nowMs = parts.clock.nowMs()
    // Were the token used up before the key is there, the same request, sent again, would go on from here.
    const used = await parts.memory.useToken(hashOfToken(token), keyId, nowMs)
    if (used === undefined || !enrollingBlocks.has(used.block)) {
      const reason = used === undefined ? 'no such token' : `block "${used.block}" takes no enrolled keys`
      return unauthorized('this token is not known, has expired, or was used for another key', { reason, keyId })
    }
    const { block, label } = used
    const spkiPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    if (!(await parts.memory.addKey({ keyId, block, spkiPem, label, createdAtMs: nowMs })))
      return {
        ...refuse(403, 'this key was revoked: make a new one'),
        log: { outcome: 'refused', reason: 'revoked', keyId },
      }
    return { status: 200, text: `${keyId}\n`, log: { outcome: 'enrolled', block, keyId, label } }
  }

  return createAnsweringDoor(
    {
      what: 'enrolment',
      trustedProxies: () => parts.rules().trustedProxies,
      clock: parts.clock,
      log: parts.log,
      makeRequestId: parts.makeRequestId,
      unavailable: 'nothing can be enrolled at the moment: the state cannot be used',
    },
    answer,
  )
}

/** A sentence when it is none. */
function readPublicKey(text: string) {
  try {
    return parsePublicKey(text)
  } catch (error) {
    return error instanceof RangeError ? error.message : 'this is no public key'
  }
}

function unauthorized(text: string, log: LogFields = {}): Answer {
  const headers = { 'www-authenticate': 'Bearer realm="acmems enroll"' }
  return { ...refuse(401, text), headers, log: { outcome: 'refused', reason: text, ...log } }
}

function tooLarge(): Answer {
  return refuse(413, `a public key is not larger than ${maxBodyBytes} bytes`)
}
