import { copyName, encodeName, readName, uint16, uint32, viewOf } from './wire.ts'

/** The record types and classes that we speak (RFC 1035 §3.2, RFC 2136 §2.4, RFC 6891, RFC 8945, RFC 8659). */
export const recordType = {
  a: 1,
  ns: 2,
  cname: 5,
  soa: 6,
  txt: 16,
  aaaa: 28,
  opt: 41,
  tsig: 250,
  any: 255,
  caa: 257,
} as const
export const recordClass = { internet: 1, none: 254, any: 255 } as const
const updateOpcode = 5

/** A record of an answer; names in `rdata` are written out, whatever the message did to shorten them. */
export type ResourceRecord = {
  readonly name: string
  readonly type: number
  readonly class: number
  readonly ttlSeconds: number
  readonly rdata: Uint8Array
}

export type Question = { readonly name: string; readonly type: number }

export type Reply = {
  readonly id: number
  /** Did the server speak for the zone itself (AA)? */
  readonly authoritative: boolean
  /** Has it looked at the signatures, and found them good (AD, RFC 4035 §3.2.3)? */
  readonly authentic: boolean
  /** Does it ask others for us (RA)? */
  readonly recursive: boolean
  /** There is more, to be had by TCP (TC). */
  readonly truncated: boolean
  readonly rcode: number
  readonly questions: readonly Question[]
  readonly answers: readonly ResourceRecord[]
  readonly authority: readonly ResourceRecord[]
  readonly additional: readonly ResourceRecord[]
}

export type TxtChange = {
  readonly fqdn: string
  readonly value: string
  readonly ttlSeconds: number
  readonly action: 'add' | 'remove'
}

const maxRecords = 200
const recursionDesired = 0x0100
/** RFC 6840 §5.7: say whether the signatures are good; RFC 4035 §3.2.2: answer even when they are not. */
export const queryFlag = { authentic: 0x20, unchecked: 0x10 } as const

/**
 * RFC 1035 §4.1: one question.
 * @param udpOctets how long an answer by UDP may be (RFC 6891 §6.2.3); absent: 512, and no OPT record is sent
 * @param flags of `queryFlag`
 */
export function encodeQuery(id: number, name: string, type: number, udpOctets?: number, flags = 0): Uint8Array {
  const opt =
    udpOctets === undefined ? [] : [Buffer.of(0), uint16(recordType.opt), uint16(udpOctets), uint32(0), uint16(0)]
  return Buffer.concat([
    header(id, recursionDesired | flags, [1, 0, 0, opt.length === 0 ? 0 : 1]),
    encodeName(name),
    uint16(type),
    uint16(recordClass.internet),
    ...opt,
  ])
}

/** RFC 2136 §2.5.1 and §2.5.4: adds one TXT value, or removes exactly that one. */
export function encodeTxtUpdate(id: number, zone: string, change: TxtChange): Uint8Array {
  const text = Buffer.from(change.value, 'ascii')
  const rdata = Buffer.concat([Buffer.of(text.length), text])
  const adding = change.action === 'add'
  return Buffer.concat([
    header(id, updateOpcode << 11, [1, 0, 1, 0]),
    ...[encodeName(zone), uint16(recordType.soa), uint16(recordClass.internet)],
    ...[encodeName(change.fqdn), uint16(recordType.txt), uint16(adding ? recordClass.internet : recordClass.none)],
    ...[uint32(adding ? change.ttlSeconds : 0), uint16(rdata.length), rdata],
  ])
}

