// Requests to /sign that are no proper requests, octet for octet as an attacker sends them, over a plain socket.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Acmems, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'

/** 127.0.0.1 may have certificates; every other loopback address is a stranger. The limits are the defaults. */
const config = `[account]
type = local
[mgmt]
default-verification =
[auth "host"]
ip = 127.0.0.1
domain = **.example.org
`
const defaultMaxBytes = 4096
const strangerAddress = '127.0.0.9'
/** The server promises 10 s; the rest is for a busy machine. */
const slowDeadlineMs = 13_000
const promptMs = 4_000
/** Some 300 MB are thrown at the server; what it discards may wait for the collector, but not grow with what is sent. */
const maxRssGrowthBytes = 128 * 1024 * 1024
const maxLineLength = 200

type Reply = { readonly status: number; readonly headers: ReadonlyMap<string, string>; readonly body: string }
type Exchange = { readonly replies: Reply[]; readonly closed: boolean; readonly ms: number }
type ExchangeOptions = {
  readonly from?: string
  readonly waitMs?: number
  /** Ends the exchange as soon as this holds; otherwise it lasts until the server closes. */
  readonly until?: (replies: readonly Reply[]) => boolean
  readonly noBody?: boolean
  /** Octets that follow one by one. */
  readonly dribble?: { readonly octets: string; readonly everyMs: number }
}

function parseReplies(text: string, noBody: boolean): Reply[] {
  const replies: Reply[] = []
  let rest = text
  for (;;) {
    const headEnd = rest.indexOf('\r\n\r\n')
    if (headEnd < 0) break
    const [statusLine = '', ...lines] = rest.slice(0, headEnd).split('\r\n')
    const status = Number(/^HTTP\/1\.[01] (\d{3}) /.exec(statusLine)?.[1])
    assert.ok(status >= 100, `no status line: ${JSON.stringify(statusLine)}`)
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    )
    const length = status < 200 || noBody ? 0 : Number(headers.get('content-length') ?? Number.NaN)
    assert.ok(Number.isInteger(length), 'an answer without Content-Length')
    if (rest.length < headEnd + 4 + length) break
    replies.push({ status, headers, body: rest.slice(headEnd + 4, headEnd + 4 + length) })
    rest = rest.slice(headEnd + 4 + length)
  }
  return replies
}

function exchange(port: number, octets: string | Buffer, options: ExchangeOptions = {}): Promise<Exchange> {
  const startedMs = performance.now()
  return new Promise((resolve) => {
    const local = options.from === undefined ? {} : { localAddress: options.from }
    const socket = connect({ port, host: '127.0.0.1', ...local })
    let text = ''
    const replies = () => parseReplies(text, options.noBody === true)
    const finish = (closed: boolean) => {
      clearTimeout(deadline)
      clearInterval(dribble)
      socket.destroy()
      resolve({ replies: replies(), closed, ms: performance.now() - startedMs })
    }
    const deadline = setTimeout(() => finish(false), options.waitMs ?? promptMs)
    let sent = 0
    const dribble = setInterval(() => {
      const octet = options.dribble?.octets[sent++ % (options.dribble.octets.length || 1)]
      if (octet !== undefined && socket.writable) socket.write(octet, 'latin1')
    }, options.dribble?.everyMs ?? 1e9)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (options.until?.(replies()) === true) finish(false)
    })
    // A reset counts as closed; what came before it is kept.
    socket.on('error', () => undefined)
    socket.on('close', () => finish(true))
    socket.write(octets as Buffer, 'latin1')
  })
}

const isFinal = (replies: readonly Reply[]) => replies.some(({ status }) => status >= 200)

/** One short line for a person, and nothing of our inside. */
function assertPlainLine({ body, headers }: Reply): void {
  assert.match(headers.get('content-type') ?? '', /^text\/plain\b/)
  assert.match(body, /^[^\n\r]+\n$/, `one line: ${JSON.stringify(body)}`)
  assert.ok(body.length <= maxLineLength, `short: ${JSON.stringify(body)}`)
  assert.doesNotMatch(body, /\bat .*:\d+|Error:|node:|\.[tj]s\b|FST_/, 'nothing of our inside')
}

