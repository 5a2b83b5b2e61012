import { readName } from './wire.ts'

/** What is in the rdata of the types that we look up. Each throws a RangeError for octets that are no such thing. */

/** RFC 1035 §3.3.1 and §3.3.11: the one name of a CNAME or NS record. */
export function nameOf(rdata: Uint8Array): string {
  return readName(Buffer.from(rdata), 0).name
}

export type Soa = { readonly primary: string; readonly serial: number }

/** RFC 1035 §3.3.13 */
export function soaOf(rdata: Uint8Array): Soa {
  const view = Buffer.from(rdata)
  const primary = readName(view, 0)
  return { primary: primary.name, serial: view.readUInt32BE(readName(view, primary.next).next) }
}

/** RFC 1035 §3.4.1 and RFC 3596 §2.2: the address of an A or AAAA record. */
export function addressOf(rdata: Uint8Array): string {
  if (rdata.length === 4) return rdata.join('.')
  if (rdata.length !== 16) throw new RangeError('an address of neither 4 nor 16 octets')
  const groups = Array.from({ length: 8 }, (_, i) =>
    Buffer.from(rdata)
      .readUInt16BE(2 * i)
      .toString(16),
  )
  // The URL parser writes an IPv6 address as RFC 5952 wants it.
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
}

export type Caa = { readonly critical: boolean; readonly tag: string; readonly value: string }

/** RFC 8659 §4.1 */
export function caaOf(rdata: Uint8Array): Caa {
  const view = Buffer.from(rdata)
  const tagEnd = 2 + view.readUInt8(1)
  if (tagEnd === 2 || tagEnd > view.length) throw new RangeError('a CAA record that is cut off')
  return {
    critical: (view.readUInt8(0) & 0x80) !== 0,
    tag: view.toString('latin1', 2, tagEnd).toLowerCase(),
    value: view.toString('latin1', tagEnd),
  }
}
