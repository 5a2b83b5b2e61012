// Sealed boxes on the other side: an agent registers, fetches, opens and installs them, and nothing else that it is sent.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseDnsName } from '../src/acme/identifier.ts'
import { buildCertificate } from '../src/x509/certificate-builder.ts'
import { formatPem } from '../src/x509/pem.ts'
import { generatePrivateKey, privateKeyPem } from '../src/x509/private-key.ts'
import { parseRecipient } from '../src/x509/recipient.ts'
import { seal } from '../src/x509/sealed-key.ts'
import { type Acmems, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { certificatesOf, namesOf } from './host.ts'
import { dayMs, hostKey, hourMs, makeAuthority, stranger } from './issuance-world.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { startServer } from './reliability/rig.ts'
import { createTestClock } from './reliability/test-clock.ts'
import { readSoFar, until } from './until.ts'

const minuteMs = 60_000
const printers = '[auth "printers"]\nenroll = yes\ndomain = *.lab.test\nregister-boxes = yes\n'
const hubConfig = `[account]\ntype = local\n${printers}`

const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
const serialOf = (file: string) => openssl('x509', '-in', file, '-noout', '-serial').trim().replace('serial=', '')
const isPair = (folder: string) =>
  openssl('x509', '-in', join(folder, 'cert.pem'), '-noout', '-pubkey') ===
  openssl('pkey', '-in', join(folder, 'privkey.pem'), '-pubout')

async function enrolAt(hub: Acmems, folder: string): Promise<string> {
  const { out } = await runCommand(['enroll', 'printers', '--json', hub.configFile])
  const { token } = JSON.parse(out) as { token: string }
  const server = `http://127.0.0.1:${hub.mgmtPort}`
  const key = join(folder, 'agent.key')
  const enrolled = await runCommand(['agent', 'enroll', '--server', server, '--token', token, '--key', key])
  assert.equal(enrolled.code, 0, enrolled.err)
  return enrolled.out.slice(enrolled.out.indexOf('[issuer'))
}

const reload = (acmems: Acmems) => process.kill(acmems.pid, 'SIGHUP')

/** The state of the agent, and the configuration beside it. */
function writeConfig(folder: string, config: string): string {
  const file = join(folder, 'acmems.ini')
  writeFileSync(file, `[state]\nurl = sqlite:${join(folder, 'state', 'state.db')}\n${config}`)
  return file
}

test('an agent registers a box, installs it, mends it, and follows its renewals', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('box')
  using hubFolder = makeTempFolder('hub')
  await using hub = await startAcmems(hubConfig, { folder: hubFolder.path })
  const section = await enrolAt(hub, folder.path)
  const [place, told] = [join(folder.path, 'tls'), join(folder.path, 'told')]
  const config = `${section}[certificate "printer"]\ndomain = ink.lab.test\nbox = ink\ndirectory = ${place}\nhook = echo "$ACMEMS_SERIAL $ACMEMS_NAMES" >> ${told}\n`
  const configFile = writeConfig(folder.path, config)

  const early = await runCommand(['renew', configFile])
  assert.equal(early.code, 1)
  assert.match(early.err, /printer: failed: 127\.0\.0\.1:\d+ refused: there is no box of this name/)
  const registered = await runCommand(['agent', 'register', configFile])
  assert.deepEqual([registered.code, registered.out], [0, 'printer: the box ink is registered\n'], registered.err)
  assert.equal((await runCommand(['agent', 'register', 'nothing', configFile])).code, 2)
  await until('the box', () => hub.log().includes('"msg":"certificate installed"'))

  await using agent = await startAcmems(config, { folder: folder.path, command: 'agent' })
  await until('the certificate', () => readSoFar(told))
  assert.ok(isPair(place))
  const certificate = join(place, 'cert.pem')
  assert.deepEqual(namesOf(certificatesOf(readFileSync(certificate, 'utf8'))[0]), ['DNS:ink.lab.test'])
  const first = serialOf(certificate)
  assert.equal(readFileSync(told, 'utf8'), `${first} ink.lab.test\n`)
  assert.equal(statSync(join(place, 'privkey.pem')).mode & 0o777, 0o600)
  assert.ok(!existsSync(join(folder.path, 'state', 'certificates', 'printer', 'next.key.pem')))

  // What is taken away comes back without anybody asked, the key, too: out of the box that is here.
  const hubPort = hub.mgmtPort
  await hub.stop()
  rmSync(join(place, 'privkey.pem'))
  reload(agent)
  await until('the key', () => existsSync(join(place, 'privkey.pem')))
  assert.ok(isPair(place))
  assert.equal(serialOf(certificate), first)
  await until('the hook again', () => readFileSync(told, 'utf8').split('\n').length === 3)

  // Renewed there, with another key.
  const formerKey = openssl('pkey', '-in', join(place, 'privkey.pem'), '-pubout')
  await using again = await startAcmems(hubConfig, { folder: hub.folder, mgmtPort: hubPort })
  const renewed = await runCommand(['certs', 'renew', first, again.configFile])
  assert.equal(renewed.code, 0, renewed.err)
  await until('the other box', () => again.log().includes('"msg":"certificate installed"'))
  reload(agent)
  await until('the renewal', () => serialOf(certificate) !== first)
  assert.ok(isPair(place))
  assert.notEqual(openssl('pkey', '-in', join(place, 'privkey.pem'), '-pubout'), formerKey)
  await until('the hook', () => readFileSync(told, 'utf8').split('\n').length === 4)

  // Asked again and again, nothing happens.
  const asked = () => again.logLines().filter(({ msg }) => msg === 'request').length
  const before = asked()
  const second = serialOf(certificate)
  reload(agent)
  await sleep(3000)
  assert.equal(asked(), before, 'a 304 is no line at this level')
  assert.equal(serialOf(certificate), second)
  assert.equal(readFileSync(told, 'utf8').split('\n').length, 4)
})