/** Exactly one final answer, whatever else the client does afterwards. */
function assertOnlyReply({ replies, closed }: Exchange, status: number | readonly number[], mustClose: boolean): Reply {
  const wanted = typeof status === 'number' ? [status] : status
  const [reply, ...more] = replies
  assert.ok(reply !== undefined, 'no answer came')
  assert.ok(wanted.includes(reply.status), `status ${reply.status} instead of ${wanted.join(' or ')}: ${reply.body}`)
  assert.deepEqual(
    more.map((other) => other.status),
    [],
    'a request has one answer, and nothing after it is read as a request',
  )
  if (mustClose) {
    assert.ok(closed, 'the connection is closed')
    assert.equal(reply.headers.get('connection')?.toLowerCase(), 'close')
  }
  return reply
}

const host = 'Host: acmems\r\n'
const smuggled = `GET /smuggled HTTP/1.1\r\n${host}\r\n`
const post = (...lines: string[]) =>
  `POST /sign HTTP/1.1\r\n${host}${lines.map((line) => `${line}\r\n`).join('')}\r\nhello`
const chunked = (body: string) => `POST /sign HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n${body}`
const manyHeaders = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: y`)

type Row = {
  readonly name: string
  readonly octets: string
  readonly status: number | readonly number[]
  /** The framing is in doubt: the server must end the connection by itself, at once. */
  readonly closes?: boolean
  readonly says?: RegExp
  readonly options?: ExchangeOptions
  readonly alsoHeaders?: Readonly<Record<string, string>>
}

const doubtfulLengths = [
  '-1',
  'abc',
  '1e3',
  '+5',
  '',
  '5 5',
  '5, 5',
  '5, 6',
  '0x5',
  '5.0',
  '99999999999999999999999',
  '5;',
]
const doubtfulCodings = [
  'xchunked',
  'chunked, identity',
  'chunked, chunked',
  'identity',
  '"chunked"',
  'chunked;q=1',
  '\vchunked',
  'chunked\r\nTransfer-Encoding: identity',
]
/** Method, and what is special about the answer. */
const otherMethods = ['GET', 'HEAD', 'PUT', 'DELETE', 'TRACE', 'OPTIONS', 'PATCH', 'PROPFIND', 'QUERY']
const otherPaths = [
  '/sign/',
  '//sign',
  '/%73ign',
  '/sig%6E',
  '/sign;x',
  '/./sign',
  '/x/../sign',
  '/sign?x=1',
  '/sign?',
  '/sign#x',
  '/SIGN',
  '/sign%00',
  '/sign%2f',
  '/sign\\',
  '/signing',
  '/',
  '*',
]

const promptRows: readonly Row[] = [
  // Row 1
  {
    name: '1: one octet over the limit is refused before a body is sent',
    octets: `POST /sign HTTP/1.1\r\n${host}Content-Length: ${defaultMaxBytes + 1}\r\n\r\n`,
    status: 413,
    says: /4096/,
    options: { until: isFinal },
  },
  {
    name: '1: far over the limit, too',
    octets: `POST /sign HTTP/1.1\r\n${host}Content-Length: 9007199254740991\r\n\r\n`,
    status: 413,
    options: { until: isFinal },
  },
  {
    name: '1: exactly the limit is read (and is no request)',
    octets: `POST /sign HTTP/1.1\r\n${host}Content-Length: ${defaultMaxBytes}\r\n\r\n${'x'.repeat(defaultMaxBytes)}`,
    status: 415,
    options: { until: isFinal },
  },
  // Row 2
  {
    name: '2: chunks over the limit are refused at the limit, not at their end',
    octets: chunked(`${(defaultMaxBytes + 1).toString(16)}\r\n${'x'.repeat(defaultMaxBytes + 1)}\r\n`),
    status: 413,
    options: { until: isFinal },
  },
  {
    name: '2: 10 MB of chunks',
    octets: chunked(`${`10000\r\n${'x'.repeat(65_536)}\r\n`.repeat(160)}0\r\n\r\n`),
    status: 413,
    closes: true,
  },
  {
    name: '2: chunks within the limit',
    octets: chunked('5\r\nhello\r\n0\r\n\r\n'),
    status: 411,
    options: { until: isFinal },
  },
  { name: '2: a chunk size that is none', octets: chunked('ZZ\r\nhello\r\n0\r\n\r\n'), status: 400, closes: true },
  { name: '2: a negative chunk size', octets: chunked('-5\r\nhello\r\n0\r\n\r\n'), status: 400, closes: true },
  {
    name: '2: a chunk size over 2^64',
    octets: chunked('fffffffffffffffff\r\nhello'),
    status: [400, 413],
    closes: true,
  },
  {
    name: '2: a chunk extension without end',
    octets: chunked(`5;${'a'.repeat(100_000)}\r\nhello\r\n0\r\n\r\n`),
    status: [400, 413, 431],
    closes: true,
  },
  {
    name: '2: trailers without end',
    octets: chunked(`0\r\n${manyHeaders(5000).join('\r\n')}\r\n\r\n`),
    status: [400, 413, 431],
    closes: true,
  },
  // Row 3
  { name: '3: neither length nor chunks', octets: `POST /sign HTTP/1.1\r\n${host}\r\n`, status: 411 },
  { name: '3: neither length nor chunks, HTTP/1.0', octets: 'POST /sign HTTP/1.0\r\n\r\n', status: 411 },
  // Row 4
  ...doubtfulLengths.map((length) => ({
    name: `4: Content-Length: ${length}`,
    octets: post(`Content-Length: ${length}`),
    status: 400,
    closes: true,
  })),
  // Row 5
  {
    name: '5: two lengths',
    octets: `${post('Content-Length: 5', 'Content-Length: 6')}X${smuggled}`,
    status: 400,
    closes: true,
  },
  {
    name: '5: two lengths, the other way round',
    octets: `${post('Content-Length: 6', 'Content-Length: 5')}${smuggled}`,
    status: 400,
    closes: true,
  },
  // Row 6
  {
    name: '6: length and chunks',
    octets: `POST /sign HTTP/1.1\r\n${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    status: 400,
    closes: true,
  },
  {
    name: '6: chunks and length',
    octets: `POST /sign HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${smuggled}`,
    status: 400,
    closes: true,
  },
  ...doubtfulCodings.map((coding) => ({
    name: `6: Transfer-Encoding: ${JSON.stringify(coding)}`,
    octets: `POST /sign HTTP/1.1\r\n${host}Transfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n${smuggled}`,
    status: 400,
    closes: true,
  })),
  {
    name: '6: Transfer-Encoding : chunked',
    octets: `POST /sign HTTP/1.1\r\n${host}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    status: 400,
    closes: true,
  },
  {
    name: '6: Content-Length : 5',
    octets: `${post('Content-Length : 5')}${smuggled}`,
    status: 400,
    closes: true,
  },
  // Row 9
  ...['gzip', 'br', 'identity, gzip', 'x-gzip', 'identity\r\nContent-Encoding: gzip'].map((coding) => ({
    name: `9: Content-Encoding: ${JSON.stringify(coding)}`,
    octets: post(`Content-Encoding: ${coding}`, 'Content-Length: 5'),
    status: 415,
    says: /compress|encod/i,
    options: { until: isFinal },
  })),
  // Row 10
  ...otherMethods.map((method) => ({
    name: `10: ${method} /sign`,
    octets: `${method} /sign HTTP/1.1\r\n${host}\r\n`,
    status: 405,
    alsoHeaders: { allow: 'POST' },
    options: { noBody: method === 'HEAD' },
  })),
  {
    name: '10: PUT with a body',
    octets: `PUT /sign HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`,
    status: 405,
    alsoHeaders: { allow: 'POST' },
  },
  // Row 11
  { name: '11: a header of 100 KB', octets: post(`X-Big: ${'a'.repeat(100_000)}`), status: 431, closes: true },
  { name: '11: 2000 headers', octets: post(...manyHeaders(2000)), status: 431, closes: true },
  { name: '11: 101 small headers', octets: post(...manyHeaders(100), 'Content-Length: 5'), status: 431, closes: true },
  {
    name: '11: a path of 100 KB',
    octets: `POST /${'a'.repeat(100_000)} HTTP/1.1\r\n${host}\r\n`,
    status: [414, 431],
    closes: true,
  },
  // Row 12
  ...otherPaths.map((path) => ({
    name: `12: ${path}`,
    octets: `POST ${path} HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`,
    status: 404,
  })),
  {
    name: '12: another path, and a broken chunk after the answer',
    octets: `POST /other HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n${smuggled}`,
    status: 404,
    closes: true,
  },
  // Not in a form that a path can have: either refusal will do, but it must be ours.
  ...['/%', '/sign%', '/%zz', '/%c0%af'].map((path) => ({
    name: `12: ${path}`,
    octets: `POST ${path} HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`,
    status: [400, 404],
    options: { until: isFinal },
  })),
  // Row 13
  { name: '13: HTTP/0.9', octets: 'GET /sign\r\n\r\n', status: 400, closes: true },
  {
    name: '13: HTTP/0.9 with headers',
    octets: 'POST /sign\r\nContent-Length: 5\r\n\r\nhello',
    status: 400,
    closes: true,
  },
  {
    name: '13: HTTP/0.9, said',
    octets: 'POST /sign HTTP/0.9\r\nContent-Length: 5\r\n\r\nhello',
    status: [400, 505],
    closes: true,
  },
  {
    name: '13: HTTP/2.0 over HTTP/1.1',
    octets: `POST /sign HTTP/2.0\r\n${host}Content-Length: 5\r\n\r\nhello`,
    status: [400, 505],
    closes: true,
  },
  { name: '13: the preface of HTTP/2', octets: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', status: [400, 505], closes: true },
  { name: '13: HTTP/1.2', octets: post('Content-Length: 5').replace('1.1', '1.2'), status: [400, 505], closes: true },
  { name: '13: bare LF everywhere', octets: post('Content-Length: 5').replaceAll('\r', ''), status: 400, closes: true },
  {
    name: '13: bare LF after the request line',
    octets: post('Content-Length: 5').replace('1.1\r\n', '1.1\n'),
    status: 400,
    closes: true,
  },
  {
    name: '13: bare LF after a header',
    octets: `${post('X: y\nContent-Length: 5')}${smuggled}`,
    status: 400,
    closes: true,
  },
  {
    name: '13: bare LF at the end of the head',
    octets: post('Content-Length: 5').replace('\r\n\r\n', '\r\n\n'),
    status: 400,
    closes: true,
  },
  { name: '13: bare LF after a chunk size', octets: chunked('5\nhello\r\n0\r\n\r\n'), status: 400, closes: true },
  { name: '13: bare CR in a header', octets: post('X: a\rContent-Length: 5'), status: 400, closes: true },
  { name: '13: obs-fold', octets: post('X: a\r\n b', 'Content-Length: 5'), status: 400, closes: true },
  { name: '13: obs-fold of the length', octets: post('Content-Length:\r\n 5'), status: 400, closes: true },
  { name: '13: NUL in a header', octets: post('X: a\0b', 'Content-Length: 5'), status: 400, closes: true },
  { name: '13: NUL in a header name', octets: post('X\0: a', 'Content-Length: 5'), status: 400, closes: true },
  {
    name: '13: white space before the first header',
    octets: post().replace(host, ` ${host}`),
    status: 400,
    closes: true,
  },
  { name: '13: a header without a colon', octets: post('Content-Length'), status: 400, closes: true },
  {
    name: '13: an unknown method',
    octets: post('Content-Length: 5').replace('POST', 'POAST'),
    status: 400,
    closes: true,
  },
  {
    name: '13: a method in lower case',
    octets: post('Content-Length: 5').replace('POST', 'post'),
    status: 400,
    closes: true,
  },
  {
    name: '13: TLS spoken to a plain port',
    octets: '\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03',
    status: 400,
    closes: true,
  },
  {
    name: '13: octets of no protocol at all',
    octets: String.fromCharCode(...Array.from({ length: 256 }, (_, i) => (i * 37 + 200) & 255)),
    status: 400,
    closes: true,
  },
  // Row 14
  {
    name: '14: Expect from a stranger',
    octets: `POST /sign HTTP/1.1\r\n${host}Expect: 100-continue\r\nContent-Length: 500\r\n\r\n`,
    status: 403,
    options: { from: strangerAddress },
  },
  {
    name: '14: Expect over the limit',
    octets: `POST /sign HTTP/1.1\r\n${host}Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n`,
    status: 413,
  },
  {
    name: '14: Expect without a length',
    octets: `POST /sign HTTP/1.1\r\n${host}Expect: 100-continue\r\n\r\n`,
    status: 411,
  },
  {
    name: '14: Expect with another path',
    octets: `POST /other HTTP/1.1\r\n${host}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
    status: 404,
  },
  {
    name: '14: Expect of something else',
    octets: `POST /sign HTTP/1.1\r\n${host}Expect: 200-ok\r\nContent-Length: 5\r\n\r\n`,
    status: 417,
    options: { until: isFinal },
  },
  {
    name: '14: Expect in HTTP/1.0, which knows no 100',
    octets: 'POST /sign HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello',
    status: 415,
  },
]

