import { tag } from './der.ts'

/** One element (X.690 §8.1, in DER): a tag of one octet, and its content. */
export function element(tagOctet: number, ...content: readonly Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([Buffer.of(tagOctet), lengthOctets(length), ...content])
}

function lengthOctets(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length)
  const hex = length.toString(16)
  const octets = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  return Buffer.concat([Buffer.of(0x80 | octets.length), octets])
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => element(tag.sequence, ...parts)
/** Its elements must come in the order of their octets (X.690 §11.6). */
export const set = (...parts: readonly Uint8Array[]): Buffer => element(tag.set, ...parts)
export const octetString = (...parts: readonly Uint8Array[]): Buffer => element(tag.octetString, ...parts)
export const nullValue = (): Buffer => element(tag.null)

/** `[N]` around whole elements: EXPLICIT, or IMPLICIT in place of a constructed one. */
export const context = (number: number, ...parts: readonly Uint8Array[]): Buffer => element(0xa0 | number, ...parts)
/** `[N]` IMPLICIT in place of a primitive one. */
export const contextPrimitive = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  element(0x80 | number, ...parts)

/** A whole number that is not negative (X.690 §8.3). */
export function integer(value: number): Buffer {
  const hex = value.toString(16)
  const octets = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  return element(tag.integer, (octets[0] ?? 0) < 0x80 ? octets : Buffer.concat([Buffer.of(0), octets]))
}

/** `1.2.840.113549` (X.690 §8.19). */
export function objectIdentifier(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  return element(tag.objectIdentifier, Buffer.from([first * 40 + second, ...rest].flatMap(base128)))
}

function base128(arc: number): number[] {
  const groups = [arc % 128]
  for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left % 128) | 0x80)
  return groups
}
