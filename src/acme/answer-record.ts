import type { ChallengeType } from './challenge.ts'

/** What a validator may be told: written by a solver, read by the responder, and by nobody else. */
export type AnswerRecord = {
  readonly type: ChallengeType
  readonly token: string
  /** The name or address being validated, normalised; for dns-01 the owner name of the TXT record. */
  readonly host: string
  /** For dns-01 the value of the TXT record; several records of one host are values side by side. */
  readonly keyAuthorization: string
  /** After this moment the record is rubbish, whoever forgot to remove it. */
  readonly expiresAtMs: number
  /** Who asked us to publish it, where that was somebody else. */
  readonly publisher?: string
}

/** RFC 8555 §8.4: where a validator looks for the TXT record of a name. */
export const dns01Prefix = '_acme-challenge.'

/** Where a solver leaves what the responder will say. Durable when resolved; the same record twice is one. */
export interface AnswerRecords {
  put(record: AnswerRecord): Promise<void>
  remove(record: AnswerRecord): Promise<void>
  /** The key authorization that a tls-alpn-01 validator of this host is shown now: of several the oldest. */
  shown(question: Pick<AnswerRecord, 'type' | 'host'>): Promise<string | undefined>
}
