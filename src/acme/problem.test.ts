import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  asProblemError,
  describeProblem,
  oneLine,
  type ProblemCode,
  ProblemError,
  parseProblem,
  problemCode,
  problemStatus,
} from './problem.ts'

const namespace = 'urn:ietf:params:acme:error:'

/** RFC 8555 §6.7, the whole table; with the status where the RFC names one, and the section that does. */
const rfc8555: Readonly<Record<string, number | undefined>> = {
  accountDoesNotExist: 400, // §7.3.1
  alreadyRevoked: 400, // §7.6
  badCSR: undefined,
  badNonce: 400, // §6.5
  badPublicKey: undefined,
  badRevocationReason: undefined,
  badSignatureAlgorithm: 400, // §6.2
  caa: undefined,
  compound: undefined,
  connection: undefined,
  dns: undefined,
  externalAccountRequired: 403, // §7.3.4 through §6.7: an authorization matter
  incorrectResponse: undefined,
  invalidContact: undefined,
  malformed: undefined,
  orderNotReady: 403, // §7.4
  rateLimited: 429, // §6.6 through RFC 6585
  rejectedIdentifier: undefined,
  serverInternal: 500,
  tls: undefined,
  unauthorized: undefined,
  unsupportedContact: undefined,
  unsupportedIdentifier: undefined,
  userActionRequired: 403, // §7.3.3
}

test('the table holds every type of RFC 8555 with the status that it demands', () => {
  for (const [code, status] of Object.entries(rfc8555)) {
    assert.ok(Object.hasOwn(problemStatus, code), `${code} is missing`)
    if (status !== undefined) assert.equal(problemStatus[code as ProblemCode], status, code)
  }
})

test('beside RFC 8555 there are only the registered types of ARI and profiles', () => {
  const others = Object.keys(problemStatus).filter((code) => !(code in rfc8555))
  assert.deepEqual(others.sort(), ['alreadyReplaced', 'invalidProfile'])
  assert.equal(problemStatus.alreadyReplaced, 409, 'RFC 9773 §5')
  assert.ok(Object.values(problemStatus).every((status) => status >= 400 && status < 600))
})

test('a registered type is its token, whatever the status', () => {
  for (const code of Object.keys(problemStatus)) {
    for (const status of [200, 400, 403, 429, 500, Number.NaN])
      assert.equal(problemCode({ type: namespace + code, status }), code)
  }
  assert.equal(problemCode({ type: `${namespace}agreementRequired`, status: 403 }), 'userActionRequired')
})

test('an unknown type is judged by its status', () => {
  const judge = (status: number) => problemCode({ type: 'about:blank', status })
  assert.deepEqual([400, 401, 403, 404, 409, 429, 500, 502, 503, 504].map(judge), [
    ...['malformed', 'unauthorized', 'unauthorized', 'malformed', 'malformed', 'rateLimited'],
    ...['serverInternal', 'serverInternal', 'serverInternal', 'serverInternal'],
  ])
  // Without the namespace it is somebody else's word.
  assert.equal(problemCode({ type: 'badNonce', status: 503 }), 'serverInternal')
})

test('names that every object has are no types', () => {
  for (const word of ['constructor', 'toString', 'hasOwnProperty', '__proto__', 'valueOf'])
    assert.equal(problemCode({ type: namespace + word, status: 400 }), 'malformed', word)
})

test('a document is read with its subproblems', () => {
  const problem = parseProblem(403, {
    type: `${namespace}compound`,
    detail: 'several names failed',
    status: 400,
    subproblems: [
      { type: `${namespace}caa`, detail: 'CAA forbids', identifier: { type: 'dns', value: 'a.example' } },
      { type: `${namespace}dns`, detail: 'no such host', identifier: { type: 'ip', value: '192.0.2.1' } },
      { detail: 'of nobody' },
    ],
  })
  assert.equal(problem.status, 403, "the answer's own status counts")
  assert.deepEqual(problem.subproblems[0]?.identifier, { type: 'dns', value: 'a.example' })
  assert.deepEqual(problem.subproblems[1]?.identifier, { type: 'ip', value: '192.0.2.1' })
  assert.equal(problemCode(problem), 'compound')
  assert.equal(
    describeProblem(problem),
    'several names failed; a.example: CAA forbids; 192.0.2.1: no such host; of nobody',
  )
})

test('what is no document says what the status says', () => {
  for (const body of [undefined, null, '<html>', [], 7, { detail: 7 }, {}]) {
    const problem = parseProblem(502, body)
    assert.deepEqual([problem.type, problem.status, problem.subproblems], ['about:blank', 502, []])
    assert.match(problem.detail, /502/)
  }
})

test('no JSON at all makes the reader fail, and its line is one bounded line', () => {
  const member = fc.oneof(fc.jsonValue(), fc.constant({ toString: 1, valueOf: 1 }))
  const subproblem = fc.dictionary(fc.constantFrom('type', 'detail', 'identifier'), member)
  const document = fc.record({ type: member, detail: member, subproblems: fc.array(subproblem) }, { requiredKeys: [] })
  const body: fc.Arbitrary<unknown> = fc.oneof(member, document)
  fc.assert(
    fc.property(fc.integer({ min: 300, max: 599 }), body, (status, value) => {
      const line = describeProblem(parseProblem(status, value))
      assert.ok(line.length <= 1000)
      assert.doesNotMatch(line, /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]/)
    }),
    { numRuns: 500 },
  )
})

test('a list of subproblems has an end', () => {
  const subproblems = Array.from({ length: 5000 }, (_, i) => ({ detail: `number ${i}` }))
  assert.ok(parseProblem(400, { subproblems }).subproblems.length <= 100)
})

test("others' text becomes one printable line", () => {
  assert.equal(oneLine(' a\r\n\tb\u0000c\u2028d\u202ee\u200bf '), 'a b c d e f')
  assert.ok(oneLine('x'.repeat(5000)).length <= 1000)
})

test('what nobody understood tells the caller nothing about itself', () => {
  const cause = new Error('password=hunter2 at /etc/secret')
  const problem = asProblemError(cause)
  assert.equal(problem.code, 'serverInternal')
  assert.doesNotMatch(problem.message, /hunter2|secret/)
  assert.equal(problem.cause, cause, 'the log gets it')
  assert.deepEqual(problem.retry, { when: 'never' })
  const own = new ProblemError('badCSR', 'no', { retry: { when: 'newOrder' } })
  assert.equal(asProblemError(own), own)
  for (const thrown of [undefined, null, 'text', { code: 'badCSR' }])
    assert.ok(asProblemError(thrown) instanceof ProblemError)
})
