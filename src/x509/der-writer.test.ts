import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { integer as integerBesides, octetString as octetStringBesides, oid } from '../../test/csr-builder.ts'
import { checkDer, readElements } from './der.ts'
import { element, integer, objectIdentifier, octetString, sequence } from './der-writer.ts'

test('what is written is DER, and reads as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 10 }), (contents) => {
      const der = sequence(...contents.map((content) => octetString(content)))
      checkDer(der)
      const [whole] = readElements(der)
      assert.deepEqual(
        readElements(whole?.content ?? der).map(({ content }) => Buffer.from(content)),
        contents.map((content) => Buffer.from(content)),
      )
    }),
  )
  for (const length of [0, 127, 128, 255, 256, 65_535, 65_536]) {
    checkDer(element(0x04, Buffer.alloc(length)))
    assert.deepEqual(octetString(Buffer.alloc(length)), octetStringBesides(Buffer.alloc(length)))
  }
})

test('numbers and object identifiers are as another writer has them', () => {
  for (const number of [0, 1, 127, 128, 255, 256, 2048, 65_535, 100_000, 2 ** 31])
    assert.deepEqual(integer(number), integerBesides(BigInt(number)))
  for (const text of ['1.2.840.113549.1.9.16.1.23', '1.3.132.1.11.1', '2.16.840.1.101.3.4.1.46', '2.5.29.17', '1.3.0'])
    assert.deepEqual(objectIdentifier(text), oid(text))
})