/** Each takes as long as the server is patient, so all run at once. */
const slowRows: readonly Row[] = [
  { name: '7: a body shorter than its length', octets: post('Content-Length: 4000'), status: 408, closes: true },
  { name: '7: chunks that stop', octets: chunked('5\r\nhello\r\n'), status: 408, closes: true },
  {
    name: '7: nothing after 100 Continue',
    octets: post('Expect: 100-continue', 'Content-Length: 4000').slice(0, -'hello'.length),
    status: 408,
    closes: true,
  },
  {
    name: '7: a body of one octet a second',
    octets: post('Content-Length: 4000'),
    status: 408,
    closes: true,
    options: { dribble: { octets: 'x', everyMs: 1000 } },
  },
  { name: '8: a connection on which nothing is said', octets: '', status: 408, closes: true },
  { name: '13: HTTP/0.9 in its one line', octets: 'GET /sign\r\n', status: [400, 408], closes: true },
  // One answer, not a second one when the patience ends as well.
  {
    name: '1: over the limit, and then nothing',
    octets: `POST /sign HTTP/1.1\r\n${host}Content-Length: 5000\r\n\r\n`,
    status: 413,
    closes: true,
  },
  {
    name: '1: over the limit, and then one octet a second',
    octets: `POST /sign HTTP/1.1\r\n${host}Content-Length: 5000\r\n\r\n`,
    status: 413,
    closes: true,
    options: { dribble: { octets: 'x', everyMs: 1000 } },
  },
  {
    name: '12: another path with a body that never comes',
    octets: `POST /other HTTP/1.1\r\n${host}Content-Length: 500\r\n\r\n`,
    status: 404,
    closes: true,
  },
  {
    name: '14: a stranger whose body never comes',
    octets: post('Content-Length: 500'),
    status: 403,
    closes: true,
    options: { from: strangerAddress },
  },
]

