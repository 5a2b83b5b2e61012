import type { Clock, Presented, SignedBy, SigningKey } from '../plugin-api.ts'
import { authoritiesOf } from '../signature/authority.ts'
import {
  acceptSignature,
  type RequestSignature,
  readSignature,
  SignatureError,
} from '../signature/request-signature.ts'
import { findSigner } from '../signature/signature-algorithm.ts'
import { isThumbprint } from '../signature/signing-key.ts'

type Head = Omit<Presented, 'bodyBytes'>

/** What the configuration of the moment says about signed requests. */
export type SignatureRules = {
  /** false: no block asks for signatures, so none is looked at. */
  readonly wanted: boolean
  readonly keysById: ReadonlyMap<string, readonly SigningKey[]>
  /** Names that hosts call us by; empty for the one in the Host header. */
  readonly publicNames: readonly string[]
}

export type EnrolledSigningKey = { readonly block: string; readonly key: SigningKey }

/** What is remembered of signatures, by every server on the same state. */
export type SignatureMemory = {
  /** Keys of this thumbprint that were enrolled and not revoked. */
  findEnrolled(keyId: string): Promise<readonly EnrolledSigningKey[]>
  /** Of many that come at once with the same nonce exactly one gets true. Durable when resolved. */
  useNonce(keyId: string, nonce: string, forgetAtMs: number): Promise<boolean>
}

export type SignatureRefusal = {
  readonly status: 400 | 401 | 503
  readonly text: string
  readonly headers: Readonly<Record<string, string>>
  /** Not for the caller. */
  readonly reason: string
}

export type VerifiedHead = {
  readonly head: Head & { readonly signedBy: SignedBy }
  /**
   * Looks at the body as it was received, before anybody reads it, and takes the nonce. undefined: all is well. To be
   * asked once, and before anything is done for the caller.
   */
  admit(bodyBytes: Uint8Array): Promise<SignatureRefusal | undefined>
}

export type SignatureCheckParts = {
  readonly memory: SignatureMemory
  readonly clock: Clock
}

/** How far the signer's clock may be from ours. */
const maxSkewMs = 300_000
/** Longer than any clock among several servers takes a signature. */
const nonceKeptMs = 2 * maxSkewMs
const retrySeconds = 30

export type SignatureCheck = (
  head: Head,
  rules: SignatureRules,
) => Promise<VerifiedHead | { readonly refused: SignatureRefusal }>

/**
 * Verifies the signature of a request, once for all blocks (RFC 9421 §3.2). One that is there and does not hold
 * refuses the request, whatever else would speak for the caller.
 */
export function createSignatureCheck({ memory, clock }: SignatureCheckParts): SignatureCheck {
  return async (head, rules) => {
    try {
      const claim = readSignature(head)
      checkTime(claim, clock.nowMs())
      const signedBy = await findSignedBy(claim, head, rules, memory)
      if (signedBy === undefined) {
        const isKnown = rules.keysById.has(claim.keyId)
        return {
          refused: unsigned(
            head,
            'the signature does not hold, or its key is not known here',
            isKnown
              ? `the signature does not hold (keyid ${claim.keyId})`
              : `no key that made it (keyid ${claim.keyId})`,
          ),
        }
      }
      return {
        head: { ...head, signedBy },
        admit: async (bodyBytes) => {
          if (claim.contentDigest?.matches(bodyBytes) === false)
            return unsigned(head, 'the body is not the one whose Content-Digest was signed')
          try {
            const forgetAtMs = Math.max(claim.createdAtMs, clock.nowMs()) + nonceKeptMs
            if (await memory.useNonce(claim.keyId, claim.nonce, forgetAtMs)) return undefined
          } catch (error) {
            return unavailable(error)
          }
          return unsigned(
            head,
            'this signature was used before: every request needs a nonce and a signature of its own',
          )
        },
      }
    } catch (error) {
      if (!(error instanceof SignatureError)) return { refused: unavailable(error) }
      if (error.status === 401) return { refused: unsigned(head, error.message) }
      return { refused: { status: 400, text: `${error.message}\n`, headers: {}, reason: error.message } }
    }
  }
}

/** For who signed nothing, or nothing of use: how to sign. `Date`, which every answer has, tells the time here. */
export function unsigned(head: Head, message: string, reason = message): SignatureRefusal {
  return {
    status: 401,
    text: `${message}\n`,
    headers: { 'accept-signature': acceptSignature(head), 'www-authenticate': 'Signature realm="acmems"' },
    reason,
  }
}

function unavailable(error: unknown): SignatureRefusal {
  return {
    status: 503,
    text: "signatures cannot be checked at the moment; the server's log says why\n",
    headers: { 'retry-after': String(retrySeconds) },
    reason: `signatures cannot be checked: ${error instanceof Error ? error.message : 'unknown reason'}`,
  }
}

/** @throws SignatureError */
function checkTime({ createdAtMs, expiresAtMs }: RequestSignature, nowMs: number): void {
  const shown = (atMs: number) => (atMs < 8.64e15 ? new Date(atMs).toISOString().slice(0, 19) : 'never')
  if (Math.abs(nowMs - createdAtMs) > maxSkewMs)
    throw new SignatureError(
      401,
      `the signature was created at ${shown(createdAtMs)}Z and it is ${shown(nowMs)}Z here, more than ${maxSkewMs / 1000} seconds apart: sign again by the time in the Date header`,
    )
  if (expiresAtMs !== undefined && expiresAtMs <= nowMs) throw new SignatureError(401, 'the signature has expired')
}

async function findSignedBy(
  claim: RequestSignature,
  head: Head,
  rules: SignatureRules,
  memory: SignatureMemory,
): Promise<SignedBy | undefined> {
  const configured = rules.keysById.get(claim.keyId) ?? []
  const enrolled = isThumbprint(claim.keyId) ? await memory.findEnrolled(claim.keyId) : []
  const keys = distinct([...configured, ...enrolled.map(({ key }) => key)])
  for (const authority of authoritiesOf(head.headers, rules.publicNames)) {
    const signer = findSigner(keys, claim.algorithm, claim.baseFor(authority), claim.signature)
    if (signer === undefined) continue
    const { thumbprint } = signer
    return {
      keyId: claim.keyId,
      thumbprint,
      enrolledFor: enrolled.filter(({ key }) => key.thumbprint === thumbprint).map(({ block }) => block),
    }
  }
  return undefined
}

/** Several blocks may name one key: it is tried once. */
function distinct(keys: readonly SigningKey[]): SigningKey[] {
  return [...new Map(keys.map((key) => [key.thumbprint, key])).values()]
}
