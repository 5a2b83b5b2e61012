import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ProblemError } from '../acme/problem.ts'
import { readReply } from './exchange.ts'
import { encodeQuery, findLastRecord, parseReply, readQuestion, recordType, txtValue } from './message.ts'
import { addressOf, caaOf, nameOf, soaOf } from './rdata.ts'
import { encodeName, uint16, uint32 } from './wire.ts'

type Parts = { readonly question: Uint8Array; readonly records: readonly Uint8Array[]; readonly flags?: number }

/** An answer with these records; the question's name is at octet 12, for pointers. */
function makeReply({ question, records, flags = 0x8400 }: Parts): Buffer {
  const counts = [1, records.length, 0, 0].map(uint16)
  return Buffer.concat([uint16(7), uint16(flags), ...counts, question, ...records])
}

function makeRecord(name: Uint8Array, type: number, rdata: Uint8Array): Buffer {
  return Buffer.concat([name, uint16(type), uint16(1), uint32(60), uint16(rdata.length), rdata])
}

const question = Buffer.concat([encodeName('www.Example.org'), uint16(recordType.txt), uint16(1)])
const toQuestion = Buffer.of(0xc0, 12)
const toExampleOrg = Buffer.of(0xc0, 16)

test('rdata of every type that is looked up, names written out', () => {
  const { answers, authoritative, truncated, questions } = parseReply(
    makeReply({
      question,
      records: [
        makeRecord(toQuestion, recordType.cname, Buffer.concat([Buffer.from('\x01a'), toExampleOrg])),
        makeRecord(toExampleOrg, recordType.ns, Buffer.concat([Buffer.from('\x02ns'), toExampleOrg])),
        makeRecord(
          toExampleOrg,
          recordType.soa,
          Buffer.concat([Buffer.from('\x02ns'), toExampleOrg, toQuestion, ...[4711, 1, 2, 3, 4].map(uint32)]),
        ),
        makeRecord(toQuestion, recordType.txt, Buffer.from('\x03one\x04 two')),
        makeRecord(toQuestion, recordType.a, Buffer.of(192, 0, 2, 1)),
        makeRecord(toQuestion, recordType.aaaa, Buffer.from('20010db8000000000000000000000053', 'hex')),
        makeRecord(toQuestion, recordType.caa, Buffer.from('\x80\x05issueca.example; accounturi=x', 'latin1')),
      ],
    }),
  )
  const [cname, ns, soa, txt, a, aaaa, caa] = answers.map(({ rdata }) => rdata)
  assert.ok(cname && ns && soa && txt && a && aaaa && caa)
  assert.deepEqual([authoritative, truncated], [true, false])
  assert.deepEqual(questions, [{ name: 'www.example.org', type: recordType.txt }])
  assert.equal(answers[1]?.name, 'example.org')
  assert.equal(nameOf(cname), 'a.example.org')
  assert.equal(nameOf(ns), 'ns.example.org')
  assert.deepEqual(soaOf(soa), { primary: 'ns.example.org', serial: 4711 })
  assert.equal(txtValue(txt), 'one two')
  assert.equal(addressOf(a), '192.0.2.1')
  assert.equal(addressOf(aaaa), '2001:db8::53')
  assert.deepEqual(caaOf(caa), { critical: true, tag: 'issue', value: 'ca.example; accounturi=x' })
})

test('the extended code of EDNS, and flags', () => {
  const opt = Buffer.concat([Buffer.of(0), uint16(recordType.opt), uint16(1232), uint32(0x01000000), uint16(0)])
  const counts = [1, 0, 0, 1].map(uint16)
  const reply = parseReply(Buffer.concat([uint16(7), uint16(0x8280), ...counts, question, opt]))
  assert.deepEqual([reply.rcode, reply.truncated, reply.recursive, reply.authoritative], [16, true, true, false])
})

test('a dot within a label is no end of one', () => {
  const name = Buffer.from('\x0bwww.example\x03org\0')
  const { answers } = parseReply(makeReply({ question, records: [makeRecord(name, recordType.a, Buffer.alloc(4))] }))
  assert.equal(answers[0]?.name, 'www\\.example.org')
  assert.throws(() => encodeName('www\\.example.org'), { name: 'ProblemError', code: 'malformed' })
})

test('names that are none', () => {
  for (const name of ['a..b', '.a', `${'a'.repeat(64)}.b`, Array(130).fill('a').join('.')])
    assert.throws(() => encodeName(name), { code: 'malformed' }, name)
  assert.equal(encodeName(`${'a'.repeat(63)}.b`).length, 67)
})

test('what does not fit to the question is no answer', () => {
  const server = { host: '192.0.2.53', port: 53 }
  const query = encodeQuery(7, 'www.example.org', recordType.txt)
  const good = makeReply({ question, records: [] })
  assert.equal(readReply(server, good, query).rcode, 0)
  const others = [
    Buffer.concat([uint16(8), good.subarray(2)]),
    makeReply({ question: Buffer.concat([encodeName('www.example.net'), question.subarray(-4)]), records: [] }),
    makeReply({ question: Buffer.concat([encodeName('www.example.org'), uint16(1), uint16(1)]), records: [] }),
    makeReply({ question, records: [], flags: 0x0400 }),
    Buffer.from('HTTP/1.1 400 Bad Request'),
  ]
  for (const other of others) assert.throws(() => readReply(server, other, query), { code: 'dns' })
})

test('any octets are a message or a RangeError, quickly', () => {
  const query = encodeQuery(7, 'www.example.org', recordType.txt, 1232)
  assert.deepEqual(readQuestion(query), { name: 'www.example.org', type: recordType.txt })
  const read = (octets: Uint8Array) => {
    try {
      findLastRecord(octets)
      for (const { rdata, type } of parseReply(octets).answers) if (type === recordType.txt) txtValue(rdata)
    } catch (error) {
      assert.ok(error instanceof RangeError || error instanceof ProblemError, String(error))
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (tail, pointing) => {
      // Hostile in what matters: many records, and pointers everywhere.
      if (pointing) for (let i = 0; i + 1 < tail.length; i += 3) tail[i] = 0xc0
      read(Buffer.concat([uint16(7), uint16(0x8400), ...[1, 60, 60, 60].map(uint16), question, tail]))
      read(tail)
    }),
    { numRuns: 3000 },
  )
})
