import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { der, integer, octetString, sequence, utf8String } from '../../test/csr-builder.ts'
import { checkDer } from './der.ts'

function refuses(octets: Uint8Array, reason: RegExp): void {
  assert.throws(
    () => checkDer(octets),
    (error) => error instanceof RangeError && reason.test(error.message),
  )
}

/** Written by hand: 0x30 around nothing, n times. */
function nested(depth: number): Buffer {
  let inner: Buffer = Buffer.of(0x30, 0x00)
  for (let i = 1; i < depth; i++) inner = sequence(inner)
  return inner
}

const sample = sequence(integer(5n), sequence(utf8String('x'.repeat(200)), octetString('y'.repeat(300))))

test('DER is taken', () => {
  for (const octets of [Buffer.of(0x05, 0x00), sample, nested(17), sequence(Buffer.alloc(2 * 19_999, Buffer.of(5, 0)))])
    checkDer(octets)
})

test('what is cut off is refused, wherever it is cut', () => {
  for (let end = 0; end < sample.length; end++) refuses(sample.subarray(0, end), /cut off|minimal/)
})

test('octets after the end are refused', () => {
  refuses(Buffer.concat([sample, Buffer.of(0)]), /follow/)
  refuses(Buffer.concat([sample, sample]), /follow/)
})

test('an inner element cannot reach beyond its outer one', () => {
  refuses(Buffer.of(0x30, 0x03, 0x04, 0x05, 1, 2, 3, 4, 5), /cut off/)
  refuses(Buffer.of(0x30, 0x04, 0x30, 0x02, 0x04, 0x01, 7), /cut off/)
})

test('lengths that DER does not know are refused', () => {
  refuses(Buffer.of(0x30, 0x80, 0, 0), /indefinite/)
  refuses(Buffer.of(0x04, 0x81, 0x01, 7), /minimal/)
  refuses(Buffer.concat([Buffer.of(0x04, 0x81, 0x7f), Buffer.alloc(0x7f)]), /minimal/)
  refuses(Buffer.concat([Buffer.of(0x04, 0x82, 0x00, 0x80), Buffer.alloc(0x80)]), /minimal/)
  refuses(Buffer.concat([Buffer.of(0x04, 0x83, 0x00, 0xff, 0xff), Buffer.alloc(0xffff)]), /minimal/)
  for (const octets of [4, 5, 8, 126, 127])
    refuses(Buffer.of(0x30, 0x80 | octets, ...Array<number>(octets).fill(1)), /16 MiB/)
})

test('long tags are refused', () => {
  for (const tag of [0x1f, 0x3f, 0x5f, 0x7f, 0x9f, 0xbf, 0xdf, 0xff]) refuses(Buffer.of(tag, 0x81, 0x01, 0x00), /tag/)
})

test('depth and number of elements are bounded, and the bound is not a stack that overflows', () => {
  refuses(nested(18), /deeper/)
  refuses(nested(10_000), /deeper/)
  refuses(Buffer.alloc(1_000_000, 0x30), /deeper|cut off/)
  refuses(sequence(Buffer.alloc(2 * 20_000, Buffer.of(5, 0))), /elements/)
})

type Tree = { readonly tag: number; readonly content: Uint8Array | readonly Tree[] }

const { tree } = fc.letrec<{ tree: Tree; leaf: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.record({ tag: fc.constantFrom(0x30, 0x31, 0xa0, 0xa3), content: fc.array(tie('tree'), { maxLength: 5 }) }),
  ),
  leaf: fc.record({
    tag: fc.constantFrom(0x02, 0x04, 0x05, 0x0c, 0x82, 0x87),
    content: fc.uint8Array({ maxLength: 300 }),
  }),
}))

function encode({ tag, content }: Tree): Buffer {
  return der(tag, ...(content instanceof Uint8Array ? [content] : content.map(encode)))
}

/** Reads what checkDer has accepted, in the plainest way; writing it again must give the same octets. */
function decode(octets: Uint8Array): Tree {
  const [trees] = decodeAll(octets)
  const [only, ...more] = trees
  assert.ok(only !== undefined && more.length === 0)
  return only
}

function decodeAll(octets: Uint8Array): [Tree[]] {
  const trees: Tree[] = []
  for (let at = 0; at < octets.length; ) {
    const tag = octets[at] ?? 0
    const first = octets[at + 1] ?? 0
    const lengthOctets = first < 0x80 ? 0 : first & 0x7f
    const length = lengthOctets === 0 ? first : Buffer.from(octets).readUIntBE(at + 2, lengthOctets)
    const content = octets.subarray(at + 2 + lengthOctets, at + 2 + lengthOctets + length)
    trees.push({ tag, content: (tag & 0x20) === 0 ? content : decodeAll(content)[0] })
    at += 2 + lengthOctets + length
  }
  return [trees]
}

function accepts(octets: Uint8Array): boolean {
  try {
    checkDer(octets)
    return true
  } catch (error) {
    assert.ok(error instanceof RangeError, `only RangeError: ${error}`)
    return false
  }
}

test('every tree that is written as DER is taken', () => {
  fc.assert(fc.property(tree, (one) => checkDer(encode(one))))
})

test('random octets are refused with a RangeError or have exactly one spelling', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (octets) => {
      if (accepts(octets)) assert.deepEqual(encode(decode(octets)), Buffer.from(octets))
    }),
    { numRuns: 500 },
  )
})

test('altered DER is refused with a RangeError or has exactly one spelling', () => {
  let accepted = 0
  fc.assert(
    fc.property(tree, fc.nat(), fc.integer({ min: 1, max: 255 }), (one, position, mask) => {
      const octets = encode(one)
      octets[position % octets.length] = (octets[position % octets.length] ?? 0) ^ mask
      if (!accepts(octets)) return
      accepted += 1
      assert.deepEqual(encode(decode(octets)), octets)
    }),
    { numRuns: 1000 },
  )
  assert.ok(accepted > 0, 'the property was put to the test')
})
