import type { ChallengeType } from './challenge.ts'

/** What a validator may be told: written by a solver, read by the responder, and by nobody else. */
export type AnswerRecord = {
  readonly type: Extract<ChallengeType, 'http-01' | 'tls-alpn-01'>
  readonly token: string
  /** The name or address being validated, normalised. */
  readonly host: string
  readonly keyAuthorization: string
  /** After this moment the record is rubbish, whoever forgot to remove it. */
  readonly expiresAtMs: number
}
