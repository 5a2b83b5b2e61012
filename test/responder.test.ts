// The http-01 responder is open to the whole Internet: whatever comes, it answers, and only with what a solver left.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { type Listener, openListener } from '../src/http/listener.ts'
import type { FindAnswer } from '../src/responder/live-answers.ts'
import { createResponder } from '../src/responder/responder.ts'

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA'
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`
const prefix = '/.well-known/acme-challenge/'
const requestTimeoutMs = 1500
const promptMs = 3000
const brokenHost = 'broken.example.org'

type Question = Parameters<FindAnswer>[0]
/** All that the responder ever asked for. */
const questions: Question[] = []
const errors: unknown[] = []
const kept = new Map([
  [`${token} www.example.org`, keyAuthorization],
  [`${token} 192.0.2.1`, 'by IPv4'],
  [`${token} 2001:db8::1`, 'by IPv6'],
])

let listener: Listener
let port: number
before(async () => {
  const responder = createResponder(
    async (question) => {
      questions.push(question)
      if (question.host === brokenHost) throw new Error('the state is gone')
      return question.type === 'http-01' ? kept.get(`${question.token} ${question.host}`) : undefined
    },
    (error) => errors.push(error),
  )
  listener = await openListener('127.0.0.1:0', responder, { maxConnections: 200, requestTimeoutMs })
  port = Number(listener.boundAddress.split(':').at(-1))
})
after(() => listener.close(0))

type Exchange = {
  readonly status: number
  readonly head: string
  readonly body: string
  readonly closed: boolean
  readonly ms: number
}

/** Sends the octets as they are; ends when the server closes, or when one whole answer is there and nobody waits for more. */
function exchange(octets: string, waitUntilClosed = false, waitMs = promptMs): Promise<Exchange> {
  const startedMs = performance.now()
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    let text = ''
    const finish = (closed: boolean) => {
      clearTimeout(deadline)
      socket.destroy()
      const headEnd = text.indexOf('\r\n\r\n')
      resolve({
        status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0),
        head: headEnd < 0 ? text : text.slice(0, headEnd),
        body: headEnd < 0 ? '' : text.slice(headEnd + 4),
        closed,
        ms: performance.now() - startedMs,
      })
    }
    const deadline = setTimeout(() => finish(false), waitMs)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? Number.NaN)
      const headEnd = text.indexOf('\r\n\r\n')
      if (!waitUntilClosed && headEnd >= 0 && text.length >= headEnd + 4 + length) finish(false)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => finish(true))
    socket.write(octets, 'latin1')
  })
}

type Wish = { readonly path?: string; readonly host?: string; readonly method?: string; readonly version?: string }

function ask({
  path = `${prefix}${token}`,
  host = 'www.example.org',
  method = 'GET',
  version = '1.1',
}: Wish): Promise<Exchange> {
  const hostLine = host === '' ? '' : `Host: ${host}\r\n`
  return exchange(`${method} ${path} HTTP/${version}\r\n${hostLine}Connection: close\r\n\r\n`, true)
}

/** Refused without anything having been looked up. */
async function assertNotAsked(wish: Wish, ...statuses: number[]): Promise<void> {
  const before = questions.length
  const { status, body } = await ask(wish)
  assert.ok(statuses.includes(status), `status ${status}: ${body}`)
  assert.deepEqual(questions.slice(before), [], 'what is no token is not looked up')
  assert.ok(!body.includes('.9jg46'), 'no answer')
  assert.doesNotMatch(body, /root:|Error|\bat .*:\d+/)
}

test('an answer that a solver left', async () => {
  const { status, body, head } = await ask({})
  assert.equal(status, 200)
  assert.equal(body, keyAuthorization, 'exactly the key authorization, without a line end')
  assert.match(head, /content-type: (text\/plain|application\/octet-stream)/i)
  assert.deepEqual(questions.at(-1), { type: 'http-01', token, host: 'www.example.org' })
})

describe('60: tokens that are none', () => {
  const paths = [
    '../../etc/passwd',
    '../../../../../../etc/passwd',
    '%2e%2e%2f%2e%2e%2fetc%2fpasswd',
    '..%2f..%2fetc/passwd',
    '%2e%2e/%2e%2e/etc/passwd',
    '..%5c..%5cetc%5cpasswd',
    '....//....//etc/passwd',
    '/etc/passwd',
    `${token}%00`,
    `${token}%00.txt`,
    '%00',
    '%',
    '%zz',
    '%c0%ae%c0%ae/',
    '',
    '.',
    '..',
    `${token}/`,
    `${token}/x`,
    `/${token}`,
    `./${token}`,
    `x/../${token}`,
    `${token};x`,
    `${token}#x`,
    `${token}.`,
    `${token}=`,
    `${token}%20`,
    `${token}%0a`,
    token.replace('-', '%2d'),
    `${token}+`,
    '__proto__%',
    "'%20OR%201=1--",
    'a'.repeat(129),
    'a'.repeat(10_000),
  ]
  for (const path of paths) {
    test(path.slice(0, 60) || '(empty)', () => assertNotAsked({ path: `${prefix}${path}` }, 404))
  }

  test('1 MB', async () => {
    const before = questions.length
    const { status } = await ask({ path: `${prefix}${'a'.repeat(1024 * 1024)}` })
    // Refused by its length alone, before anybody asks what it is.
    assert.ok([404, 414, 431].includes(status), `status ${status}`)
    assert.equal(questions.length, before)
  })

  test('names that every JavaScript object has', async () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      assert.equal((await ask({ path: `${prefix}${name}` })).status, 404)
    }
  })

  const otherPaths = [
    '/',
    '/.well-known/acme-challenge',
    `/.well-known/acme-challenge2/${token}`,
    `/.WELL-KNOWN/acme-challenge/${token}`,
    `/.well-known//acme-challenge/${token}`,
    `/x/../.well-known/acme-challenge/${token}`,
    `/%2ewell-known/acme-challenge/${token}`,
    `//.well-known/acme-challenge/${token}`,
    `/?/.well-known/acme-challenge/${token}`,
    `/sign`,
    '*',
  ]
  for (const path of otherPaths) test(path, () => assertNotAsked({ path }, 404))
})