async function runRow(acmems: Acmems, row: Row, waitMs: number): Promise<void> {
  const result = await exchange(acmems.mgmtPort, row.octets, { waitMs, ...row.options })
  const before100 = result.replies.filter(({ status }) => status !== 100)
  if (row.name.startsWith('14:')) assert.equal(before100.length, result.replies.length, 'no 100 Continue was sent')
  const reply = assertOnlyReply({ ...result, replies: before100 }, row.status, row.closes === true)
  if (row.options?.noBody !== true) assertPlainLine(reply)
  if (row.says !== undefined) assert.match(reply.body, row.says)
  for (const [name, value] of Object.entries(row.alsoHeaders ?? {})) assert.equal(reply.headers.get(name), value)
}

/** Hundreds of clients that send their head one octet a second, while others come with good requests. */
async function attackSlowly(acmems: Acmems, csr: string): Promise<void> {
  const head = `POST /sign HTTP/1.1\r\n${host}X-Slow: `
  const attackers = Array.from({ length: 100 }, () =>
    exchange(acmems.mgmtPort, head, { waitMs: slowDeadlineMs, dribble: { octets: 'a', everyMs: 1000 } }),
  )
  const slowestMs: number[] = []
  for (let i = 0; i < 8; i++) {
    const startedMs = performance.now()
    const reply = await postCsr(acmems.signUrl, csr)
    assert.equal(reply.status, 200, reply.text)
    slowestMs.push(performance.now() - startedMs)
    await sleep(1000)
  }
  assert.ok(Math.max(...slowestMs) < 2000, `good requests took up to ${Math.max(...slowestMs)} ms`)
  for (const attacker of await Promise.all(attackers)) {
    assert.ok(attacker.closed, 'each slow connection is closed')
    assert.deepEqual(
      attacker.replies.map(({ status }) => status).filter((status) => status !== 408),
      [],
    )
  }
}

