// What "acmems responder" has and can reach, and what somebody at its socket can do: nothing but ask for single answers.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, globSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { dirname, join, relative, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { openAnswersDoor } from '../src/answers/answers-door.ts'
import { createAskedAnswers } from '../src/answers/asked-answers.ts'
import { createAsker } from '../src/channel/asker.ts'
import { ownRights } from '../src/channel/permissions.ts'
import { systemClock } from '../src/clock.ts'
import { createLog } from '../src/log.ts'
import { placeOf } from '../src/state/places.ts'
import { makeTempFolder } from './peers/child.ts'
import { dig } from './peers/dig.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { sources } from './program.ts'
import { makeResponderWorld, type ResponderWorld } from './responder-world.ts'
import { until } from './until.ts'

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA'
const answer = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`
const path = `/.well-known/acme-challenge/${token}`
const [strangerUid, strangerGid] = [64_513, 64_514]
const isRoot = process.getuid?.() === 0

function configOf(ports: { readonly http: number; readonly dns: number }): string {
  return `[account]\ntype = local
[auth "lab"]\nip = 127.0.0.1\ndomain = *.lab.test
[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${ports.http}
[verification "dns"]\ntype = dns01-server\nlistener = 127.0.0.1:${ports.dns}\nzone = acme.example.net\nns = ns1.example.net\nself-check = no\n`
}

/** Two live answers, as solvers leave them. */
function leaveAnswers(folder: string): void {
  using database = new DatabaseSync(join(folder, 'state', 'state.db'), { timeout: 10_000 })
  const insert = database.prepare(
    'insert or replace into answers (type, token, host, key_authorization, expires_at_ms, place) values (?, ?, ?, ?, ?, ?)',
  )
  const endMs = Date.now() + 600_000
  const owner = '_acme-challenge.www.example.org'
  insert.run('http-01', token, 'www.example.org', answer, endMs, null)
  insert.run('dns-01', token, owner, 'v'.repeat(43), endMs, placeOf(owner))
}

async function get(port: number, octets: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => undefined)
  socket.write(octets)
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text
}
const fetchAnswer = (port: number) =>
  get(port, `GET ${path} HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n\r\n`)

const importLine = /^(?:import|export)\b( type\b)?(?:[^'";=(]* from '([^']+)'| '([^']+)')/gm

test('the command knows neither state nor keys nor plugins nor how to reach a network', () => {
  const seen = new Set<string>()
  const outside = new Set<string>()
  const visit = (file: string): void => {
    if (seen.has(file)) return
    seen.add(file)
    const text = readFileSync(file, 'utf8')
    for (const [, isType, from, alone] of text.matchAll(importLine)) {
      const specifier = from ?? alone ?? ''
      if (isType !== undefined) continue
      if (specifier.startsWith('.')) visit(resolve(dirname(file), specifier))
      else outside.add(specifier)
    }
    assert.doesNotMatch(text, /\bimport\(/, `${file} loads something later`)
  }
  visit(resolve(sources, '../cli/responder.ts'))
  const files = [...seen].map((file) => relative(resolve(sources, '..'), file)).sort()
  const forbidden =
    /^(state|plugins|acme-client|accountd|remote-key|managed|issuance|policy|sign|pick-up|installation|runtime|daemon|account-key|http\/http-client|config\/(?!environment|paths))/
  assert.deepEqual(
    files.filter((file) => forbidden.test(file)),
    [],
  )
  assert.ok(files.length > 20, files.join(' '))
  const allowed =
    /^(node:(buffer|child_process|crypto|dgram|fs|http|https|net|os|path|timers\/promises|tls|url)|commander|pino|@peculiar\/asn1-\w+)$/
  assert.deepEqual(
    [...outside].filter((name) => !allowed.test(name)),
    [],
  )
})

test('as another user: it answers, and has and reaches nothing else', async (t) => {
  if (!isRoot) return t.skip('only root can start it as somebody else')
  if (spawnSync('setpriv', ['--version']).error !== undefined) return t.skip('setpriv is not on this machine')
  if (!requirePeer(t, 'dig')) return
  const ports = { http: await freePort(), dns: await freePort() }
  const launcher = [
    ...['setpriv', `--reuid=${strangerUid}`, `--regid=${strangerGid}`, '--clear-groups', '--no-new-privs'],
    ...['--inh-caps=-all', '--bounding-set=-all', 'env', '-i', 'PATH=/nonexistent'],
  ]
  const config = (folder: string) => `${configOf(ports)}[mgmt]\nlistener = unix:${join(folder, 'mgmt')}\n`
  await using world = await makeResponderWorld(config, { group: strangerGid, launcher })
  leaveAnswers(world.folder)
  assert.match(await fetchAnswer(ports.http), new RegExp(`^HTTP/1.1 200 [^]*\r\n\r\n${answer}$`))
  assert.match((await dig(ports.dns, 'www.example.org.acme.example.net', 'TXT')).answer.join(), /"v{43}"/)

  const { pid } = world.responder
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim()
  assert.deepEqual(
    ['Uid', 'Gid', 'Groups', 'NoNewPrivs', 'CapEff', 'CapPrm', 'CapBnd', 'CapAmb'].map((name) =>
      field(name)?.replaceAll('\t', ' '),
    ),
    [...[strangerUid, strangerGid].map((id) => Array(4).fill(id).join(' ')), '', '1', ...Array(4).fill('0'.repeat(16))],
  )
  assert.deepEqual(readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').filter(Boolean), ['PATH=/nonexistent'])
  const descriptors = globSync(`/proc/${pid}/fd/*`).map((file) => readlinkSync(file))
  const strange = descriptors.filter(
    (target) =>
      !/^(socket:|pipe:|anon_inode:\[(eventpoll|eventfd|io_uring|timerfd)\]|\/dev\/null$)/.test(target) &&
      !target.startsWith(`${world.folder}/responder-`),
  )
  assert.deepEqual(strange, [])
  const listening = spawnSync('ss', ['-Hlntup'], { encoding: 'utf8' }).stdout ?? ''
  if (listening !== '')
    assert.deepEqual(
      listening
        .split('\n')
        .filter((line) => line.includes(`pid=${pid},`))
        .map((line) => Number(/:(\d+)\s/.exec(line)?.[1]))
        .sort(),
      [ports.http, ports.dns, ports.dns].sort(),
    )

  // The same user, with all that Node.js can do.
  const management = join(world.folder, 'mgmt')
  const tries = `
    const fs = require('node:fs'), net = require('node:net')
    const may = (name, act) => { try { act(); console.log(name) } catch {} }
    may('state', () => fs.readFileSync(${JSON.stringify(join(world.folder, 'state', 'state.db'))}))
    may('list', () => fs.readdirSync(${JSON.stringify(join(world.folder, 'state'))}))
    may('memory', () => fs.openSync('/proc/${world.server.pid}/mem', 'r'))
    may('environment', () => fs.readFileSync('/proc/${world.server.pid}/environ'))
    may('kill', () => process.kill(${world.server.pid}, 0))
    may('place', () => fs.writeFileSync(${JSON.stringify(`${world.socket}2`)}, ''))
    may('remove', () => fs.unlinkSync(${JSON.stringify(world.socket)}))
    net.connect(${JSON.stringify(management)}).on('connect', () => console.log('management')).on('error', (e) => console.log(e.code))`
  const tried = spawnSync('setpriv', [...launcher.slice(1, 8), process.execPath, '-e', tries], {
    encoding: 'utf8',
    cwd: '/',
  })
  assert.deepEqual([tried.stdout.trim(), tried.stderr], ['EACCES', ''])
})

test('sockets that systemd opened, TCP and UDP, are used where they are bound; nothing of the network is opened', async (t) => {
  if (!requirePeer(t, 'dig')) return
  for (const tool of ['systemd-socket-activate', 'strace'])
    if (spawnSync(tool, ['--version']).error !== undefined) return t.skip(`${tool} is not on this machine`)
  if (spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0) return t.skip('nothing may be traced here')
  const ports = { http: await freePort(), dns: await freePort() }
  using folder = makeTempFolder('trace')
  const trace = join(folder.path, 'trace')
  // One kind of socket each; the second passes on what it was given by the first.
  const activate = (...flags: string[]) => ['systemd-socket-activate', ...flags]
  const launcher = [
    ...activate('-l', `127.0.0.1:${ports.http}`, '-l', `127.0.0.1:${ports.dns}`),
    ...activate('-d', '-l', `127.0.0.1:${ports.dns}`),
    ...['strace', '-D', '-f', '-qq', '-e', 'trace=socket,bind', '-o', trace],
  ]
  await using world = await makeResponderWorld(configOf(ports), { launcher, poke: ports.http })
  leaveAnswers(world.folder)
  assert.match(
    world.responder.log(),
    new RegExp(
      `"sockets":\\["tcp 127.0.0.1:${ports.http}","tcp 127.0.0.1:${ports.dns}","udp 127.0.0.1:${ports.dns}"\\]`,
    ),
  )
  assert.match(await fetchAnswer(ports.http), /^HTTP\/1.1 200 /)
  const name = 'www.example.org.acme.example.net'
  for (const how of ['+notcp', '+tcp']) assert.match((await dig(ports.dns, name, 'TXT', how)).answer.join(), /"v{43}"/)
  const calls = readFileSync(trace, 'latin1')
  assert.match(calls, /AF_UNIX/)
  assert.doesNotMatch(calls, /AF_INET/)
})

/** Somebody at the socket, who says what he likes. */
function stranger(socket: string): Socket & { readonly said: () => string } {
  const connection = connect({ path: socket })
  let said = ''
  connection.setEncoding('latin1').on('data', (chunk) => {
    said += chunk
  })
  connection.on('error', () => undefined)
  return Object.assign(connection, { said: () => said })
}

async function converse(socket: string, octets: string): Promise<string> {
  const connection = stranger(socket)
  connection.end(octets, 'latin1')
  await new Promise((resolve) => connection.once('close', resolve))
  return connection.said()
}

/** GET and HEAD of a token that is there; everything else is nothing, or refused (the rows of lacme's webserver). */
async function assertRows(port: number): Promise<void> {
  const head = 'Host: www.example.org\r\nConnection: close\r\n\r\n'
  const prefix = '/.well-known/acme-challenge/'
  const rows: readonly [string, RegExp][] = [
    [`GET ${path} HTTP/1.1\r\n${head}`, new RegExp(`^HTTP/1.1 200 [^]*content-length: 87[^]*\r\n\r\n${answer}$`)],
    [`GET ${path} HTTP/1.0\r\n${head}`, /^HTTP\/1.1 200 /],
    [`HEAD ${path} HTTP/1.1\r\n${head}`, /^HTTP\/1.1 200 .*content-length: 87.*\r\n\r\n$/s],
    [`GET ${path}x HTTP/1.1\r\n${head}`, /^HTTP\/1.1 404 /],
    [`HEAD ${path}x HTTP/1.1\r\n${head}`, /^HTTP\/1.1 404 .*\r\n\r\n$/s],
    ...['', '.', '..', '../', 'a.b', `${token}/`, `../${token}`, '../../../etc/passwd', '%2e%2e%2fS'].map(
      (wrong): [string, RegExp] => [`GET ${prefix}${wrong} HTTP/1.1\r\n${head}`, /^HTTP\/1.1 404 /],
    ),
    [`GET http://www.example.org${path} HTTP/1.1\r\n${head}`, /^HTTP\/1.1 404 /],
    [`GET / HTTP/1.1\r\n${head}`, /^HTTP\/1.1 404 /],
    ...['POST', 'OPTIONS', 'DELETE'].map((method): [string, RegExp] => [
      `${method} ${path} HTTP/1.1\r\n${head}`,
      /^HTTP\/1.1 405 /,
    ]),
    [`GET ${path} HTTP/2.0\r\n${head}`, /^HTTP\/1.1 400 /],
    [`GET ${path} HTTP/1.1\nHost: www.example.org\nConnection: close\n\n`, /^HTTP\/1.1 400 /],
  ]
  for (const [octets, expected] of rows) assert.match(await get(port, octets), expected, octets)
}

test('a hostile responder: nothing is listed, nothing written, and its garbage is its own', async () => {
  const ports = { http: await freePort(), dns: await freePort() }
  await using world = await makeResponderWorld(configOf(ports))
  leaveAnswers(world.folder)
  const say = (...lines: object[]) =>
    converse(world.socket, lines.map((line, id) => `${JSON.stringify({ id, ...line })}\r\n`).join(''))

  await assertRows(ports.http)
  const told = await say(
    { ask: 'token', token, host: 'www.example.org' },
    { ask: 'token', token, host: 'other.example.org' },
  )
  assert.match(told, /^\{"tell":"setup"/)
  assert.deepEqual(told.trim().split('\r\n').slice(1), [
    `{"id":0,"answer":{"found":"${answer}"}}`,
    '{"id":1,"answer":{}}',
  ])

  const questions: object[] = [
    ...['list', 'answers', 'put', 'remove', 'setup', 'state', 'constructor', '__proto__', 'toString', ''].map(
      (ask) => ({ ask }),
    ),
    ...['*', '', '%', '../x', "' or 1=1 --", 'a'.repeat(129), 7, null, [token], { like: '%' }].map((token) => ({
      ask: 'token',
      token,
      host: 'www.example.org',
    })),
    ...['%', '*', '', 7, null, ['www.example.org'], { length: 1 }].flatMap((host) => [
      { ask: 'token', token, host },
      { ask: 'shown', host },
    ]),
    ...['%', '_acme-challenge.%', '*', '', 7, null, []].map((owner) => ({ ask: 'texts', owner, other: owner })),
    { ask: 'texts', owner: 'a'.repeat(1200), other: '' },
    { ask: 'token', token, host: 'a'.repeat(1200) },
    { ask: 'listening', addresses: { 'http-01': Array(101).fill('x') } },
    { ask: 'listening' },
    { ask: 'trouble', why: 7 },
  ]
  const replies = await say(...questions)
  assert.equal(replies.split('"id":').length - 1, questions.length, 'each has its reply')
  assert.ok(!replies.includes('9jg46') && !replies.includes('vvv') && !replies.includes('www.example.org'), replies)
  assert.doesNotMatch(replies, /sqlite|database|state\.db|node:|at \w+ \(/i)

  for (const garbage of [
    '\0'.repeat(100),
    'GET / HTTP/1.1\r\n\r\n',
    '{}\n',
    '[]\r\n',
    '{"id":1}\r\n',
    '{"id":"x","ask":"token"}\r\n',
    `${'['.repeat(8000)}\r\n`,
    'x'.repeat(100_000),
    `{"id":1,"ask":"${'x'.repeat(9000)}"}\r\n`,
  ]) {
    const reply = await converse(world.socket, garbage)
    assert.doesNotMatch(reply, /"answer"|"error"/, garbage.slice(0, 40))
  }
  // Half a line and silence, many at once, questions whose answers nobody reads: the responder goes on answering.
  const silent = Array.from({ length: 6 }, () => stranger(world.socket))
  const greedy = stranger(world.socket)
  greedy.pause()
  greedy.write(`${JSON.stringify({ id: 1, ask: 'token', token, host: 'www.example.org' })}\r\n`.repeat(50_000))
  for (const one of silent) one.write('{"id":1,')
  for (let i = 0; i < 60; i++) await say({ ask: 'trouble', why: 'y'.repeat(4000) })
  await answersAgain(world, ports)
  for (const one of [...silent, greedy]) one.destroy()
  await answersAgain(world, ports)

  const log = world.server.log()
  assert.ok(log.split('\n').length < 120, 'a log that grows no faster than one reads')
  assert.doesNotMatch(log, /y{501}/)
  using database = new DatabaseSync(join(world.folder, 'state', 'state.db'), { timeout: 10_000 })
  assert.deepEqual({ ...database.prepare('select count(*) as count from answers').get() }, { count: 2 })
  assert.equal(statSync(world.socket).mode & 0o777, 0o660)
})

/** Pushed out by others it comes again by itself. */
async function answersAgain(world: ResponderWorld, { http }: { readonly http: number }): Promise<void> {
  await until('the answer', async () => (await fetchAnswer(http)).endsWith(answer), { logs: [world.responder] })
}

test('a socket in a folder where others may write is neither opened nor asked', async () => {
  using folder = makeTempFolder('loose')
  const socket = join(folder.path, 'S')
  const nothing = createAskedAnswers(() => Promise.reject(new Error('nobody is asked')))
  const [log, signal] = [
    createLog({ level: 'error', destination: '/dev/null', format: 'json' }, 'program'),
    AbortSignal.abort(),
  ]
  const door = await openAnswersDoor(socket, nothing, { clock: systemClock, log, signal })
  chmodSync(folder.path, 0o775)
  await using asker = createAsker({
    ...{ path: socket, who: ownRights(), clock: systemClock },
    maxLineBytes: 1000,
    answerMs: 500,
  })
  await assert.rejects(
    asker.ask('below', { name: 'a', other: 'a' }),
    /Insecure permissions on .*others can write there/,
  )
  await assert.rejects(openAnswersDoor(socket, nothing, { clock: systemClock, log, signal }), /others can write there/)
  chmodSync(folder.path, 0o755)
  await assert.rejects(asker.ask('below', { name: 'a', other: 'a' }), /the answers cannot be looked up now/)
  await door.close()
})
