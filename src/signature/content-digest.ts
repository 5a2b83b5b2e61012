import { hash, timingSafeEqual } from 'node:crypto'
import { parseDictionary, StructuredFieldError } from './structured-field.ts'

const digests = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
])

/** A `Content-Digest` (RFC 9530 §2) with a digest that is good for something. */
export type ContentDigest = {
  /** Of the octets as they were received. */
  matches(bodyBytes: Uint8Array): boolean
}

/**
 * Every digest that is understood must match; of others (the old md5 and sha among them) nothing is known.
 * @throws StructuredFieldError also where there is none of sha-256 and sha-512
 */
export function parseContentDigest(fieldValue: string): ContentDigest {
  const given = [...parseDictionary(fieldValue)].flatMap(([name, member]): [string, Uint8Array][] => {
    const digest = digests.get(name)
    if (digest === undefined) return []
    if (!('value' in member) || !(member.value instanceof Uint8Array))
      throw new StructuredFieldError(`${name} is no byte sequence (:base64:)`)
    return [[digest, member.value]]
  })
  if (given.length === 0) throw new StructuredFieldError('it has neither sha-256 nor sha-512')
  return {
    matches: (bodyBytes) =>
      given.every(([digest, expected]) => {
        const actual = hash(digest, bodyBytes, 'buffer')
        return actual.length === expected.length && timingSafeEqual(actual, expected)
      }),
  }
}