describe('61: answers for somebody else', () => {
  test('an unknown token', async () => {
    const { status, body } = await ask({ path: `${prefix}${'A'.repeat(43)}` })
    assert.equal(status, 404)
    assert.ok(!body.includes('A'.repeat(43)), 'what was asked is not repeated')
  })
  test('the token in another case', async () => {
    assert.equal((await ask({ path: `${prefix}${token.toUpperCase()}` })).status, 404)
  })
  for (const host of [
    'example.org',
    'www.example.com',
    'www.example.org.example.com',
    'xwww.example.org',
    'localhost',
    '127.0.0.1',
    '192.0.2.2',
    '[2001:db8::2]',
    '*.example.org',
    '__proto__',
  ]) {
    test(`the right token for ${host}`, async () => assert.equal((await ask({ host })).status, 404))
  }
  test('X-Forwarded-Host changes nothing', async () => {
    const { status } = await exchange(
      `GET ${prefix}${token} HTTP/1.1\r\nHost: example.org\r\nX-Forwarded-Host: www.example.org\r\nForwarded: host=www.example.org\r\n\r\n`,
    )
    assert.equal(status, 404)
  })
})

describe('62: spellings of Host', () => {
  const matching: readonly [string, string][] = [
    ['WWW.EXAMPLE.ORG', keyAuthorization],
    ['Www.Example.Org:80', keyAuthorization],
    ['www.example.org:80', keyAuthorization],
    ['www.example.org:5002', keyAuthorization],
    ['www.example.org.', keyAuthorization],
    ['www.example.org.:80', keyAuthorization],
    ['192.0.2.1', 'by IPv4'],
    ['192.0.2.1:80', 'by IPv4'],
    ['[2001:db8::1]', 'by IPv6'],
    ['[2001:db8::1]:80', 'by IPv6'],
    ['[2001:DB8:0:0:0:0:0:1]', 'by IPv6'],
    ['[2001:0db8:0000::0001]:80', 'by IPv6'],
  ]
  for (const [host, answer] of matching) {
    test(`${host} matches`, async () => {
      const { status, body } = await ask({ host })
      assert.equal(status, 200)
      assert.equal(body, answer)
    })
  }

  const impossible = [
    '',
    ':80',
    '.',
    '..',
    'www.example.org..',
    'www.example.org:',
    'www.example.org:port',
    'www.example.org:80:80',
    'www.example.org:123456',
    'www.example.org/',
    'www.example.org/../www.example.org',
    'http://www.example.org',
    'user@www.example.org',
    'www.example.org, example.com',
    'www.example.org www.example.org',
    '2001:db8::1',
    '[]',
    '[]:80',
    '[:]',
    '[::::]',
    '[.]',
    '[1.2.3.4]',
    '[192.0.2.1]',
    '[2001:db8::1',
    '[2001:db8::g]',
    '[1:2:3:4:5:6:7:8:9]',
    '[2001:db8::1%25eth0]',
    '[::ffff:300.1.1.1]',
    `[${'f:'.repeat(3000)}]`,
    'a'.repeat(8000),
    `${'a.'.repeat(4000)}:80`,
    '\xff\xfe',
    'b\xfccher.example.org',
  ]
  for (const host of impossible) {
    test(`${host.slice(0, 40) || '(none)'} does not, and harms nobody`, async () => {
      const { status, body } = await ask({ host })
      assert.ok(status === 404 || status === 400, `status ${status}`)
      assert.ok(!body.includes('.9jg46'))
      assert.equal((await ask({})).status, 200, 'it goes on answering')
    })
  }

  test('no Host in HTTP/1.0', async () => {
    const { status } = await ask({ host: '', version: '1.0' })
    assert.ok(status === 404 || status === 400, `status ${status}`)
  })
  test('a Host in HTTP/1.0', async () => assert.equal((await ask({ version: '1.0' })).body, keyAuthorization))
  test('two of them', async () => {
    // RFC 9112 §3.2: more than one Host line is 400. Which one a server in front believes is anybody's guess.
    for (const hosts of ['Host: www.example.org\r\nHost: example.com', 'Host: example.com\r\nHost: www.example.org']) {
      const { status } = await exchange(`GET ${prefix}${token} HTTP/1.1\r\n${hosts}\r\n\r\n`)
      assert.ok(status === 404 || status === 400, `status ${status}`)
    }
  })
})

