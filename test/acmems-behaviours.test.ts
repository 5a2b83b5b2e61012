// What the Python acmems' own tests assert, and what was found wrong in it, each with the right answer. Configuration,
// HMAC, framing, request content, storages and DNS have files of their own; this is the rest, against real parts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLog } from '../src/log.ts'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { startPebble } from './peers/pebble.ts'
import { requireIpv6, requirePeer } from './peers/peers.ts'
import { until } from './until.ts'

async function statusOf(acmems: Acmems, names: readonly string[], addresses: readonly string[] = []): Promise<number> {
  return (await postCsr(acmems.signUrl, makeCsr({ names, addresses }))).status
}

test('who may have what: addresses, domains, blocks', async () => {
  await using acmems = await startAcmems(`[account]
type = local
[auth "elsewhere"]
ip = 127.8.0.0/16
domain = **.example.test
[auth "mine"]
ip = 10.0.0.0/8
ip = 127.0.0.0/24
domain = mail.example.test
domain = *.web.example.test
[auth "also mine"]
ip = 127.0.0.1
domain = other.example.test
ip-address = 127.23.0.0/16
[auth "wildcards"]
ip = 127.0.0.1
domain = *.wild.example.test
wildcard = yes
`)
  const cases: readonly (readonly [
    what: string,
    names: readonly string[],
    addresses: readonly string[],
    status: number,
  ])[] = [
    ['one domain of the block', ['mail.example.test'], [], 200],
    ['several domains of one block', ['mail.example.test', 'a.web.example.test'], [], 200],
    ['upper case is the same name', ['MAIL.Example.TEST'], [], 200],
    ['a block for another address', ['b.example.test'], [], 403],
    ['one foreign name among own ones', ['mail.example.test', 'foreign.example.org'], [], 403],
    ['names spread over two blocks', ['mail.example.test', 'other.example.test'], [], 403],
    ['a star stays in its label', ['a.b.web.example.test'], [], 403],
    ['a star is no wildcard', ['*.web.example.test'], [], 403],
    ['a wildcard that was granted', ['*.wild.example.test'], [], 200],
    ['a wildcard below a plain domain', ['*.mail.example.test'], [], 403],
    ['an address beside an allowed name', ['mail.example.test'], ['127.23.1.1'], 403],
    ['an address that was granted, with its name', ['other.example.test'], ['127.23.1.1'], 200],
    ['an address that was not', ['other.example.test'], ['127.24.1.1'], 403],
    ['an IPv4 address in IPv6 clothes', ['other.example.test'], ['::ffff:127.23.1.1'], 403],
  ]
  for (const [what, names, addresses, status] of cases)
    assert.equal(await statusOf(acmems, names, addresses), status, what)
})

test('all = yes still asks for the domain', async () => {
  await using acmems = await startAcmems('[account]\ntype = local\n[auth "open"]\nall = yes\ndomain = *.example.test\n')
  assert.equal(await statusOf(acmems, ['a.example.test']), 200)
  assert.equal(await statusOf(acmems, ['a.example.org']), 403)
})

test('no block: nobody', async () => {
  await using acmems = await startAcmems('[account]\ntype = local\n[verification "http"]\ntype = http01\nlistener =\n')
  assert.equal(await statusOf(acmems, ['a.example.test']), 403)
})

test('IPv6 callers', async (t) => {
  if (!requireIpv6(t)) return
  await using acmems = await startAcmems('[account]\ntype = local\n[auth "six"]\nip = ::1\ndomain = *.example.test\n', {
    args: ['--set', 'mgmt.listener=[::1]:0'],
  })
  const listening = acmems.logLines().find((line) => line.msg === 'serving')
  const [address = ''] = (listening?.mgmt ?? []) as string[]
  const reply = await postCsr(`http://${address}/sign`, makeCsr({ names: ['a.example.test'] }))
  assert.equal(reply.status, 200, reply.text)
})

test('a request without a common name, with forty names, with a valid common name outside the alternative names', async () => {
  await using acmems = await startAcmems(
    '[account]\ntype = local\n[auth "lab"]\nip = 127.0.0.1\ndomain = *.example.test\n',
  )
  const forty = Array.from({ length: 40 }, (_, index) => `n${index}.example.test`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: forty }), {
    'x-note': 'a 40-name request is under 4096 bytes',
  })
  assert.equal(namesOf(certificatesOf(reply.text)[0]).length, 40, reply.text)
  const both = await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test'], commonName: 'cn.example.test' }))
  assert.deepEqual(namesOf(certificatesOf(both.text)[0]), ['DNS:a.example.test', 'DNS:cn.example.test'])
  const only = await postCsr(acmems.signUrl, makeCsr({ commonName: 'only.example.test' }))
  assert.deepEqual(namesOf(certificatesOf(only.text)[0]), ['DNS:only.example.test'])
  const foreign = await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test'], commonName: 'cn.example.org' }))
  assert.deepEqual(
    [foreign.status, foreign.text],
    [403, 'cn.example.org: not in any auth block that accepts this caller\n'],
  )
  const prose = await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test'], commonName: 'My Server' }))
  assert.equal(prose.status, 400)
  assert.match(prose.text, /"My Server" is not a usable name/)
})

