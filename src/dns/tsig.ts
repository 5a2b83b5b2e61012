import { createHmac, timingSafeEqual } from 'node:crypto'
import { findLastRecord, recordClass, recordType } from './message.ts'
import { encodeName, readName, uint16, uint32, viewOf } from './wire.ts'

/** Signatures of DNS messages by a shared secret (RFC 8945). Pure: the time is handed in. */

export const tsigAlgorithms = ['hmac-sha256', 'hmac-sha384', 'hmac-sha512'] as const
export type TsigAlgorithm = (typeof tsigAlgorithms)[number]

export type TsigKey = {
  /** Lower case, without a trailing dot, as the server knows it. */
  readonly name: string
  readonly algorithm: TsigAlgorithm
  readonly secret: Uint8Array
}

export type SignedMessage = { readonly message: Uint8Array; readonly mac: Uint8Array }

/** What the signature of an answer says. */
export type TsigFinding =
  | { readonly is: 'good' }
  /** The server did not accept ours: its word for it (RFC 8945 §3), and its clock where that is the reason. */
  | { readonly is: 'refused'; readonly error: string; readonly serverAtMs?: number }
  | { readonly is: 'unsigned' }
  | { readonly is: 'wrong'; readonly reason: string }

/** RFC 8945 §10: the seconds by which two clocks may differ. */
const fudgeSeconds = 300
const errorNames: Readonly<Record<number, string>> = {
  16: 'BADSIG',
  17: 'BADKEY',
  18: 'BADTIME',
  19: 'BADMODE',
  20: 'BADNAME',
  21: 'BADALG',
  22: 'BADTRUNC',
}
const badTime = 18

type Tsig = {
  readonly keyName: string
  readonly algorithm: string
  readonly signedAtSeconds: number
  readonly fudgeSeconds: number
  readonly mac: Uint8Array
  readonly originalId: number
  readonly error: number
  readonly other: Uint8Array
}

/** Adds a TSIG record to a message that has none. */
export function signMessage(message: Uint8Array, key: TsigKey, nowMs: number): SignedMessage {
  const tsig: Omit<Tsig, 'mac'> = {
    keyName: key.name,
    algorithm: key.algorithm,
    signedAtSeconds: Math.floor(nowMs / 1000),
    fudgeSeconds,
    originalId: viewOf(message).readUInt16BE(0),
    error: 0,
    other: Buffer.alloc(0),
  }
  const mac = macOf(key, [message, variables(tsig)])
  const rdata = Buffer.concat([
    encodeName(tsig.algorithm),
    ...[uint48(tsig.signedAtSeconds), uint16(tsig.fudgeSeconds), uint16(mac.length), mac],
    ...[uint16(tsig.originalId), uint16(tsig.error), uint16(tsig.other.length), tsig.other],
  ])
  const record = [encodeName(key.name), uint16(recordType.tsig), uint16(recordClass.any), uint32(0)]
  const signed = Buffer.concat([message, ...record, uint16(rdata.length), rdata])
  signed.writeUInt16BE(signed.readUInt16BE(10) + 1, 10)
  return { message: signed, mac }
}

/**
 * Is this the answer to what we signed, from somebody who knows the key (RFC 8945 §5.3.1, §5.4)?
 * @throws RangeError when it is no DNS message
 */
export function verifyReply(reply: Uint8Array, key: TsigKey, requestMac: Uint8Array, nowMs: number): TsigFinding {
  const start = findLastRecord(reply)
  const tsig = start === undefined ? undefined : readTsig(viewOf(reply), start)
  if (start === undefined || tsig === undefined) return { is: 'unsigned' }
  const error = errorNames[tsig.error] ?? `error ${tsig.error}`
  // RFC 8945 §5.2: who does not share the key, or does not like the MAC, cannot sign that it is so.
  if (tsig.error !== 0 && tsig.mac.length === 0) return { is: 'refused', error }
  if (tsig.keyName !== key.name || tsig.algorithm !== key.algorithm)
    return { is: 'wrong', reason: `it is signed with ${tsig.algorithm} and the key ${tsig.keyName}` }
  const unsigned = Buffer.from(reply.subarray(0, start))
  unsigned.writeUInt16BE(tsig.originalId, 0)
  unsigned.writeUInt16BE(unsigned.readUInt16BE(10) - 1, 10)
  const mac = macOf(key, [uint16(requestMac.length), requestMac, unsigned, variables(tsig)])
  if (mac.length !== tsig.mac.length || !timingSafeEqual(mac, tsig.mac))
    return { is: 'wrong', reason: 'its signature does not fit' }
  if (tsig.error === badTime && tsig.other.length === 6)
    return { is: 'refused', error, serverAtMs: Buffer.from(tsig.other).readUIntBE(0, 6) * 1000 }
  if (tsig.error !== 0) return { is: 'refused', error }
  if (Math.abs(nowMs / 1000 - tsig.signedAtSeconds) > Math.max(tsig.fudgeSeconds, fudgeSeconds))
    return { is: 'wrong', reason: `it was signed at ${new Date(tsig.signedAtSeconds * 1000).toISOString()}` }
  return { is: 'good' }
}

/** The record that begins here, when it is a TSIG. */
function readTsig(view: Buffer, start: number): Tsig | undefined {
  const { name: keyName, next: head } = readName(view, start)
  if (view.readUInt16BE(head) !== recordType.tsig) return undefined
  if (view.readUInt16BE(head + 2) !== recordClass.any || view.readUInt32BE(head + 4) !== 0)
    throw new RangeError('a TSIG record of another class than ANY, or with a time to live')
  const { name: algorithm, next: time } = readName(view, head + 10)
  const macLength = view.readUInt16BE(time + 8)
  const rest = time + 10 + macLength
  const otherLength = view.readUInt16BE(rest + 4)
  const end = rest + 6 + otherLength
  if (end !== head + 10 + view.readUInt16BE(head + 8) || end !== view.length)
    throw new RangeError('a TSIG record of a wrong length')
  return {
    keyName,
    algorithm,
    signedAtSeconds: view.readUIntBE(time, 6),
    fudgeSeconds: view.readUInt16BE(time + 6),
    mac: view.subarray(time + 10, rest),
    originalId: view.readUInt16BE(rest),
    error: view.readUInt16BE(rest + 2),
    other: view.subarray(rest + 6, end),
  }
}

/** RFC 8945 §4.3.3: what is signed beside the message. */
function variables(tsig: Omit<Tsig, 'mac'>): Buffer {
  return Buffer.concat([
    ...[encodeName(tsig.keyName), uint16(recordClass.any), uint32(0), encodeName(tsig.algorithm)],
    ...[uint48(tsig.signedAtSeconds), uint16(tsig.fudgeSeconds), uint16(tsig.error)],
    ...[uint16(tsig.other.length), tsig.other],
  ])
}

function macOf(key: TsigKey, parts: readonly Uint8Array[]): Buffer {
  const hmac = createHmac(key.algorithm.replace('hmac-', ''), key.secret)
  for (const part of parts) hmac.update(part)
  return hmac.digest()
}

function uint48(value: number): Buffer {
  const octets = Buffer.alloc(6)
  octets.writeUIntBE(value, 0, 6)
  return octets
}
