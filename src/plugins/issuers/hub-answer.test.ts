// What an answer of another acmems means: whose fault it is, and when asking again is of use.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProblemError } from '../../acme/problem.ts'
import { signStatusOf } from '../../sign/sign-status.ts'
import { parseHubUrl, parsePins } from './hub-address.ts'
import { readHubAnswer } from './hub-answer.ts'

const nowMs = Date.UTC(2026, 10, 22)
const chain = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'

function read(status: number, text: string, retryAfter?: string) {
  const headers = new Map(retryAfter === undefined ? [] : [['retry-after', [retryAfter]]])
  const reply = { status, headers, body: Buffer.from(text) }
  return readHubAnswer(reply, { host: 'hub.example', names: ['www.example.org'], nowMs })
}

function problemOf(status: number, text: string, retryAfter?: string): ProblemError {
  try {
    read(status, text, retryAfter)
  } catch (error) {
    assert.ok(error instanceof ProblemError)
    return error
  }
  return assert.fail(`${status} should be a failure`)
}

test('a chain is taken; a page in its place is not', () => {
  assert.deepEqual(read(200, chain), { outcome: 'issued', chainPem: chain })
  const page = problemOf(200, '<html>Log in here</html>')
  assert.deepEqual([page.code, page.retry], ['serverInternal', { when: 'backoff' }])
})

test('what was refused is refused with the same status to whoever asked us', () => {
  const at = (atMs: number) => ({ when: 'notBefore', atMs })
  for (const [status, text, retryAfter, code, retry, passedOn] of [
    [400, 'bad key\n', undefined, 'badCSR', { when: 'never' }, 400],
    [413, 'too large\n', undefined, 'badCSR', { when: 'never' }, 400],
    [415, 'this is no certificate request\n', undefined, 'badCSR', { when: 'never' }, 400],
    [403, 'www.example.org: not covered\n', undefined, 'rejectedIdentifier', { when: 'never' }, 403],
    [403, 'no auth block accepts this caller\n', undefined, 'unauthorized', { when: 'never' }, 403],
    [421, 'www.example.org: connection refused\n', undefined, 'incorrectResponse', { when: 'never' }, 421],
    [421, 'www.example.org: later\n', '90', 'incorrectResponse', at(nowMs + 90_000), 421],
    [429, 'too many\n', '3600', 'rateLimited', at(nowMs + 3_600_000), 429],
    [429, 'too many\n', undefined, 'rateLimited', { when: 'backoff' }, 429],
    // Ours, not the caller's.
    [401, 'the signature does not hold\n', undefined, 'userActionRequired', { when: 'never' }, 500],
    [404, 'there is nothing here\n', undefined, 'serverInternal', { when: 'backoff' }, 503],
    [302, '', undefined, 'serverInternal', { when: 'backoff' }, 503],
    [500, 'oh\n', undefined, 'serverInternal', { when: 'backoff' }, 503],
    [502, '<html>Bad Gateway</html>', undefined, 'serverInternal', { when: 'backoff' }, 503],
    [503, 'the CA is away\n', '600', 'serverInternal', at(nowMs + 600_000), 503],
    [503, 'the CA is away\n', 'soon', 'serverInternal', { when: 'backoff' }, 503],
  ] as const) {
    const problem = problemOf(status, text, retryAfter)
    assert.deepEqual([problem.code, problem.retry], [code, retry], `${status} ${text}`)
    assert.equal(signStatusOf(problem, nowMs).status, passedOn, `${status} ${text}`)
    assert.ok(problem.message.includes(text.startsWith('<') ? `HTTP status ${status}` : text.trim()))
    assert.match(problem.message, /hub\.example/)
  }
  assert.doesNotMatch(problemOf(403, 'a\r\n\u001b[31mb\u202e').message, /[\r\n\u001b\u202e]/)
  assert.ok(problemOf(403, 'x'.repeat(100_000)).message.length < 1100)
})

test('a certificate that is not there yet is waited for', () => {
  assert.deepEqual(read(503, 'the CA has not finished yet\n', '30'), {
    outcome: 'later',
    notBeforeMs: nowMs + 30_000,
    words: 'the CA has not finished yet',
  })
})

test('where a server is, and what its key may be', () => {
  for (const [text, origin] of [
    ['https://Hub.Example:1313/', 'https://hub.example:1313'],
    ['https://hub.example/sign', 'https://hub.example'],
    ['https://hub.example:443', 'https://hub.example'],
    ['http://localhost:1313', 'http://localhost:1313'],
    ['http://127.1:80', 'http://127.0.0.1'],
    ['http://[::1]:1313', 'http://[::1]:1313'],
  ] as const)
    assert.equal(parseHubUrl(text), origin)
  for (const text of [
    'hub.example',
    'http://hub.example',
    'http://127.0.0.1.evil.example',
    'http://localhost.evil.example',
    'ftp://hub.example',
    'https://user@hub.example',
    'https://:secret@hub.example',
    'https://hub.example/box/a',
    'https://hub.example/?a',
    'https://hub.example/#a',
  ])
    assert.throws(() => parseHubUrl(text), Error, text)
  const pin = `sha256//${'A'.repeat(43)}=`
  assert.deepEqual(parsePins(`${pin};${pin}`), [pin, pin])
  for (const text of ['', 'A'.repeat(44), `${pin};`, pin.replace('256', '1'), `${pin}=`])
    assert.throws(() => parsePins(text), /no pin/)
})
