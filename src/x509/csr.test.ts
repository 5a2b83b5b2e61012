import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  attribute,
  attributeOid,
  buildCsr,
  buildCsrPem,
  type CsrDraft,
  der,
  dnsName,
  ecKey,
  extension,
  extensionRequest,
  ipName,
  subjectAltNames,
  toPem,
  utf8String,
} from '../../test/csr-builder.ts'
import { requirePeer } from '../../test/peers/peers.ts'
import { ProblemError } from '../acme/problem.ts'
import { type Csr, parseCsr, parseCsrPem, UnreadableCsrError } from './csr.ts'

const namesOf = (csr: Csr) => csr.identifiers.map(({ type, value }) => `${type}:${value}`)
const read = (draft: CsrDraft) => namesOf(parseCsr(buildCsr(draft)))

/** undefined: refused, and with one of the two errors that the doors know how to answer. */
function tryParse(parse: () => Csr): Csr | undefined {
  try {
    return parse()
  } catch (error) {
    if (error instanceof UnreadableCsrError || error instanceof ProblemError) {
      assert.match(error.message, /^[\x20-\x7e]{1,400}$/, 'a printable line')
      return undefined
    }
    throw new Error('neither UnreadableCsrError nor ProblemError', { cause: error })
  }
}

function refuses(octets: Uint8Array): void {
  assert.ok(tryParse(() => parseCsr(octets)) === undefined, `taken: ${Buffer.from(octets).toString('hex')}`)
}

function refusal(code: ProblemError['code'], reason: RegExp) {
  return (error: unknown) => error instanceof ProblemError && error.code === code && reason.test(error.message)
}

test('names come in their order, each once, and the common name last', () => {
  const names = ['b.example.org', ipName(192, 0, 2, 1), 'A.example.org', 'B.EXAMPLE.ORG', ipName(192, 0, 2, 1)]
  assert.deepEqual(read({ names, commonNames: ['c.example.org'] }), [
    'dns:b.example.org',
    'ip:192.0.2.1',
    'dns:a.example.org',
    'dns:c.example.org',
  ])
  assert.deepEqual(read({ names: ['a.example.org'], commonNames: ['A.Example.Org'] }), ['dns:a.example.org'])
  assert.deepEqual(read({ commonNames: ['a.example.org'] }), ['dns:a.example.org'])
})

test('the key is the one that the request was made with', () => {
  const csr = parseCsr(buildCsr({ names: ['a.example.org'] }))
  const spki = Buffer.from(ecKey().spki)
  assert.deepEqual(csr.publicKey.export({ type: 'spki', format: 'der' }), spki)
  assert.equal(csr.publicKeyHash, createHash('sha256').update(spki).digest('hex'))
})

test('what is no request is another error than what gets no certificate', () => {
  const octets = buildCsr({ names: ['a.example.org'] })
  assert.throws(() => parseCsr(octets.subarray(1)), UnreadableCsrError)
  assert.throws(() => parseCsr(Buffer.alloc(0)), UnreadableCsrError)
  assert.throws(() => parseCsrPem(''), UnreadableCsrError)
  assert.throws(() => parseCsrPem(toPem(octets, 'CERTIFICATE')), UnreadableCsrError)
  assert.throws(() => parseCsrPem(toPem(octets).repeat(2)), refusal('badCSR', /more than one/))
  assert.throws(() => parseCsr(buildCsr({})), refusal('badCSR', /names nothing/))
  assert.throws(() => parseCsr(buildCsr({ names: ['a_b.example.org'] })), refusal('malformed', /"a_b\.example\.org"/))
})

test('an address of a wrong length is a name that is none', () => {
  for (const length of [0, 1, 3, 5, 8, 15, 17, 32]) {
    const names = [ipName(...Array<number>(length).fill(1))]
    assert.throws(
      () => parseCsr(buildCsr({ names })),
      refusal('malformed', new RegExp(`\\b${length} octets`)),
      `${length}`,
    )
  }
})

describe('tags that only resemble the right ones', () => {
  const octets = buildCsr({ names: ['a.example.org'] })
  const replaced = (at: number, tag: number) => {
    const altered = Buffer.from(octets)
    altered[at] = tag
    return altered
  }
  test('the whole request', () => {
    for (const tag of [0x10, 0x31, 0x70, 0xa0, 0xb0, 0xf0])
      assert.throws(() => parseCsr(replaced(0, tag)), UnreadableCsrError, `0x${tag.toString(16)}`)
  })
  test('the signature algorithm', () => {
    const at = octets.lastIndexOf(Buffer.from(ecKey().algorithm))
    for (const tag of [0x10, 0x31, 0x70, 0xa0, 0xb0])
      assert.throws(() => parseCsr(replaced(at, tag)), UnreadableCsrError, `0x${tag.toString(16)}`)
  })
  test('a signature that does not end with its last octet', () => {
    const at = octets.lastIndexOf(Buffer.from(ecKey().algorithm)) + ecKey().algorithm.length + 2
    assert.equal(octets[at], 0)
    for (const unusedBits of [1, 7, 8, 255]) refuses(replaced(at, unusedBits))
  })
  test("the key's algorithm and its parameters", () => {
    const start = octets.indexOf(Buffer.from(ecKey().spki))
    // Where the tags of the algorithm, its identifier and its parameters stand; some become what cannot be written again.
    for (const at of [start + 2, start + 4, start + 13]) {
      for (let tag = 0; tag < 256; tag++) if (octets[at] !== tag) refuses(replaced(at, tag))
    }
  })
})

test('random text is no request', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      assert.equal(
        tryParse(() => parseCsrPem(text)),
        undefined,
      )
      assert.equal(
        tryParse(() =>
          parseCsrPem(`-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END CERTIFICATE REQUEST-----\n`),
        ),
        undefined,
      )
    }),
    { numRuns: 200 },
  )
})