/** Goes on sending what was refused: the connection is cut, and nothing of it is kept in memory. */
function floodRefused(acmems: Acmems): Promise<{ sentBytes: number; closed: boolean }> {
  return new Promise((resolve) => {
    const socket = connect({ port: acmems.mgmtPort, host: '127.0.0.1' })
    const chunk = Buffer.alloc(1024 * 1024, 'x')
    let sentBytes = 0
    const finish = (closed: boolean) => {
      clearTimeout(deadline)
      socket.destroy()
      resolve({ sentBytes, closed })
    }
    const deadline = setTimeout(() => finish(false), slowDeadlineMs)
    const send = () => {
      while (socket.writable && sentBytes < 400 * 1024 * 1024) {
        sentBytes += chunk.length
        if (!socket.write(chunk)) return
      }
    }
    socket.on('drain', send)
    socket.on('error', () => undefined)
    socket.on('close', () => finish(true))
    socket.resume()
    socket.write(`POST /sign HTTP/1.1\r\n${host}Content-Length: 1000000000000\r\n\r\n`)
    send()
  })
}

type Run = { readonly code: number; readonly stdout: string; readonly stderr: string }

function run(command: string, args: readonly string[]): Promise<Run> {
  return new Promise((resolve) => {
    const child = execFile(command, args, { encoding: 'utf8', timeout: 20_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (child.exitCode ?? -1), stdout, stderr })
    })
  })
}

