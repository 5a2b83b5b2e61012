import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Identifier, identifierKey } from '../acme/identifier.ts'
import type { Caller, Credential, Presented } from '../plugin-api.ts'
import type { Csr } from '../x509/csr.ts'
import { authenticate, authorize, couldAuthenticate, couldAuthenticateSigned } from './authorize.ts'
import type { Block } from './block.ts'

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const dns = (value: string): Identifier => ({ type: 'dns', value })
const csrOf = (...identifiers: readonly Identifier[]): Csr => ({
  der: new Uint8Array(),
  identifiers,
  publicKey,
  publicKeyHash: '',
})
const callerOf = (...blocks: readonly string[]): Caller => ({ remoteAddress: '192.0.2.1', blocks })

function blockOf(name: string, names: readonly string[], more: Partial<Block> = {}): Block {
  return {
    name,
    credentials: [],
    covers: ({ value }) => names.includes(value),
    maxNames: 100,
    issuer: `issuer of ${name}`,
    verification: `verification of ${name}`,
    storage: `storage of ${name}`,
    profile: undefined,
    ...more,
  }
}

const presented: Presented = {
  remoteAddress: '192.0.2.1',
  method: 'POST',
  path: '/sign',
  headers: new Map(),
  bodyBytes: new Uint8Array(),
}
const credential = (holds: boolean, couldHold?: boolean): Credential => ({
  holds: () => holds,
  ...(couldHold === undefined ? {} : { couldHold: () => couldHold }),
})

test('the first block that covers every name says how', () => {
  const blocks = [blockOf('narrow', ['a']), blockOf('first', ['a', 'b']), blockOf('second', ['a', 'b', 'c'])]
  const csr = csrOf(dns('a'), dns('b'))
  const decision = authorize(callerOf('narrow', 'first', 'second'), csr, blocks)
  assert.ok(decision.allowed)
  const { grant } = decision
  assert.equal(grant.block, 'first')
  assert.equal(grant.issuer, 'issuer of first')
  assert.equal(grant.verification, 'verification of first')
  assert.equal(grant.storage, 'storage of first')
  assert.equal(grant.csr, csr)
})

test('names are not gathered from several blocks', () => {
  const blocks = [blockOf('one', ['a']), blockOf('two', ['b'])]
  const decision = authorize(callerOf('one', 'two'), csrOf(dns('a'), dns('b')), blocks)
  assert.ok(!decision.allowed)
  assert.deepEqual(
    decision.refused.map(({ identifier }) => identifier.value),
    ['a', 'b'],
  )
  assert.match(decision.refused[0]?.reason ?? '', /no single/)
})

test('only what is refused is named, and of other blocks nothing is told', () => {
  const blocks = [blockOf('mine', ['a', 'b']), blockOf('theirs', ['secret'])]
  const decision = authorize(callerOf('mine'), csrOf(dns('a'), dns('secret')), blocks)
  assert.ok(!decision.allowed)
  assert.deepEqual(
    decision.refused.map(({ identifier }) => identifier.value),
    ['secret'],
  )
  assert.doesNotMatch(JSON.stringify(decision), /theirs|mine/)
})

test('a block whose limit alone is in the way is told as such', () => {
  const few = blockOf('few', ['a', 'b', 'c'], { maxNames: 2 })
  const csr = csrOf(dns('a'), dns('b'), dns('c'))
  for (const blocks of [[few], [few, blockOf('other', ['x'])], [blockOf('other', ['x']), few]]) {
    const decision = authorize(callerOf('few', 'other'), csr, blocks)
    assert.ok(!decision.allowed)
    assert.match(decision.refused[0]?.reason ?? '', /max-names/)
  }
  const decision = authorize(callerOf('few', 'wide'), csr, [few, blockOf('wide', ['a', 'b', 'c'])])
  assert.ok(decision.allowed)
  assert.equal(decision.grant.block, 'wide')
})

test('blocks that did not accept the caller do not count', () => {
  const decision = authorize(callerOf('another'), csrOf(dns('a')), [blockOf('mine', ['a'])])
  assert.ok(!decision.allowed)
  assert.ok(!authorize(callerOf(), csrOf(dns('a')), [blockOf('mine', ['a'])]).allowed)
  assert.ok(!authorize(callerOf('gone'), csrOf(dns('a')), []).allowed)
})

test("a request without names is nobody's", () => {
  assert.ok(!authorize(callerOf('mine'), csrOf(), [blockOf('mine', ['a'])]).allowed)
})

test('an address is not the name of the same text', () => {
  const block = blockOf('mine', [], { covers: ({ type, value }) => type === 'dns' && value === '192.0.2.1' })
  assert.ok(!authorize(callerOf('mine'), csrOf({ type: 'ip', value: '192.0.2.1' }), [block]).allowed)
})

test('every credential of a block must hold', () => {
  const blocks = [
    blockOf('both hold', [], { credentials: [credential(true), credential(true)] }),
    blockOf('one fails', [], { credentials: [credential(true), credential(false)] }),
    blockOf('the other fails', [], { credentials: [credential(false), credential(true)] }),
  ]
  assert.deepEqual(authenticate(presented, blocks), { remoteAddress: '192.0.2.1', blocks: ['both hold'] })
})