// who sends something else --------------------------------------------------------------------------

const agentKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const authority = makeAuthority()

type Made = {
  readonly names?: readonly string[]
  readonly recipient?: KeyObject
  readonly certifiedKey?: KeyObject
  readonly fromMs?: number
}

/** As a server would make it. */
async function makeBox({ names = ['ink.lab.test'], recipient, certifiedKey, fromMs }: Made = {}) {
  const key = await generatePrivateKey('ec-256')
  const publicPem = (recipient ?? agentKey.publicKey).export({ type: 'spki', format: 'pem' }).toString()
  const notBeforeMs = fromMs ?? Date.now() - hourMs
  const der = buildCertificate({
    kind: 'leaf',
    identifiers: names.map(parseDnsName),
    publicKey: createPublicKey(certifiedKey ?? key),
    issuer: authority,
    notBeforeMs,
    notAfterMs: notBeforeMs + 90 * dayMs,
    serial: randomBytes(16),
  })
  const sealed = seal(privateKeyPem(key), parseRecipient(publicPem), { randomBytes })
  return `${sealed}${formatPem('CERTIFICATE', der)}${authority.pem}`
}

/** A hub that says what it is told to say. */
async function startStub() {
  let answer: { readonly status?: number; readonly text: string; readonly headers?: Record<string, string> } = {
    text: '',
  }
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers['if-none-match'] ?? '-'}`)
    response.writeHead(answer.status ?? 200, { 'content-type': 'text/plain', ...answer.headers })
    response.end(answer.text)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    say: (next: typeof answer) => {
      answer = next
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** An agent's configuration at that stub, with the agent's key. */
function configAt(folder: string, url: string, more: string): string {
  const keyFile = join(folder, 'agent.key')
  writeFileSync(keyFile, agentKey.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return `[issuer "hub"]\ntype = acmems\nserver = ${url}\nkey = ${keyFile}\n[mgmt]\ndefault-issuer = hub\n[certificate "printer"]\ndomain = ink.lab.test\nbox = ink\n${more}`
}

const flip = (text: string, at: number) => `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`

test('nothing is installed that was altered, is for others, is over, or is older', async () => {
  using folder = makeTempFolder('box')
  await using stub = await startStub()
  const at = (name: string) => join(folder.path, name)
  writeFileSync(at('roots.pem'), stranger.pem)
  const files = `key = ${at('ink.key')}\nfullchain = ${at('ink.pem')}\ncheck = test ! -e ${at('broken')}\n`
  const config = writeConfig(folder.path, configAt(folder.path, stub.url, files))
  const pinned = at('pinned.ini')
  writeFileSync(pinned, `${readFileSync(config, 'utf8')}ca-file = ${at('roots.pem')}\n`)
  const renew = (file = config) => runCommand(['renew', '--force', file])
  const remembered = join(folder.path, 'state', 'certificates', 'printer')

  const good = await makeBox()
  stub.say({ text: good, headers: { etag: '"1"' } })
  const first = await renew()
  assert.equal(first.code, 0, first.err)
  assert.match(first.out, /^printer: installed [0-9A-F]+, because there is none yet\n$/)
  const installed = () => [readFileSync(at('ink.key'), 'utf8'), readFileSync(at('ink.pem'), 'utf8')]
  const before = installed()

  const sealedEnd = good.indexOf('-----END CMS')
  const bad: [string, RegExp, string?][] = [
    [flip(good, sealedEnd - 40), /altered|cannot be opened/],
    [flip(good, 300), /altered|cannot be opened|another recipient/],
    [await makeBox({ recipient: generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey }), /another recipient/],
    [await makeBox({ names: ['ink.lab.test', 'bank.test'] }), /other names than asked for/],
    [await makeBox({ names: ['bank.test'] }), /other names than asked for/],
    [await makeBox({ certifiedKey: hostKey }), /for another key/],
    [await makeBox({ fromMs: Date.now() - 100 * dayMs }), /has expired/],
    [await makeBox({ fromMs: Date.now() + 2 * dayMs }), /not valid yet/],
    [await makeBox({ fromMs: Date.now() - 10 * dayMs }), /older than the one that is installed/],
    [good, /not one of the roots in ca-file/, pinned],
    [good.slice(sealedEnd + 20), /no sealed key in it/],
    [good.slice(0, good.lastIndexOf('-----END')), /cut off|damaged/],
    [`${good}${privateKeyPem(hostKey).toString()}`, /holds a PRIVATE KEY/],
    ['<html>hello</html>', /no sealed key in it/],
    ['x'.repeat(300_000), /did not answer/],
  ]
  for (const [text, said, file] of bad) {
    stub.say({ text, headers: { etag: '"2"' } })
    const outcome = await renew(file)
    assert.equal(outcome.code, 1, String(said))
    assert.match(outcome.err, said)
    assert.equal(outcome.out, '')
    assert.deepEqual(installed(), before, String(said))
  }
  assert.deepEqual(readdirSync(remembered).sort(), ['certificate.json', 'lock.db'])
  assert.ok(!readFileSync(join(remembered, 'certificate.json')).includes('PRIVATE'))

  for (const [status, headers, said] of [
    [503, { 'retry-after': '7' }, /busy/],
    [503, {}, /busy/],
    [403, {}, /refused: busy/],
    [401, {}, /does not take this machine's signature/],
    [304, {}, /status 304/],
  ] as const) {
    stub.say({ status, text: 'busy', headers })
    const outcome = await renew()
    assert.equal(outcome.code, 1)
    assert.match(outcome.err, said)
  }

  // What check refuses is taken back, and its key is nowhere then.
  stub.say({ text: await makeBox(), headers: { etag: '"3"' } })
  writeFileSync(at('broken'), '')
  assert.equal((await renew()).code, 1)
  assert.deepEqual(installed(), before)
  assert.ok(!existsSync(join(remembered, 'next.key.pem')))
  rmSync(at('broken'))
  assert.equal((await renew()).code, 0)
  assert.notDeepEqual(installed(), before)

  // Then it is asked with the ETag.
  stub.say({ status: 304, text: '' })
  const same = await runCommand(['renew', config])
  assert.deepEqual([same.code, same.out, same.err], [0, '', ''])
  assert.equal(stub.asked.at(-1), 'GET /box/ink "3"')
})

test('killed while it installs: a matching pair in the folder at every moment, and the new one in the end', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('box')
  await using stub = await startStub()
  const at = (name: string) => join(folder.path, name)
  // check holds it up in the middle of the installation.
  const places = (more: string) =>
    `${more}check = touch ${at('checking')}; while test -e ${at('held')}; do sleep 0.1; done\n`
  for (const kind of ['directory', 'paths']) {
    const place = at(kind)
    mkdirSync(place)
    const more =
      kind === 'directory'
        ? `directory = ${place}\n`
        : `key = ${place}/privkey.pem\ncertificate = ${place}/cert.pem\nfullchain = ${place}/fullchain.pem\n`
    const home = at(`${kind}-agent`)
    mkdirSync(home)
    const config = configAt(home, stub.url, places(more))
    const options = { folder: home, command: 'agent' } as const
    stub.say({ text: await makeBox(), headers: { etag: '"1"' } })
    let agent = await startAcmems(config, options)
    await using cleanup = new AsyncDisposableStack()
    cleanup.defer(() => agent.stop())
    const certificate = join(place, 'cert.pem')
    await until('the first', () => agent.log().includes('"msg":"certificate installed"'))
    const first = serialOf(certificate)

    rmSync(at('checking'), { force: true })
    writeFileSync(at('held'), '')
    stub.say({ text: await makeBox(), headers: { etag: '"2"' } })
    reload(agent)
    await until('the installation', () => existsSync(at('checking')))
    process.kill(agent.pid, 'SIGKILL')
    await until('its end', () => agent.hasEnded())
    assert.ok(isPair(place), kind)
    rmSync(at('held'))
    // The hub is away now: what was begun is finished with what is here.
    stub.say({ status: 500, text: 'away' })
    agent = await startAcmems(config, options)
    await until('the end of it', () => agent.log().includes('"msg":"certificate repaired"'))
    assert.ok(isPair(place), kind)
    assert.notEqual(serialOf(certificate), first)
    assert.ok(!existsSync(join(home, 'state', 'certificates', 'printer', 'next.key.pem')))

    // A pair that was torn, as by a power failure, is put right at the next start.
    process.kill(agent.pid, 'SIGKILL')
    await until('its end', () => agent.hasEnded())
    const second = serialOf(certificate)
    const target = realpathSync(place)
    writeFileSync(join(target, 'privkey.pem'), hostKey.export({ type: 'pkcs8', format: 'pem' }))
    agent = await startAcmems(config, options)
    await until('the repair', () => isPair(place))
    assert.equal(serialOf(certificate), second)
  }
})

test('a box needs an issuer that has some, and says itself what else is wrong', async () => {
  using folder = makeTempFolder('box')
  const base = configAt(folder.path, 'http://127.0.0.1:1', 'directory = /tmp/nowhere\n')
  for (const [config, said] of [
    [base.replace('default-issuer = hub', ''), /has a box, and its issuer "default" has none: name one of type acmems/],
    [`${base}reuse-key = yes\n`, /has a box: every one has a key of its own/],
    [`${base}subject = /CN=x\n`, /has a box: whoever makes it decides on subject/],
    [`${base}recipient = /x.pub\n`, /has a recipient and a box/],
    [`${base}box-interval = 5\n`, /less than 60 seconds/],
    [base.replace('box = ink', 'box = a/b'), /no name of letters/],
    [base.replace('box = ink', 'box-key = /x'), /has a box-key without a box/],
  ] as const) {
    const outcome = await runCommand(['check-config', writeConfig(folder.path, config)])
    assert.equal(outcome.code, 1, config)
    assert.match(outcome.err, said)
  }
  const paths = `key = /x/key\nfullchain = /x/crt\npkcs12 = /x/p12\npkcs12-password = geheim\nowner = root:mail\nhook = true\nprobe = yes\n`
  const file0 = writeConfig(folder.path, `${base}[certificate "b"]\ndomain = b.lab.test\n${paths}`)
  const { out } = await runCommand(['check-config', file0])
  assert.match(
    out,
    /^certificate "printer": ink\.lab\.test from issuer "hub"\n {2}key and certificate come in the box ink, /m,
  )
  assert.match(out, /^ {2}installed as key \/x\/key, fullchain \/x\/crt, pkcs12 \/x\/p12 \(of root:mail, /m)
  assert.match(out, /^ {2}then runs: true$/m)
  const json = await runCommand(['check-config', '--json', file0])
  assert.ok(!json.out.includes('geheim'))
  const { certificates } = JSON.parse(json.out) as { certificates: Record<string, unknown>[] }
  assert.deepEqual(
    certificates.map(({ name, kind, issuer, hook }) => [name, kind, issuer, hook]),
    [
      ['printer', 'fetched', 'hub', null],
      ['b', 'made', 'hub', 'true'],
    ],
  )
  const ed25519 = generateKeyPairSync('ed25519').privateKey
  const file = writeConfig(folder.path, base.replace('directory = /tmp/nowhere', `directory = ${folder.path}/tls`))
  writeFileSync(join(folder.path, 'agent.key'), ed25519.export({ type: 'pkcs8', format: 'pem' }))
  const refused = await runCommand(['agent', 'register', file])
  assert.equal(refused.code, 1)
  assert.match(refused.err, /nothing can be sealed to the key that requests are signed with \(ed25519\)/)
})

test('how often it looks: hourly, sooner when it is due, ever more rarely while the hub is away, and when that says', async () => {
  using folder = makeTempFolder('box')
  await using stub = await startStub()
  const clock = createTestClock()
  const place = join(folder.path, 'tls')
  const box = await makeBox({ fromMs: Date.now() - 50 * dayMs })
  stub.say({ text: box, headers: { etag: '"1"' } })
  await using agent = await startServer(
    configAt(folder.path, stub.url, `directory = ${place}\n`).replace('[mgmt]\ndefault-issuer = hub\n', '') +
      'issuer = hub\n',
    folder.path,
    clock,
  )
  await until('the box', () => agent.log().includes('"msg":"certificate installed"'))
  const askedIn = async (ms: number, stepMs: number) => {
    const before = stub.asked.length
    for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
      clock.pass(stepMs)
      // A machine that is busy misses a few steps.
      await sleep(40)
    }
    return stub.asked.length - before
  }
  const between = (n: number, low: number, high: number, what: string) =>
    assert.ok(n >= low && n <= high, `${what}: ${n} times`)
  stub.say({ status: 304, text: '' })
  between(await askedIn(12 * hourMs, 5 * minuteMs), 6, 14, 'in half a day')
  assert.equal(stub.asked.at(-1), 'GET /box/ink "1"')
  await askedIn(10 * dayMs, 2 * dayMs)
  between(await askedIn(3 * hourMs, 2 * minuteMs), 7, 22, 'in three hours when a new one should be there')
  stub.say({ status: 500, text: 'broken' })
  between(await askedIn(6 * hourMs, 2 * minuteMs), 3, 30, 'in six hours of a hub that is away')
  stub.say({ status: 503, text: 'not now', headers: { 'retry-after': '14400' } })
  await askedIn(hourMs, 5 * minuteMs)
  const before = stub.asked.length
  between(await askedIn(3 * hourMs, 5 * minuteMs), 0, 1, 'in three hours of Retry-After')
  // And then the new one is there.
  stub.say({ text: await makeBox(), headers: { etag: '"2"' } })
  const installed = () => agent.log().split('"msg":"certificate installed"').length - 1
  for (let passedMs = 0; installed() < 2 && passedMs < 6 * hourMs; passedMs += 5 * minuteMs)
    await askedIn(5 * minuteMs, 5 * minuteMs)
  assert.ok(stub.asked.length > before)
  await until('the new one', () => installed() === 2)
})
