import { ProblemError } from '../acme/problem.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { AcmeTransport, Signer } from './transport.ts'

/** RFC 5280 §5.3.1. CAs take the first five from a subscriber; the others are theirs to use. */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  cACompromise: 2,
  certificateHold: 6,
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const

export type RevocationReason = (typeof revocationReasons)[keyof typeof revocationReasons]

const subscribersReasons = 'unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation'

/** A reason as a person writes it: its name, in any case and with dashes if they like, or its number. @throws Error */
export function parseRevocationReason(text: string): RevocationReason {
  const wanted = text.trim().toLowerCase()
  const name = wanted.replace(/(?<=[a-z])[-_ ](?=[a-z])/g, '')
  const found = Object.entries(revocationReasons).find(
    ([known, code]) => known.toLowerCase() === name || String(code) === wanted,
  )
  if (found !== undefined) return found[1]
  throw new Error(
    `${JSON.stringify(text)} is no reason for a revocation: use one of ${subscribersReasons}, or its number (RFC 5280 §5.3.1)`,
  )
}

/**
 * Takes a certificate back (RFC 8555 §7.6); one that was revoked before counts as done.
 * @param signer the account (with `accountUrl`), or the certificate's own key (without)
 * @param reason one of `revocationReasons`; undefined says nothing
 * @throws ProblemError with the CA's words, among them `badRevocationReason`
 */
export async function revokeCertificate(
  transport: AcmeTransport,
  signer: Signer,
  certificateDer: Uint8Array,
  reason: number | undefined,
  context: PluginContext,
): Promise<'revoked' | 'already revoked'> {
  const { revokeCertUrl } = await transport.directory(context)
  if (revokeCertUrl === undefined) {
    throw new ProblemError(
      'userActionRequired',
      'this CA revokes nothing over ACME (its directory has no revokeCert): ask its operator',
    )
  }
  const certificate = Buffer.from(certificateDer).toString('base64url')
  try {
    await transport.post(revokeCertUrl, { certificate, ...(reason === undefined ? {} : { reason }) }, signer, context)
    return 'revoked'
  } catch (error) {
    if (error instanceof ProblemError && error.code === 'alreadyRevoked') return 'already revoked'
    throw error
  }
}
