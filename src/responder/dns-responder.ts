import {
  encodeAnswer,
  encodeRefusal,
  encodeTruncated,
  parseQuery,
  responseCode,
  udpLimit,
} from '../dns/server-message.ts'
import type { ResponderZone } from '../plugin-api.ts'
import { decideAnswer } from './dns-decision.ts'
import type { TextRecords } from './live-answers.ts'
import { createResponseRates, type ResponseRateLimits, type ResponseRates, usualRateLimits } from './response-rates.ts'

export type Transport = 'udp' | 'tcp'

/** Octets in, octets out. undefined: there is no answer. Never throws, whatever comes. */
export type AnswerPacket = (
  packet: Uint8Array,
  transport: Transport,
  remoteAddress: string,
) => Promise<Buffer | undefined>

export type DnsResponderParts = {
  /** Asked for each question, so that a reload counts at once. */
  readonly zones: () => readonly ResponderZone[]
  readonly records: TextRecords
  readonly monotonicMs: () => number
  /** Told when the records could not be looked up. */
  readonly onError: (error: unknown) => void
  readonly rateLimits?: ResponseRateLimits
}

const tcpLimit = 65_535
/** Of questions that wait for the state; a flood beyond it is not remembered. */
const maxPending = 1000

/** Answers dns-01 validators (RFC 8555 §8.4) with authority, and says no more than the answer records hold. */
export function createDnsResponder(parts: DnsResponderParts): AnswerPacket {
  const rates: ResponseRates = createResponseRates(parts.rateLimits ?? usualRateLimits, parts.monotonicMs)
  let pending = 0

  async function answer(packet: Uint8Array, transport: Transport, remoteAddress: string): Promise<Buffer | undefined> {
    const parsed = parseQuery(packet)
    if (parsed === undefined) return undefined
    // Over TCP an address cannot be forged.
    const fate = transport === 'tcp' ? 'send' : rates.decide(remoteAddress)
    if (fate === 'drop') return undefined
    if (parsed.kind === 'refusal') return fate === 'send' ? encodeRefusal(parsed) : undefined
    const { query } = parsed
    const limit = transport === 'tcp' ? tcpLimit : udpLimit(query)
    const nothing = { authoritative: false, answers: [], authority: [] }
    if (fate === 'truncate') return encodeTruncated(query, { ...nothing, rcode: responseCode.noError })
    if (pending >= maxPending) return undefined
    pending += 1
    try {
      return encodeAnswer(query, await decideAnswer(query, parts.zones(), parts.records), limit)
    } catch (error) {
      parts.onError(error)
      return encodeAnswer(query, { ...nothing, rcode: responseCode.servFail }, limit)
    } finally {
      pending -= 1
    }
  }
  return answer
}