/** wget and curl as people have them, with 5 MB that they send before they read anything. */
async function refuseRealClients(t: TestContext, acmems: Acmems): Promise<void> {
  const [wget, curl] = [requirePeer(t, 'wget'), requirePeer(t, 'curl')]
  using folder = makeTempFolder('framing')
  const bodyFile = join(folder.path, 'big.csr')
  writeFileSync(bodyFile, 'x'.repeat(5 * 1024 * 1024))
  const wgetArgs = ['--no-config', '-q', '--server-response', '--tries=1', '--content-on-error', '-O', '-']
  const curlArgs = ['-q', '-sS', '-w', '%{http_code}', '-H', 'Expect:', '--data-binary', `@${bodyFile}`]
  const other = `http://127.0.0.1:${acmems.mgmtPort}/other`
  const cases: [number, RegExp, string, string[], string[]][] = [
    [413, /max-size/, acmems.signUrl, [], []],
    [403, /127\.0\.0\.9/, acmems.signUrl, [`--bind-address=${strangerAddress}`], ['--interface', strangerAddress]],
    [404, /POST \/sign/, other, [], []],
  ]
  for (const [status, says, url, forWget, forCurl] of cases) {
    // Several times: a connection that is reset too early is lost only now and then.
    for (let i = 0; i < 3; i++) {
      if (wget !== undefined) {
        const result = await run(wget.path, [...wgetArgs, ...forWget, `--post-file=${bodyFile}`, url])
        assert.equal(result.code, 8, `wget says that the server refused: ${JSON.stringify(result)}`)
        assert.match(result.stderr, new RegExp(`HTTP/1.1 ${status} `))
        assert.match(result.stdout, says)
      }
      if (curl !== undefined) {
        const result = await run(curl.path, [...curlArgs, ...forCurl, url])
        assert.equal(result.code, 0, JSON.stringify(result))
        assert.ok(result.stdout.endsWith(String(status)), result.stdout)
        assert.match(result.stdout, says)
      }
    }
  }
  if (curl !== undefined) {
    const failing = await run(curl.path, [...curlArgs, '--fail', acmems.signUrl])
    assert.equal(failing.code, 22, 'curl --fail: an HTTP error, not a broken connection')
  }
}

