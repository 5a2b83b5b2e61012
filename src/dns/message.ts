import { ProblemError } from '../acme/problem.ts'

/** The record types and classes that we speak (RFC 1035 §3.2, RFC 2136 §2.4). */
export const recordType = { cname: 5, soa: 6, txt: 16 } as const
export const recordClass = { internet: 1, none: 254 } as const
const opcode = { query: 0, update: 5 } as const

/** A record of an answer; `rdata` is uninterpreted. */
export type ResourceRecord = {
  readonly name: string
  readonly type: number
  readonly ttlSeconds: number
  readonly rdata: Uint8Array
}

export type Reply = {
  readonly id: number
  readonly rcode: number
  readonly answers: readonly ResourceRecord[]
  readonly authority: readonly ResourceRecord[]
}

export type TxtChange = {
  readonly fqdn: string
  readonly value: string
  readonly ttlSeconds: number
  readonly action: 'add' | 'remove'
}

const maxRecords = 200
const maxPointers = 20

/** RFC 1035 §4.1: one question. */
export function encodeQuery(id: number, name: string, type: number): Uint8Array {
  return Buffer.concat([
    header(id, opcode.query, [1, 0, 0, 0]),
    encodeName(name),
    uint16(type),
    uint16(recordClass.internet),
  ])
}

/** RFC 2136 §2.5.1 and §2.5.4: adds one TXT value, or removes exactly that one. */
export function encodeTxtUpdate(id: number, zone: string, change: TxtChange): Uint8Array {
  const text = Buffer.from(change.value, 'ascii')
  const rdata = Buffer.concat([Buffer.of(text.length), text])
  const adding = change.action === 'add'
  return Buffer.concat([
    header(id, opcode.update, [1, 0, 1, 0]),
    ...[encodeName(zone), uint16(recordType.soa), uint16(recordClass.internet)],
    ...[encodeName(change.fqdn), uint16(recordType.txt), uint16(adding ? recordClass.internet : recordClass.none)],
    ...[uint32(adding ? change.ttlSeconds : 0), uint16(rdata.length), rdata],
  ])
}

/** @throws RangeError when it is no DNS message */
export function parseReply(message: Uint8Array): Reply {
  const view = Buffer.from(message.buffer, message.byteOffset, message.byteLength)
  if (view.length < 12) throw new RangeError('a DNS message of less than 12 octets')
  const [questions, answers, authority] = [view.readUInt16BE(4), view.readUInt16BE(6), view.readUInt16BE(8)]
  if (questions + answers + authority > maxRecords) throw new RangeError('a DNS message of too many records')
  let position = 12
  for (let i = 0; i < questions; i++) position = readName(view, position).next + 4
  const take = (count: number) =>
    Array.from({ length: count }, () => {
      const { record, next } = readRecord(view, position)
      position = next
      return record
    })
  return {
    id: view.readUInt16BE(0),
    rcode: view.readUInt8(3) & 0x0f,
    answers: take(answers),
    authority: take(authority),
  }
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

function header(id: number, code: number, counts: readonly number[]): Buffer {
  return Buffer.concat([uint16(id), uint16(code << 11), ...counts.map(uint16)])
}

function encodeName(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.')
  if (labels.some((label) => label === '' || label.length > 63))
    throw new ProblemError('malformed', `${JSON.stringify(name)} is no DNS name`)
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'ascii')])),
    Buffer.of(0),
  ])
}

/** RFC 1035 §4.1.4: labels, or a pointer to labels further up. Pointers are followed a bounded number of times. */
function readName(view: Buffer, start: number): { name: string; next: number } {
  const labels: string[] = []
  let position = start
  let next: number | undefined
  for (let pointers = 0; ; ) {
    const length = view.readUInt8(position)
    if (length === 0) return { name: labels.join('.').toLowerCase(), next: next ?? position + 1 }
    if ((length & 0xc0) === 0xc0) {
      if (++pointers > maxPointers) throw new RangeError('a DNS name of too many pointers')
      next ??= position + 2
      position = view.readUInt16BE(position) & 0x3fff
      continue
    }
    if (length > 63 || labels.length > 127) throw new RangeError('a DNS name that is too long')
    labels.push(view.toString('latin1', position + 1, position + 1 + length))
    position += 1 + length
  }
}

function readRecord(view: Buffer, start: number): { record: ResourceRecord; next: number } {
  const { name, next: head } = readName(view, start)
  const length = view.readUInt16BE(head + 8)
  const next = head + 10 + length
  if (next > view.length) throw new RangeError('a DNS record that is cut off')
  const record = {
    name,
    type: view.readUInt16BE(head),
    ttlSeconds: view.readUInt32BE(head + 4),
    rdata: view.subarray(head + 10, next),
  }
  return { record, next }
}

function uint16(value: number): Buffer {
  const octets = Buffer.alloc(2)
  octets.writeUInt16BE(value)
  return octets
}

function uint32(value: number): Buffer {
  const octets = Buffer.alloc(4)
  octets.writeUInt32BE(value)
  return octets
}
