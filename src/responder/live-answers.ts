import type { AnswerRecord } from '../acme/answer-record.ts'

/** @param isRelayed asked by another responder, which asks everybody else itself */
export type FindAnswer = (
  question: Pick<AnswerRecord, 'type' | 'token' | 'host'>,
  isRelayed: boolean,
) => Promise<string | undefined>

/** What is shown for a host now. */
export type FindShown = (question: Pick<AnswerRecord, 'type' | 'host'>) => Promise<string | undefined>

export interface TextRecords {
  /** The TXT values of either owner name. */
  find(owner: string, otherOwner: string): Promise<readonly string[]>
  /** Is there a TXT record at a name below one of these? */
  hasBelow(name: string, otherName: string): Promise<boolean>
}

/** All that whoever answers validators can ask for: nothing but what it may tell. Nothing lists, nothing writes. */
export type LiveAnswers = { readonly find: FindAnswer; readonly shown: FindShown; readonly texts: TextRecords }