/** @throws RangeError when it is no DNS message */
export function parseReply(message: Uint8Array): Reply {
  const view = viewOf(message)
  const [questionCount, ...recordCounts] = countsOf(view)
  let position = 12
  const questions = Array.from({ length: questionCount }, (): Question => {
    const { name, next } = readName(view, position)
    position = next + 4
    return { name, type: view.readUInt16BE(next) }
  })
  const [answers = [], authority = [], additional = []] = recordCounts.map((count) =>
    Array.from({ length: count }, () => {
      const { record, next } = readRecord(view, position)
      position = next
      return record
    }),
  )
  const flags = view.readUInt16BE(2)
  if ((flags & 0x8000) === 0) throw new RangeError('a DNS message that is no answer')
  // RFC 6891 §6.1.3: the upper eight bits of the code are where the time to live would be.
  const extended = additional.find(({ type }) => type === recordType.opt)?.ttlSeconds ?? 0
  return {
    id: view.readUInt16BE(0),
    authoritative: (flags & 0x0400) !== 0,
    authentic: (flags & queryFlag.authentic) !== 0,
    recursive: (flags & 0x0080) !== 0,
    truncated: (flags & 0x0200) !== 0,
    rcode: (flags & 0x0f) | ((extended >>> 24) << 4),
    questions,
    answers,
    authority,
    additional,
  }
}

/** What a message asks. @throws RangeError */
export function readQuestion(message: Uint8Array): Question {
  const view = viewOf(message)
  const { name, next } = readName(view, 12)
  return { name, type: view.readUInt16BE(next) }
}

/** Where the last record of a message begins; undefined when it has none. @throws RangeError */
export function findLastRecord(message: Uint8Array): number | undefined {
  const view = viewOf(message)
  const [questionCount, ...recordCounts] = countsOf(view)
  let position = 12
  for (let i = 0; i < questionCount; i++) position = readName(view, position).next + 4
  let last: number | undefined
  for (let i = recordCounts.reduce((sum, count) => sum + count); i > 0; i--) {
    last = position
    position = readRecord(view, position).next
  }
  return last
}

/** The character strings of a TXT record, joined (RFC 1035 §3.3.14). */
export function txtValue(rdata: Uint8Array): string {
  const parts: Buffer[] = []
  for (let position = 0; position < rdata.length; ) {
    const length = rdata[position] ?? 0
    parts.push(Buffer.from(rdata.subarray(position + 1, position + 1 + length)))
    position += 1 + length
  }
  return Buffer.concat(parts).toString('latin1')
}

/** RFC 1035 §4.1.1, RFC 2136 §2.2. */
const rcodeNames = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
  'YXDOMAIN',
  'YXRRSET',
  'NXRRSET',
  'NOTAUTH',
  'NOTZONE',
]

export function rcodeName(rcode: number): string {
  return rcodeNames[rcode] ?? `RCODE ${rcode}`
}

function header(id: number, flags: number, counts: readonly number[]): Buffer {
  return Buffer.concat([uint16(id), uint16(flags), ...counts.map(uint16)])
}

/** Questions, answers, authority, additional. */
function countsOf(view: Buffer): [number, number, number, number] {
  if (view.length < 12) throw new RangeError('a DNS message of less than 12 octets')
  const counts = [4, 6, 8, 10].map((offset) => view.readUInt16BE(offset)) as [number, number, number, number]
  if (counts.reduce((sum, count) => sum + count) > maxRecords) throw new RangeError('a DNS message of too many records')
  return counts
}

function readRecord(view: Buffer, start: number): { record: ResourceRecord; next: number } {
  const { name, next: head } = readName(view, start)
  const length = view.readUInt16BE(head + 8)
  const next = head + 10 + length
  if (next > view.length) throw new RangeError('a DNS record that is cut off')
  const type = view.readUInt16BE(head)
  const record = {
    name,
    type,
    class: view.readUInt16BE(head + 2),
    ttlSeconds: view.readUInt32BE(head + 4),
    rdata: writeOutNames(view, type, head + 10, next),
  }
  return { record, next }
}

/** How many names the rdata of the types that may shorten them begins with (RFC 3597 §4). */
const leadingNames: Readonly<Record<number, number>> = {
  [recordType.ns]: 1,
  [recordType.cname]: 1,
  [recordType.soa]: 2,
}

function writeOutNames(view: Buffer, type: number, start: number, end: number): Buffer {
  const written: Buffer[] = []
  let position = start
  for (let i = leadingNames[type] ?? 0; i > 0 && position < end; i--) {
    const { octets, next } = copyName(view, position)
    written.push(octets)
    position = next
  }
  if (position > end) throw new RangeError('a DNS record that is cut off')
  return written.length === 0 ? view.subarray(start, end) : Buffer.concat([...written, view.subarray(position, end)])
}
