import { ProblemError } from '../acme/problem.ts'

/** Numbers and names as they stand in a DNS message (RFC 1035 §2.3.2, §3.1). */

const maxPointers = 20
const maxNameOctets = 255

export function viewOf(message: Uint8Array): Buffer {
  return Buffer.from(message.buffer, message.byteOffset, message.byteLength)
}

/** @param name without a trailing dot; empty for the root. @throws ProblemError `malformed` */
export function encodeName(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.')
  if (
    name.length + 2 > maxNameOctets ||
    name.includes('\\') ||
    labels.some((label) => label === '' || label.length > 63)
  )
    throw new ProblemError('malformed', `${JSON.stringify(name)} is no DNS name`)
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')])),
    Buffer.of(0),
  ])
}

/** RFC 1035 §4.1.4: labels, or a pointer to labels further up. Pointers are followed a bounded number of times. */
export function readName(view: Buffer, start: number): { name: string; next: number } {
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
    if (position + 1 + length > view.length) throw new RangeError('a DNS name that is cut off')
    // A dot or a backslash within a label must not pass for the end of one.
    labels.push(view.toString('latin1', position + 1, position + 1 + length).replace(/[.\\]/g, '\\$&'))
    position += 1 + length
  }
}

/** The name's labels as they are, without pointers. */
export function copyName(view: Buffer, start: number): { octets: Buffer; next: number } {
  const { next } = readName(view, start)
  const parts: Buffer[] = []
  for (let position = start; ; ) {
    const length = view.readUInt8(position)
    if ((length & 0xc0) === 0xc0) {
      position = view.readUInt16BE(position) & 0x3fff
      continue
    }
    parts.push(view.subarray(position, position + 1 + length))
    if (length === 0) return { octets: Buffer.concat(parts), next }
    position += 1 + length
  }
}

export function uint16(value: number): Buffer {
  const octets = Buffer.alloc(2)
  octets.writeUInt16BE(value)
  return octets
}

export function uint32(value: number): Buffer {
  const octets = Buffer.alloc(4)
  octets.writeUInt32BE(value)
  return octets
}