test('authorizations that are valid already are not answered again', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  // A nonce that is refused would be a second request for the same.
  await using both = await withPebble({ authzReuse: 100, nonceReject: 0 })
  for (let round = 0; round < 3; round++) {
    const reply = await postCsr(both.acmems.signUrl, makeCsr({ names: ['a.example.test'] }))
    assert.equal(reply.status, 200, reply.text)
  }
  assert.ok((both.pebble.requests().get('POST /chalZ/') ?? 0) <= 1, 'one challenge for three certificates')
})

test('a wildcard over http01 is a clear refusal, and orders nothing', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using both = await withPebble({}, 'wildcard = yes\n')
  const reply = await postCsr(both.acmems.signUrl, makeCsr({ names: ['*.example.test'] }))
  assert.equal(reply.status, 403, reply.text)
  assert.match(
    reply.text,
    /^\*\.example\.test can be validated only by dns-01; the configured verification is http-01\n$/,
  )
  assert.equal(both.pebble.requests().get('POST /order-plz'), undefined)
})

test('a name that does not answer: 421 with the name and the words of the CA', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using both = await withPebble({})
  await both.pebble.setA('dead.example.test', ['127.0.0.99'])
  const reply = await postCsr(both.acmems.signUrl, makeCsr({ names: ['a.example.test', 'dead.example.test'] }))
  assert.equal(reply.status, 421, reply.text)
  assert.match(reply.text, /dead\.example\.test: /)
  assert.equal(reply.text.trim().split('\n').length, 1)
})

test('what the responder showed is gone after the certificate, also after a failure', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using both = await withPebble({})
  await both.pebble.setA('dead.example.test', ['127.0.0.99'])
  await postCsr(both.acmems.signUrl, makeCsr({ names: ['a.example.test'] }))
  await postCsr(both.acmems.signUrl, makeCsr({ names: ['dead.example.test'] }))
  const { DatabaseSync } = await import('node:sqlite')
  using database = new DatabaseSync(`${both.acmems.folder}/state/state.db`, { readOnly: true })
  assert.deepEqual(
    database.prepare('select count(*) as left from answers').get(),
    Object.assign(Object.create(null), { left: 0 }),
  )
  assert.deepEqual(
    database.prepare('select count(*) as left from orders').get(),
    Object.assign(Object.create(null), { left: 0 }),
  )
})

test('the log: one line a request with id, client, names, outcome and duration; a caller cannot forge one', async () => {
  await using acmems = await startAcmems(
    '[account]\ntype = local\n[auth "lab"]\nip = 127.0.0.1\ndomain = *.example.test\n',
  )
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test'] }))
  const find = () => acmems.logLines().find((entry) => entry.requestId === reply.headers.get('x-request-id'))
  // Written after the answer.
  const line = await until('its line', find)
  assert.deepEqual(
    [line.client, line.names, line.outcome, line.status, typeof line.durationMs, line.block],
    ['127.0.0.1', ['a.example.test'], 'issued', 200, 'number', 'lab'],
  )
  const before = acmems.logLines().length
  await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test'], commonName: 'x\n{"msg":"forged"}' }))
  await until('the other line', () => acmems.logLines().length > before)
  await sleep(100)
  const added = acmems.logLines().slice(before)
  assert.deepEqual(
    added.map((entry) => entry.msg),
    ['request'],
  )
})

test('text for a terminal, JSON otherwise, and every line one line', async () => {
  const { mkdtempSync, readFileSync, rmSync } = await import('node:fs')
  const folder = mkdtempSync('/tmp/acmems-log-')
  try {
    const write = (terminal: boolean) => {
      const file = `${folder}/${terminal}.log`
      using log = createLog({ level: 'info', destination: file, format: 'auto' }, terminal ? 'terminal' : 'program')
      log.info('request', { names: ['a\u202eb\u0085\n'], error: new Error('outer', { cause: new Error('inner') }) })
      log.debug('not shown')
      return readFileSync(file, 'utf8')
    }
    const json = write(false)
    assert.equal(json.trim().split('\n').length, 1)
    assert.doesNotMatch(json, /[\u202e\u0085]/)
    const entry = JSON.parse(json) as { level: string; error: { cause: { message: string } } }
    assert.deepEqual([entry.level, entry.error.cause.message], ['info', 'inner'])
    const text = write(true)
    assert.match(text, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .*INFO .*request names=/)
    assert.equal(text.trim().split('\n').length, 1)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

async function withPebble(options: Parameters<typeof startPebble>[0], more = '') {
  const pebble = await startPebble(options)
  const acmems = await startAcmems(`${accountAndHttp01(pebble)}[auth "lab"]
ip = 127.0.0.1
domain = *.example.test
${more}`)
  return {
    pebble,
    acmems,
    async [Symbol.asyncDispose]() {
      await acmems.stop()
      await pebble.stop()
    },
  }
}
