import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type Identifier,
  identifierKey,
  ipOctets,
  isWildcard,
  parseDnsName,
  parseIpAddress,
  parseIpOctets,
  parseWireIdentifier,
  quoteName,
  sameIdentifiers,
  uniqueIdentifiers,
} from './identifier.ts'
import { ProblemError } from './problem.ts'

const label63 = 'a'.repeat(63)

const goodNames: readonly (readonly [spelling: string, normal: string])[] = [
  ['example.org', 'example.org'],
  ['EXAMPLE.Org', 'example.org'],
  ['a-b--c.example', 'a-b--c.example'],
  ['a--b.example', 'a--b.example'],
  ['1.example', '1.example'],
  ['123.4a', '123.4a'],
  ['localhost', 'localhost'],
  ['*.example.org', '*.example.org'],
  ['*.EXAMPLE.org', '*.example.org'],
  ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
  ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
  ['xn--fa-hia.example', 'xn--fa-hia.example'],
  ['xn--99zt52a.example', 'xn--99zt52a.example'],
  [`${label63}.example`, `${label63}.example`],
  ['a.b.c.d.e.f.g.h.i.example', 'a.b.c.d.e.f.g.h.i.example'],
  [[label63, label63, label63, 'a'.repeat(61)].join('.'), [label63, label63, label63, 'a'.repeat(61)].join('.')],
]

for (const [spelling, normal] of goodNames) {
  test(`${spelling.slice(0, 40)} is a name`, () => {
    assert.deepEqual(parseDnsName(spelling), { type: 'dns', value: normal })
  })
}

const badNames: Readonly<Record<string, readonly string[]>> = {
  'nothing or dots': ['', '.', '..', '.example', 'example.', 'example.org.', 'a..b', '*.', '*.example.org.'],
  'too long': [
    `${'a'.repeat(64)}.example`,
    [label63, label63, label63, 'a'.repeat(62)].join('.'),
    'a.b.c.d.e.f.g.h.i.j.example',
    '*.b.c.d.e.f.g.h.i.j.example',
  ],
  'hyphens at the edge': ['-a.example', 'a-.example', '-.example', 'a.-example', 'xn--.example', 'xn--a-.example'],
  'what no host name holds': [
    '_dmarc.example.org',
    'a b.example',
    ' example.org',
    'example.org ',
    'a\tb.example',
    'a\u0000.example',
    'a\n.example',
    'a/b.example',
    'a:80.example',
    'a@example.org',
    'a,b.example',
    '[a].example',
    'a%2eb.example',
    'http://a.example',
  ],
  wildcards: ['*', '*.example', '*.*.example.org', 'a.*.example.org', 'a*.example.org', '**.example.org', '*a.b.c'],
  'other scripts': [
    'bücher.example',
    'а.example',
    'a。example',
    'ａ.example',
    'straße.example',
    'İ.example',
    'ſ.example',
  ],
  'letters that lower-case to ASCII': ['\u212Aexample.org', 'example.\u212A'],
  'broken A-labels': ['xn--a.example', 'xn--0.example', 'ab--c.example', 'xn--a-0hb.example', 'xn--xn---epa.example'],
  addresses: ['192.0.2.1', '1.2.3', '0x7f.1', 'example.0x7f', 'example.0x', '0', '[::1]', '::1', '2001:db8::1'],
}

for (const [what, names] of Object.entries(badNames)) {
  test(`refused: ${what}`, () => {
    const accepted = names.filter((name) => {
      try {
        parseDnsName(name)
        return true
      } catch (error) {
        assert.ok(error instanceof ProblemError && error.code === 'malformed', String(error))
        return false
      }
    })
    assert.deepEqual(accepted, [])
  })
}

/** Texts near names: random ones are nearly all refused for their first character. */
const nearlyName = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc
    .array(fc.oneof(fc.constantFrom('*', 'xn--', 'a', 'A', '-', '1', 'é', '\u212A'), fc.domain()), { maxLength: 8 })
    .map((parts) => parts.join('.')),
  fc.domain(),
)

test('whatever is accepted is a normalised name that reads as itself', () => {
  fc.assert(
    fc.property(nearlyName, (text) => {
      let identifier: Identifier
      try {
        identifier = parseDnsName(text)
      } catch (error) {
        assert.ok(error instanceof ProblemError)
        assert.match(error.message, /^[\x20-\x7e]{1,600}$/, 'the reason is one printable line')
        return
      }
      assert.match(
        identifier.value,
        /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
      )
      assert.ok(identifier.value.length <= 253)
      assert.equal(
        identifier.value,
        text.replace(/[A-Z]/g, (c) => c.toLowerCase()),
        'nothing but the case changes',
      )
      assert.deepEqual(parseDnsName(identifier.value), identifier)
    }),
    { numRuns: 2000 },
  )
})