/** The most memory that the process ever had; only Linux tells. */
function peakRssBytes(pid: number): number | undefined {
  const statusFile = `/proc/${pid}/status`
  if (!existsSync(statusFile)) return undefined
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(statusFile, 'utf8')) ?? []
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
}

function countRows(acmems: Acmems): Record<string, number> {
  using database = new DatabaseSync(join(acmems.folder, 'state', 'state.db'), { readOnly: true })
  const countOf = (table: string) => Number(database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n)
  return { orders: countOf('orders'), certificates: countOf('certificates'), answers: countOf('answers') }
}

test('framing that is none', { concurrency: true }, async (t) => {
  await using acmems = await startAcmems(config)
  const csr = makeCsr({ names: ['www.example.org'] })
  const firstRssBytes = peakRssBytes(acmems.pid)

  await Promise.all([
    ...slowRows.map((row) => t.test(row.name, () => runRow(acmems, row, slowDeadlineMs))),
    t.test('8: 100 slow connections, and others are served meanwhile', () => attackSlowly(acmems, csr)),
    t.test('1: a refused client that goes on sending is cut off', async () => {
      const { sentBytes, closed } = await floodRefused(acmems)
      assert.ok(closed, `still connected after ${sentBytes} octets`)
      assert.ok(sentBytes < 128 * 1024 * 1024, `${sentBytes} octets were taken`)
    }),
    t.test('prompt rows', async (part) => {
      for (const row of promptRows) await part.test(row.name, () => runRow(acmems, row, promptMs))
    }),
    t.test('14: Expect that is met', async () => {
      const { replies } = await exchange(
        acmems.mgmtPort,
        `POST /sign HTTP/1.1\r\n${host}Expect: 100-continue\r\nContent-Length: ${csr.length}\r\n\r\n`,
        { until: (seen) => seen.length > 0 },
      )
      assert.deepEqual(
        replies.map(({ status }) => status),
        [100],
      )
    }),
    t.test('refusals are readable for wget and curl after 5 MB', (part) => refuseRealClients(part, acmems)),
  ])

  await t.test('afterwards everything is as before', async () => {
    assert.ok(!acmems.hasEnded(), acmems.log())
    const reply = await postCsr(acmems.signUrl, csr)
    assert.equal(reply.status, 200, reply.text)
    assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:www.example.org'])
    const grownBytes = (peakRssBytes(acmems.pid) ?? 0) - (firstRssBytes ?? 0)
    assert.ok(grownBytes < maxRssGrowthBytes, `memory grew by ${Math.round(grownBytes / 2 ** 20)} MiB`)
    assert.deepEqual(
      countRows(acmems),
      { orders: 0, certificates: 1, answers: 0 },
      'only the good request left a trace',
    )
    const lines = acmems.logLines()
    assert.deepEqual(
      lines.filter(({ path }) => path === '/smuggled'),
      [],
    )
    assert.deepEqual(
      lines.filter(({ level, status }) => level === 'error' || Number(status) >= 500),
      [],
    )
    assert.doesNotMatch(acmems.log(), /"stack"/)
  })
})