describe('63: methods', () => {
  test('HEAD', async () => {
    const { status, body, head } = await ask({ method: 'HEAD' })
    assert.equal(status, 200)
    assert.equal(body, '', 'no body')
    assert.match(head, new RegExp(`content-length: ${keyAuthorization.length}\\b`, 'i'))
    assert.equal((await ask({ method: 'HEAD', host: 'example.com' })).status, 404)
  })
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
    test(method, async () => {
      const before = questions.length
      const { status, head, body } = await ask({ method })
      assert.equal(status, 405)
      assert.match(head, /^allow: GET, HEAD$/im)
      assert.ok(!body.includes('.9jg46'))
      assert.equal(questions.length, before)
    })
  }
  test('POST with a large body is refused readably', async () => {
    const { status } = await exchange(
      `POST ${prefix}${token} HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 3000000\r\n\r\n${'x'.repeat(3_000_000)}`,
    )
    assert.equal(status, 405)
  })
  test('GET with a body gets the answer and nothing is read as a second request', async () => {
    const before = questions.length
    const smuggled = `GET ${prefix}smuggled HTTP/1.1\r\nHost: www.example.org\r\n\r\n`
    const { status, body } = await exchange(
      `GET ${prefix}${token} HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
      true,
    )
    assert.equal(status, 200)
    assert.equal(body, keyAuthorization)
    assert.equal(questions.length, before + 1)
  })
  test('a query changes nothing', async () => {
    for (const query of ['?', '?x=1', '?/../', '?%zz']) {
      assert.equal((await ask({ path: `${prefix}${token}${query}` })).body, keyAuthorization)
    }
  })
})

describe('slow and broken clients', { concurrency: true }, () => {
  const slow: readonly [string, string][] = [
    ['nothing is said', ''],
    ['half a request line', 'GET /.well-kn'],
    ['half a head', `GET ${prefix}${token} HTTP/1.1\r\nHost: www.exa`],
    [
      'a body that never comes',
      `POST ${prefix}${token} HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 5\r\n\r\n`,
    ],
  ]
  for (const [name, octets] of slow) {
    test(`${name}: closed in time`, async () => {
      const { closed, status, ms } = await exchange(octets, true, requestTimeoutMs + 4000)
      assert.ok(closed, `still open after ${ms} ms`)
      assert.ok([0, 405, 408].includes(status), `status ${status}`)
    })
  }
  test('100 at once, and others are served meanwhile', async () => {
    const attackers = Array.from({ length: 100 }, () => exchange(`GET ${prefix}`, true, requestTimeoutMs + 4000))
    for (let i = 0; i < 5; i++) {
      const { status, ms } = await ask({})
      assert.equal(status, 200)
      assert.ok(ms < 1000, `took ${ms} ms`)
    }
    for (const { closed } of await Promise.all(attackers)) assert.ok(closed)
  })
  test('garbage', async () => {
    for (const octets of [
      '\0\0\0\0\r\n\r\n',
      '\x16\x03\x01\x00\xa5\x01',
      'GET\r\n\r\n',
      `GET ${prefix}${token}\r\n\r\n`,
      `${'A'.repeat(20_000)}`,
    ]) {
      const { status, body } = await exchange(octets, true, requestTimeoutMs + 4000)
      assert.ok([0, 400, 404, 408, 431].includes(status), `status ${status} for ${JSON.stringify(octets.slice(0, 40))}`)
      assert.ok(!body.includes('.9jg46'))
    }
  })
})

test('a state that cannot be asked is 503 without its reason, and is told', async () => {
  const { status, body } = await ask({ host: brokenHost })
  assert.equal(status, 503)
  assert.doesNotMatch(body, /state|gone/)
  assert.equal(errors.length, 1)
})

test('afterwards it answers as before', async () => {
  assert.equal((await ask({})).body, keyAuthorization)
  for (const { host, token: asked } of questions) {
    assert.match(asked, /^[A-Za-z0-9_-]{1,128}$/)
    assert.equal(host, host.toLowerCase())
  }
})