// RFC 5952 §4 and the examples of its §2; the last ones are IPv4 in IPv6 clothes, for which §4 knows no dots.
const addresses: readonly (readonly [spelling: string, normal: string])[] = [
  ['192.0.2.1', '192.0.2.1'],
  ['2001:0db8::0001', '2001:db8::1'],
  ['2001:DB8::AbCd', '2001:db8::abcd'],
  ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ['2001:db8::0:1', '2001:db8::1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['::ffff:192.0.2.1', '::ffff:c000:201'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
]

test('addresses come out as RFC 5952 writes them', () => {
  assert.deepEqual(
    addresses.map(([spelling]) => parseIpAddress(spelling)),
    addresses.map(([, value]) => ({ type: 'ip', value })),
  )
})

test('what only looks like an address is refused', () => {
  const texts = [
    '',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.256',
    '0x7f000001',
    '2130706433',
    '1.2.3.4 ',
    ' ::1',
    '[::1]',
    'fe80::1%eth0',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '::12345',
    '::g',
    '192.0.2.1/32',
    '１.2.3.4',
    'localhost',
  ]
  for (const text of texts) assert.throws(() => parseIpAddress(text), { name: 'ProblemError', code: 'malformed' }, text)
})

test('octets and text are two spellings of one address', () => {
  const octets = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    // Mostly zeros: where the shortening happens.
    fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 }).map((list) => Uint8Array.from(list)),
  )
  fc.assert(
    fc.property(octets, (bytes) => {
      const identifier = parseIpOctets(bytes)
      assert.deepEqual(ipOctets(identifier.value), bytes)
      assert.deepEqual(parseIpAddress(identifier.value), identifier)
    }),
  )
  for (const length of [0, 3, 5, 8, 15, 17]) {
    assert.throws(() => parseIpOctets(new Uint8Array(length)), { name: 'ProblemError', code: 'malformed' })
  }
})

test('only a leading *. makes a wildcard, and never for an address', () => {
  assert.ok(isWildcard({ type: 'dns', value: '*.example.org' }))
  assert.ok(!isWildcard({ type: 'dns', value: 'example.org' }))
  assert.ok(!isWildcard({ type: 'ip', value: '*.0.2.1' }))
})

test('a name and an address of the same text are two identifiers', () => {
  const name: Identifier = { type: 'dns', value: '192.0.2.1' }
  const address: Identifier = { type: 'ip', value: '192.0.2.1' }
  assert.notEqual(identifierKey(name), identifierKey(address))
  assert.equal(uniqueIdentifiers([name, address, name]).length, 2)
  assert.ok(!sameIdentifiers([name], [address]))
})

test('two lists are the same exactly when each holds what the other holds', () => {
  // What a CA repeats is compared as it came: any text.
  const identifier = fc.record({
    type: fc.constantFrom('dns' as const, 'ip' as const),
    value: fc.oneof(fc.constantFrom('a', 'b', 'a dns:b', 'a,b', 'a\ndns:b', ''), fc.string({ maxLength: 5 })),
  })
  const list = fc.array(identifier, { maxLength: 4 })
  const isWithin = (left: readonly Identifier[], right: readonly Identifier[]) =>
    left.every((one) => right.some((other) => one.type === other.type && one.value === other.value))
  fc.assert(
    fc.property(list, list, (left, right) => {
      assert.equal(sameIdentifiers(left, right), isWithin(left, right) && isWithin(right, left))
      assert.ok(sameIdentifiers(left, [...left, ...left].reverse()))
    }),
    {
      numRuns: 1000,
      examples: [
        [
          [{ type: 'dns', value: 'a dns:b' }],
          [
            { type: 'dns', value: 'a' },
            { type: 'dns', value: 'b' },
          ],
        ],
      ],
    },
  )
})

test('each identifier once, in the order of first appearance', () => {
  const [a, b]: [Identifier, Identifier] = [
    { type: 'dns', value: 'a.example' },
    { type: 'dns', value: 'b.example' },
  ]
  assert.deepEqual(uniqueIdentifiers([b, a, { ...b }, a]), [b, a])
})

test('a quoted name is printable, bounded, and cannot forge a line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      assert.match(quoteName(text), /^"[\x20-\x7e]*"$/)
      assert.ok(quoteName(text).length <= 2 + 80 * 6)
    }),
  )
  assert.equal(quoteName('a\nb'), '"a\\nb"')
  assert.equal(quoteName('ü\u202e'), '"\\u00fc\\u202e"')
})

test('an identifier as a CA repeats it is lower-cased and otherwise left alone', () => {
  assert.deepEqual(parseWireIdentifier({ type: 'dns', value: 'A.Example' }), { type: 'dns', value: 'a.example' })
  assert.deepEqual(parseWireIdentifier({ type: 'ip', value: '2001:DB8::1' }), { type: 'ip', value: '2001:db8::1' })
  for (const bad of [null, 'a', [], {}, { type: 'dns' }, { type: 'email', value: 'a' }, { type: 'dns', value: 1 }]) {
    assert.throws(() => parseWireIdentifier(bad), TypeError)
  }
})
