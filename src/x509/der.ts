const maxDepth = 16
const maxElements = 20_000
const constructedBit = 0x20

/**
 * Refuses what is not DER (X.690 §10): indefinite or padded lengths, long tags, trailing octets, deep nesting.
 * The libraries that decode afterwards read BER; two readings of the same octets are how a name slips past a check.
 * @throws RangeError saying what is wrong
 */
export function checkDer(der: Uint8Array): void {
  const counter = { elements: 0 }
  const end = checkElement(der, 0, der.length, 0, counter)
  if (end !== der.length) throw new RangeError('octets follow the end of the structure')
}

function checkElement(
  der: Uint8Array,
  start: number,
  limit: number,
  depth: number,
  counter: { elements: number },
): number {
  if (depth > maxDepth) throw new RangeError(`nested deeper than ${maxDepth} levels`)
  if (++counter.elements > maxElements) throw new RangeError(`more than ${maxElements} elements`)
  const tag = der[start]
  if (tag === undefined || start >= limit) throw new RangeError('the structure is cut off')
  if ((tag & 0x1f) === 0x1f) throw new RangeError('a tag of more than one octet')
  const { length, contentStart } = readLength(der, start + 1, limit)
  const end = contentStart + length
  if (end > limit) throw new RangeError('the structure is cut off')
  if ((tag & constructedBit) === 0) return end
  for (let position = contentStart; position < end; ) position = checkElement(der, position, end, depth + 1, counter)
  return end
}

function readLength(der: Uint8Array, start: number, limit: number): { length: number; contentStart: number } {
  const first = der[start]
  if (first === undefined || start >= limit) throw new RangeError('the structure is cut off')
  if (first < 0x80) return { length: first, contentStart: start + 1 }
  const octets = first & 0x7f
  if (octets === 0) throw new RangeError('indefinite length')
  if (octets > 3) throw new RangeError('a length over 16 MiB')
  if (start + octets >= limit) throw new RangeError('the structure is cut off')
  let length = 0
  for (let i = 1; i <= octets; i++) length = length * 256 + (der[start + i] ?? 0)
  if (length < 0x80 || length < 2 ** (8 * (octets - 1))) throw new RangeError('a length that is not minimal')
  return { length, contentStart: start + 1 + octets }
}
