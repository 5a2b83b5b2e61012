const maxDepth = 16
const maxElements = 20_000
const constructedBit = 0x20

/** Octets that are not what they should be; foreseen, and never a slip of ours. */
export class DerError extends RangeError {
  override readonly name = 'DerError'
}

/** Universal tags that we read (X.680 §8.6), and how they are written in one octet. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
  /** `[0]`, constructed. */
  context0: 0xa0,
} as const

/** One element: its tag octet, its content, and all of its octets. */
export type DerElement = { readonly tag: number; readonly content: Uint8Array; readonly octets: Uint8Array }

/**
 * Refuses what is not DER (X.690 §10): indefinite or padded lengths, long tags, trailing octets, deep nesting.
 * Two readings of the same octets are how a name slips past a check, so there is only one that is accepted.
 * @throws DerError saying what is wrong
 */
export function checkDer(der: Uint8Array): void {
  const counter = { elements: 0 }
  const end = checkElement(der, 0, der.length, 0, counter)
  if (end !== der.length) throw new DerError('octets follow the end of the structure')
}

function checkElement(
  der: Uint8Array,
  start: number,
  limit: number,
  depth: number,
  counter: { elements: number },
): number {
  if (depth > maxDepth) throw new DerError(`nested deeper than ${maxDepth} levels`)
  if (++counter.elements > maxElements) throw new DerError(`more than ${maxElements} elements`)
  const { contentStart, end } = readHead(der, start, limit)
  if (((der[start] ?? 0) & constructedBit) === 0) return end
  for (let position = contentStart; position < end; ) position = checkElement(der, position, end, depth + 1, counter)
  return end
}

function readHead(der: Uint8Array, start: number, limit: number): { contentStart: number; end: number } {
  const tagOctet = der[start]
  if (tagOctet === undefined || start >= limit) throw new DerError('the structure is cut off')
  if ((tagOctet & 0x1f) === 0x1f) throw new DerError('a tag of more than one octet')
  const { length, contentStart } = readLength(der, start + 1, limit)
  if (contentStart + length > limit) throw new DerError('the structure is cut off')
  return { contentStart, end: contentStart + length }
}

function readLength(der: Uint8Array, start: number, limit: number): { length: number; contentStart: number } {
  const first = der[start]
  if (first === undefined || start >= limit) throw new DerError('the structure is cut off')
  if (first < 0x80) return { length: first, contentStart: start + 1 }
  const octets = first & 0x7f
  if (octets === 0) throw new DerError('indefinite length')
  if (octets > 3) throw new DerError('a length over 16 MiB')
  if (start + octets >= limit) throw new DerError('the structure is cut off')
  let length = 0
  for (let i = 1; i <= octets; i++) length = length * 256 + (der[start + i] ?? 0)
  if (length < 0x80 || length < 2 ** (8 * (octets - 1))) throw new DerError('a length that is not minimal')
  return { length, contentStart: start + 1 + octets }
}

/**
 * The elements that stand side by side in a content.
 * @throws DerError where an element is cut off, or there are more than `max`
 */
export function readElements(content: Uint8Array, max = maxElements): DerElement[] {
  const elements: DerElement[] = []
  for (let position = 0; position < content.length; ) {
    if (elements.length >= max) throw new DerError(`more than ${max} elements`)
    const { contentStart, end } = readHead(content, position, content.length)
    elements.push({
      tag: content[position] ?? 0,
      content: content.subarray(contentStart, end),
      octets: content.subarray(position, end),
    })
    position = end
  }
  return elements
}

/**
 * The content of an element that must be there and have this tag.
 * @throws DerError naming it
 */
export function requireElement(element: DerElement | undefined, expected: number, what: string): Uint8Array {
  if (element?.tag !== expected) throw new DerError(`${what} is missing or of another kind`)
  return element.content
}

/** The one element that a structure is. @throws DerError when it is not DER */
export function readStructure(der: Uint8Array, expected: number, what: string): Uint8Array {
  checkDer(der)
  return requireElement(readElements(der)[0], expected, what)
}
