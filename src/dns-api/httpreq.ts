import { dns01Prefix } from '../acme/answer-record.ts'
import type { JsonObject } from '../acme/json-object.ts'
import type { AnswerRecord, Caller } from '../plugin-api.ts'
import type { Block } from '../policy/block.ts'
import { blocksThatMayProve } from '../policy/prove-name.ts'
import type { StoredAnswers } from '../state/answer-records.ts'
import { type ApiAnswer, refuse } from './api-answer.ts'
import { type PublishWish, readPublishWish } from './httpreq-message.ts'

export type HttpreqParts = {
  readonly answers: Pick<StoredAnswers, 'put' | 'remove' | 'countPublished'>
  readonly nowMs: () => number
}

/** What nobody removes is gone a day later. */
export const publishedLifetimeMs = 24 * 3_600_000
const maxValuesOfName = 16
const maxValuesOfBlock = 10_000

/** lego's `httpreq`: `/present` and `/cleanup`. @throws ProblemError `malformed` */
export async function changePublished(
  action: 'present' | 'cleanup',
  body: JsonObject,
  caller: Caller,
  { blocks, zones }: { readonly blocks: readonly Block[]; readonly zones: readonly string[] },
  { answers, nowMs }: HttpreqParts,
): Promise<ApiAnswer> {
  const wish = readPublishWish(body, zones)
  const name = wish.name.value
  const [block, ...others] = blocksThatMayProve(caller, wish.name, blocks)
  if (block === undefined)
    return refuse(403, 'forbidden', `${name}: not in any auth block that accepts this caller`, { name })
  const done = (outcome: string): ApiAnswer => ({ status: 200, body: {}, log: { name, block: block.name, outcome } })
  if (action === 'cleanup') {
    // The blocks may have changed since the value was presented.
    for (const { name: blockName } of [block, ...others]) await answers.remove(recordOf(wish, blockName, 0))
    return done('removed')
  }
  const record = recordOf(wish, block.name, nowMs() + publishedLifetimeMs)
  const { all, atHost } = await answers.countPublished(publisherOf(block.name), record.host, nowMs())
  if (atHost >= maxValuesOfName || all >= maxValuesOfBlock)
    return refuse(429, 'too_many_values', `${name} has too many values that were never cleaned up`, {
      name,
      block: block.name,
    })
  await answers.put(record)
  return done('published')
}

/** The publisher is a part of the key, so that nobody removes what somebody else published. */
function recordOf({ name, value }: PublishWish, block: string, expiresAtMs: number): AnswerRecord {
  const publisher = publisherOf(block)
  const host = `${dns01Prefix}${name.value}`
  return { type: 'dns-01', token: `${publisher} ${value}`, host, keyAuthorization: value, expiresAtMs, publisher }
}

function publisherOf(block: string): string {
  return `block ${block}`
}
