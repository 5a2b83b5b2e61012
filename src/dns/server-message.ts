// The server's side of the wire: strict with what arrives, small in what it says (RFC 1035 §4, RFC 6891).

/** Types that a question can have and that mean something here. */
export const questionType = {
  ns: 2,
  soa: 6,
  hinfo: 13,
  txt: 16,
  opt: 41,
  ixfr: 251,
  axfr: 252,
  any: 255,
} as const

export const responseCode = {
  noError: 0,
  formErr: 1,
  servFail: 2,
  nxDomain: 3,
  notImp: 4,
  refused: 5,
  badVers: 16,
} as const

/** RFC 6891 §6.1: what the asker can do. */
export type Edns = { readonly version: number; readonly payloadBytes: number; readonly dnssecOk: boolean }

export type DnsQuery = {
  readonly id: number
  readonly recursionDesired: boolean
  readonly checkingDisabled: boolean
  /** In lower case, without the dot at its end; a dot within a label is `\.`. The root is empty. */
  readonly name: string
  readonly type: number
  readonly class: number
  /** Name, type and class as they came: echoed, so that the case of the letters survives (0x20). */
  readonly questionBytes: Buffer
  readonly edns: Edns | undefined
}

/** What an answer can be made of; `refusal` has no question that could be echoed. */
export type ParsedQuery =
  | { readonly kind: 'query'; readonly query: DnsQuery }
  | {
      readonly kind: 'refusal'
      readonly id: number
      readonly opcode: number
      readonly recursionDesired: boolean
      readonly rcode: number
    }

const headerBytes = 12
const maxNameBytes = 255
const maxRecords = 16
const flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  checkingDisabled: 0x10,
}

/** undefined: not to be answered at all, being itself an answer, or too short to have an id. Never throws. */
export function parseQuery(packet: Uint8Array): ParsedQuery | undefined {
  const view = Buffer.from(packet.buffer, packet.byteOffset, packet.byteLength)
  if (view.length < headerBytes) return undefined
  const flags = view.readUInt16BE(2)
  if ((flags & flag.response) !== 0) return undefined
  const opcode = (flags >> 11) & 15
  const head = { id: view.readUInt16BE(0), recursionDesired: (flags & flag.recursionDesired) !== 0 }
  const refuse = (rcode: number): ParsedQuery => ({ kind: 'refusal', ...head, opcode, rcode })
  if (opcode !== 0) return refuse(responseCode.notImp)
  try {
    return {
      kind: 'query',
      query: readQuery(view, { ...head, checkingDisabled: (flags & flag.checkingDisabled) !== 0 }),
    }
  } catch (error) {
    if (error instanceof RangeError) return refuse(responseCode.formErr)
    throw error
  }
}

type Head = Pick<DnsQuery, 'id' | 'recursionDesired' | 'checkingDisabled'>

/** @throws RangeError when it is malformed */
function readQuery(view: Buffer, head: Head): DnsQuery {
  const [questions, answers, authority, additional] = [4, 6, 8, 10].map((at) => view.readUInt16BE(at)) as Counts
  // RFC 9619 §4: exactly one question.
  if (questions !== 1 || answers !== 0) throw new RangeError('not one question')
  if (authority + additional > maxRecords) throw new RangeError('too many records')
  const { name, next } = readName(view, headerBytes)
  const end = next + 4
  const [type, questionClass] = [view.readUInt16BE(next), view.readUInt16BE(next + 2)]
  if (type === questionType.opt) throw new RangeError('OPT is nothing to ask for')
  let position = end
  // An IXFR brings a SOA; whatever is there must at least be well formed.
  for (let i = 0; i < authority; i++) position = readRecord(view, position).next
  let edns: Edns | undefined
  for (let i = 0; i < additional; i++) {
    const record = readRecord(view, position)
    position = record.next
    if (record.type !== questionType.opt) continue
    // RFC 6891 §6.1.1: one at most, and it belongs to the root.
    if (edns !== undefined || record.nameBytes !== 1) throw new RangeError('an OPT record that must not be')
    edns = readEdns(record)
  }
  if (position !== view.length) throw new RangeError('octets behind the message')
  return { ...head, name, type, class: questionClass, questionBytes: view.subarray(headerBytes, end), edns }
}

type Counts = [questions: number, answers: number, authority: number, additional: number]

type RawRecord = {
  readonly nameBytes: number
  readonly type: number
  readonly class: number
  readonly ttl: number
  readonly data: Buffer
  readonly next: number
}

function readRecord(view: Buffer, start: number): RawRecord {
  const head = skipName(view, start)
  const dataStart = head + 10
  const next = dataStart + view.readUInt16BE(head + 8)
  if (next > view.length) throw new RangeError('a record that is cut off')
  return {
    nameBytes: head - start,
    type: view.readUInt16BE(head),
    class: view.readUInt16BE(head + 2),
    ttl: view.readUInt32BE(head + 4),
    data: view.subarray(dataStart, next),
    next,
  }
}

function readEdns({ class: payloadBytes, ttl, data }: RawRecord): Edns {
  for (let position = 0; position < data.length; ) {
    // Options that we do not know are passed over (RFC 6891 §6.1.2), but must be whole.
    position += 4 + data.readUInt16BE(position + 2)
    if (position > data.length) throw new RangeError('an option that is cut off')
  }
  return { version: (ttl >> 16) & 0xff, payloadBytes, dnssecOk: (ttl & 0x8000) !== 0 }
}