test('random octets are no request', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
      refuses(octets)
      refuses(der(0x30, octets))
    }),
    { numRuns: 200 },
  )
})

test('an altered request is refused, never misunderstood', () => {
  const octets = buildCsr({ names: ['a.example.org', ipName(192, 0, 2, 1)], commonNames: ['b.example.org'] })
  const names = namesOf(parseCsr(octets))
  const change = fc.record({
    at: fc.nat(octets.length - 1),
    value: fc.nat(255),
    kind: fc.constantFrom('set', 'insert', 'delete'),
  })
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
      let altered = Buffer.from(octets)
      for (const { at, value, kind } of changes) {
        const [before, after] = [altered.subarray(0, at), altered.subarray(kind === 'insert' ? at : at + 1)]
        altered = Buffer.concat([before, kind === 'delete' ? Buffer.alloc(0) : Buffer.of(value), after])
      }
      const csr = tryParse(() => parseCsr(altered))
      if (csr !== undefined) assert.deepEqual(namesOf(csr), names, 'what the signature covers is as it was')
    }),
    { numRuns: 400 },
  )
})

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?$/).filter((text) => text.slice(2, 4) !== '--')
const goodName = fc
  .tuple(fc.array(label, { minLength: 1, maxLength: 4 }), fc.constantFrom('org', 'example', 'xn--p1ai'))
  .map(([labels, top]) => [...labels, top].join('.'))
const address = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((octets) => ipName(...octets))
const address6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((octets) => ipName(...octets))
const anyOctets = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => Buffer.from(text)),
)
const anyTag = fc.oneof(
  fc.constantFrom(0x80, 0x81, 0x82, 0x86, 0x87, 0x88, 0xa0, 0xa3, 0xa4, 0xa5, 0x30, 0x0c),
  fc.nat(255),
)
const anyElement = fc.tuple(anyTag, anyOctets).map(([tag, octets]) => der(tag, octets))

// The signature of these holds: what is wrong with them must be found by reading.
const strangeDraft: fc.Arbitrary<CsrDraft> = fc.oneof(
  fc.record({ names: fc.array(fc.oneof(goodName, address, anyElement), { maxLength: 5 }) }),
  fc.record({
    names: fc.array(goodName, { maxLength: 2 }),
    commonNames: fc.array(
      fc.oneof(
        goodName,
        anyElement,
        anyOctets.map((octets) => utf8String(octets)),
      ),
      { maxLength: 2 },
    ),
  }),
  fc.record({
    extensions: fc.array(
      anyOctets.map((octets) => extension('subjectAltName', octets)),
      { minLength: 1, maxLength: 2 },
    ),
  }),
  fc.record({
    names: fc.array(goodName, { maxLength: 1 }),
    extensions: fc.array(
      fc
        .tuple(fc.constantFrom('basicConstraints' as const, 'tlsFeature' as const, 'keyUsage' as const), anyOctets)
        .map(([name, octets]) => extension(name, octets)),
      { maxLength: 2 },
    ),
  }),
  fc.record({
    attributes: fc.array(
      fc.oneof(
        anyElement,
        anyElement.map((element) => attribute(attributeOid.extensionRequest, element)),
        anyElement.map((element) => extensionRequest(element)),
        fc.constant(extensionRequest(subjectAltNames(dnsName('a.example.org')))),
      ),
      { maxLength: 3 },
    ),
  }),
)

test('a request of strange content is refused, or has names that are names', () => {
  let accepted = 0
  fc.assert(
    fc.property(strangeDraft, (draft) => {
      const csr = tryParse(() => parseCsr(buildCsr(draft)))
      if (csr === undefined) return
      accepted += 1
      for (const { type, value } of csr.identifiers)
        assert.match(value, type === 'dns' ? /^(\*\.)?[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*$/ : /^[0-9a-f.:]+$/)
    }),
    { numRuns: 400 },
  )
  assert.ok(accepted > 0, 'the property was put to the test')
})

/** As `openssl req -text` prints them, which decodes with other code than ours. */
function namesByOpenssl(openssl: string, pem: string): Set<string> {
  const text = execFileSync(openssl, ['req', '-noout', '-text', '-nameopt', 'utf8,sep_multiline'], {
    input: pem,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const listed = /X509v3 Subject Alternative Name:.*\n\s*(.*)/.exec(text)?.[1]?.split(', ') ?? []
  const common = [...text.matchAll(/CN ?= ?(.*)/g)].map(([, name = '']) => `dns:${name.trim().toLowerCase()}`)
  const names = listed.map((name) =>
    name.startsWith('DNS:')
      ? `dns:${name.slice(4).toLowerCase()}`
      : `ip:${new URL(`http://${name.slice(11).includes(':') ? `[${name.slice(11)}]` : name.slice(11)}`).hostname.replace(/^\[|\]$/g, '')}`,
  )
  return new Set([...names, ...common])
}

test('openssl reads the same names', (t) => {
  const openssl = requirePeer(t, 'openssl')
  if (openssl === undefined) return
  const name = fc.oneof(
    goodName,
    goodName.map((text) => text.toUpperCase()),
    goodName.map((text) => `*.${text}`),
    address,
    address6,
  )
  fc.assert(
    fc.property(
      fc.array(name, { minLength: 1, maxLength: 6 }),
      fc.array(goodName, { maxLength: 1 }),
      (names, commonNames) => {
        const draft = { names, commonNames }
        assert.deepEqual(new Set(read(draft)), namesByOpenssl(openssl.path, buildCsrPem(draft)))
      },
    ),
    { numRuns: 20 },
  )
})