test('a block that names no condition accepts nobody', () => {
  // The configuration complains about such a block; should one come through all the same, it must not be open to all.
  assert.deepEqual(authenticate(presented, [blockOf('open', [], { credentials: [] })]).blocks, [])
  assert.equal(couldAuthenticate(presented, [blockOf('open', [], { credentials: [] })]), false)
})

test('a credential that cannot tell from the head lets the body be read', () => {
  assert.ok(couldAuthenticate(presented, [blockOf('x', [], { credentials: [credential(true)] })]))
  assert.ok(
    !couldAuthenticate(presented, [blockOf('x', [], { credentials: [credential(true), credential(false, false)] })]),
  )
  assert.ok(!couldAuthenticate(presented, []))
})

test('who could be let in if only the request were signed', () => {
  const signed: Credential = { holds: () => false, couldHold: () => false, signingKeys: [] }
  const could = (...credentials: Credential[]) =>
    couldAuthenticateSigned(presented, [blockOf('x', [], { credentials })])
  assert.ok(could(signed))
  assert.ok(could(credential(true), signed))
  assert.ok(!could(signed, credential(false, false)))
  assert.ok(!could(credential(true)))
  assert.ok(!could())
})

// properties --------------------------------------------------------------------------------------

const someName = fc.constantFrom('a', 'b', 'c', 'd', 'e')
const someBlock = fc
  .record({
    names: fc.subarray(['a', 'b', 'c', 'd', 'e']),
    maxNames: fc.integer({ min: 1, max: 5 }),
    held: fc.boolean(),
  })
  .map(({ names, maxNames, held }) => ({ names, maxNames, held }))
type BlockWish = { readonly names: readonly string[]; readonly maxNames: number; readonly held: boolean }

function world(wishes: readonly BlockWish[]): { blocks: Block[]; caller: Caller } {
  const blocks = wishes.map(({ names, maxNames }, i) => blockOf(`b${i}`, names, { maxNames }))
  return { blocks, caller: callerOf(...wishes.flatMap(({ held }, i) => (held ? [`b${i}`] : []))) }
}

const wishes = fc.array(someBlock, { maxLength: 5 })
const someCsr = fc.uniqueArray(someName, { minLength: 1, maxLength: 5 }).map((names) => csrOf(...names.map(dns)))

test('a grant is of the first held block that covers every name, and there is one whenever such a block is', () => {
  fc.assert(
    fc.property(wishes, someCsr, (given, csr) => {
      const { blocks, caller } = world(given)
      const fitting = given.findIndex(
        ({ names, maxNames, held }) =>
          held && csr.identifiers.length <= maxNames && csr.identifiers.every(({ value }) => names.includes(value)),
      )
      const decision = authorize(caller, csr, blocks)
      assert.equal(decision.allowed, fitting >= 0)
      if (decision.allowed) {
        assert.equal(decision.grant.block, `b${fitting}`)
        assert.equal(decision.grant.csr, csr, 'a grant is for this request and no other name')
        assert.deepEqual(decision.grant.caller, caller)
      }
    }),
    { numRuns: 1000 },
  )
})

test('a refusal names at least one name of the request, and no other', () => {
  fc.assert(
    fc.property(wishes, someCsr, (given, csr) => {
      const { blocks, caller } = world(given)
      const decision = authorize(caller, csr, blocks)
      fc.pre(!decision.allowed)
      const asked = new Set(csr.identifiers.map(identifierKey))
      assert.ok(!decision.allowed && decision.refused.length > 0)
      for (const { identifier, reason } of decision.refused) {
        assert.ok(asked.has(identifierKey(identifier)))
        assert.ok(reason.length > 0)
      }
    }),
    { numRuns: 500 },
  )
})

test('one more block, wherever it is put, refuses nothing that was allowed', () => {
  fc.assert(
    fc.property(wishes, someBlock, fc.nat(5), someCsr, (given, more, at, csr) => {
      const before = world(given)
      fc.pre(authorize(before.caller, csr, before.blocks).allowed)
      const after = world([...given.slice(0, at), more, ...given.slice(at)])
      assert.ok(authorize(after.caller, csr, after.blocks).allowed)
    }),
    { numRuns: 500, maxSkipsPerRun: 1000 },
  )
})

test('fewer names are never refused where more were allowed', () => {
  fc.assert(
    fc.property(wishes, someCsr, fc.nat(), (given, csr, left) => {
      const { blocks, caller } = world(given)
      fc.pre(csr.identifiers.length > 1 && authorize(caller, csr, blocks).allowed)
      const fewer = csrOf(...csr.identifiers.filter((_, i) => i !== left % csr.identifiers.length))
      assert.ok(authorize(caller, fewer, blocks).allowed)
    }),
    { numRuns: 500, maxSkipsPerRun: 1000 },
  )
})

test('who is let in by head and body was not turned away by the head alone', () => {
  const someCredential = fc.record({ holds: fc.boolean(), known: fc.boolean() }).map(({ holds, known }) =>
    // couldHold may be too generous, never too strict.
    known ? credential(holds, true) : credential(holds),
  )
  fc.assert(
    fc.property(fc.array(fc.array(someCredential, { maxLength: 3 }), { maxLength: 4 }), (credentials) => {
      const blocks = credentials.map((list, i) => blockOf(`b${i}`, [], { credentials: list }))
      if (authenticate(presented, blocks).blocks.length > 0) assert.ok(couldAuthenticate(presented, blocks))
    }),
    { numRuns: 300 },
  )
})