/** The name of a question: it is the first in the message, so there is nothing that a pointer could point to. */
function readName(view: Buffer, start: number): { name: string; next: number } {
  const labels: string[] = []
  let position = start
  for (;;) {
    const length = view.readUInt8(position)
    position += 1
    if (length === 0) break
    if (length > 63) throw new RangeError('a label that is none')
    if (position + length > view.length || position + length - start >= maxNameBytes)
      throw new RangeError('a name that is too long')
    labels.push(view.toString('latin1', position, position + length))
    position += length
  }
  const name = labels.some((label) => label.includes('.'))
    ? labels.map((label) => label.replaceAll('.', '\\.')).join('.')
    : labels.join('.')
  return { name: toAsciiLowerCase(name), next: position }
}

/** Only these 26 letters have a case in DNS (RFC 4343). */
function toAsciiLowerCase(text: string): string {
  return /[^\x00-\x7f]/.test(text) ? text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase()) : text.toLowerCase()
}

function skipName(view: Buffer, start: number): number {
  let position = start
  for (;;) {
    const length = view.readUInt8(position)
    if (length === 0) return position + 1
    if ((length & 0xc0) === 0xc0) {
      // Backwards only (RFC 1035 §4.1.4); nobody follows it, but what points forward is no DNS message.
      if ((view.readUInt16BE(position) & 0x3fff) >= position) throw new RangeError('a pointer that points ahead')
      return position + 2
    }
    if (length > 63) throw new RangeError('a label that is none')
    position += 1 + length
    if (position - start >= maxNameBytes) throw new RangeError('a name that is too long')
  }
}

/** Only types that we serve. `owner` is a suffix of the question's name, told by how many labels it leaves out. */
export type AnswerRecordData = {
  readonly type: number
  readonly ttlSeconds: number
  readonly labelsLeftOut: number
  readonly data: Buffer
}

export type DnsAnswer = {
  readonly rcode: number
  readonly authoritative: boolean
  readonly answers: readonly AnswerRecordData[]
  readonly authority: readonly AnswerRecordData[]
}

/** What fits through every path without fragments (DNS flag day 2020), offered and used. */
const ourPayloadBytes = 1232
const plainPayloadBytes = 512

export function udpLimit(query: DnsQuery): number {
  if (query.edns === undefined) return plainPayloadBytes
  return Math.min(ourPayloadBytes, Math.max(plainPayloadBytes, query.edns.payloadBytes))
}

/** @param maxBytes what does not fit is left out, and the answer says that it is truncated (RFC 2181 §9) */
export function encodeAnswer(query: DnsQuery, answer: DnsAnswer, maxBytes: number): Buffer {
  const whole = encode(query, answer, false)
  return whole.length <= maxBytes ? whole : encodeTruncated(query, answer)
}

/** An answer that sends the asker to TCP. */
export function encodeTruncated(query: DnsQuery, answer: DnsAnswer): Buffer {
  return encode(query, { ...answer, answers: [], authority: [] }, true)
}

function encode(query: DnsQuery, { rcode, authoritative, answers, authority }: DnsAnswer, truncated: boolean): Buffer {
  const { questionBytes, edns } = query
  const recordsBytes = [...answers, ...authority].reduce((sum, { data }) => sum + 12 + data.length, 0)
  const buffer = Buffer.allocUnsafe(headerBytes + questionBytes.length + recordsBytes + (edns === undefined ? 0 : 11))
  buffer.writeUInt16BE(query.id, 0)
  buffer.writeUInt16BE(
    flag.response |
      (authoritative ? flag.authoritative : 0) |
      (truncated ? flag.truncated : 0) |
      (query.recursionDesired ? flag.recursionDesired : 0) |
      (query.checkingDisabled ? flag.checkingDisabled : 0) |
      (rcode & 15),
    2,
  )
  buffer.writeUInt16BE(1, 4)
  buffer.writeUInt16BE(answers.length, 6)
  buffer.writeUInt16BE(authority.length, 8)
  buffer.writeUInt16BE(edns === undefined ? 0 : 1, 10)
  let position = headerBytes + questionBytes.copy(buffer, headerBytes)
  for (const { type, ttlSeconds, labelsLeftOut, data } of [...answers, ...authority]) {
    // Every owner is the question's name or an ancestor of it, so a pointer into the question is its name.
    position = buffer.writeUInt16BE(0xc000 | ownerOffset(questionBytes, labelsLeftOut), position)
    position = buffer.writeUInt16BE(type, position)
    position = buffer.writeUInt16BE(1, position)
    position = buffer.writeUInt32BE(ttlSeconds, position)
    position = buffer.writeUInt16BE(data.length, position)
    position += data.copy(buffer, position)
  }
  if (edns !== undefined) {
    position = buffer.writeUInt8(0, position)
    position = buffer.writeUInt16BE(questionType.opt, position)
    position = buffer.writeUInt16BE(ourPayloadBytes, position)
    position = buffer.writeUInt32BE((((rcode >> 4) << 24) | (edns.dnssecOk ? 0x8000 : 0)) >>> 0, position)
    buffer.writeUInt16BE(0, position)
  }
  return buffer
}

function ownerOffset(questionBytes: Buffer, labelsLeftOut: number): number {
  let position = 0
  for (let i = 0; i < labelsLeftOut; i++) position += 1 + (questionBytes[position] ?? 0)
  return headerBytes + position
}

/** Only a header: what was asked could not be understood. */
export function encodeRefusal({ id, opcode, recursionDesired, rcode }: ParsedQuery & { kind: 'refusal' }): Buffer {
  const buffer = Buffer.alloc(headerBytes)
  buffer.writeUInt16BE(id, 0)
  buffer.writeUInt16BE(flag.response | (opcode << 11) | (recursionDesired ? flag.recursionDesired : 0) | rcode, 2)
  return buffer
}
