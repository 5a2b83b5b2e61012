// A server that is no longer ours, at the socket of acmems-install: whatever it says, nothing is installed that the
// installer's own configuration does not allow.
import assert from 'node:assert/strict'
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseDnsName } from '../src/acme/identifier.ts'
import { AnswerError, createAsker } from '../src/channel/asker.ts'
import { ownRights } from '../src/channel/permissions.ts'
import { systemClock } from '../src/clock.ts'
import { buildCertificate } from '../src/x509/certificate-builder.ts'
import { parseCsrPem } from '../src/x509/csr.ts'
import { formatPem } from '../src/x509/pem.ts'
import { type InstallerWorld, makeInstallerWorld } from './installer-world.ts'
import { readSoFar, until, untilLogged } from './until.ts'

const dayMs = 86_400_000
const makeKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

function makeCa(commonName: string) {
  const key = makeKey()
  const span = { notBeforeMs: Date.now() - 100 * dayMs, notAfterMs: Date.now() + 1000 * dayMs }
  const publicKey = createPublicKey(key)
  const der = buildCertificate({
    ...{ kind: 'authority', commonName, publicKey, issuer: { key }, serial: randomBytes(16) },
    ...span,
  })
  const issuer = { key, certificate: new X509Certificate(der) }
  return {
    pem: formatPem('CERTIFICATE', der),
    sign(csrPem: string, { names = ['www.example.org'], from = -1 / 24, to = 90, key = undefined as unknown } = {}) {
      const leaf = buildCertificate({
        kind: 'leaf',
        identifiers: names.map(parseDnsName),
        publicKey: key === 'another' ? createPublicKey(makeKey()) : parseCsrPem(csrPem).publicKey,
        issuer,
        notBeforeMs: Date.now() + from * dayMs,
        notAfterMs: Date.now() + to * dayMs,
        serial: randomBytes(16),
      })
      return formatPem('CERTIFICATE', leaf) + formatPem('CERTIFICATE', der)
    },
  }
}

/** Everything that is where certificates go, and what the installer remembers. */
function snapshot(world: InstallerWorld): string {
  const digest = createHash('sha256')
  for (const folder of [world.tls, join(world.memory, 'certificates')])
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      digest.update(`${path}\n`)
      if (entry.isFile()) digest.update(readFileSync(path))
    }
  return digest.digest('hex')
}

function askerAt(path: string) {
  return createAsker({ path, who: ownRights(), clock: systemClock, maxLineBytes: 1024 * 1024, answerMs: 20_000 })
}

test('a hostile server at the socket: all is refused, logged, and changes nothing', async () => {
  const [ca, otherCa] = [makeCa('ours'), makeCa('theirs')]
  await using world = await makeInstallerWorld('')
  const roots = join(world.folder, 'roots.pem')
  writeFileSync(roots, ca.pem)
  const hooked = join(world.folder, 'hooked')
  const section = (domain: string) =>
    `[account]\ntype = local\n[certificate "web"]\n${domain}directory = TLS/web\nreuse-key = yes\nca-file = ${roots}\nhook = echo x >> ${hooked}\n`
  world.configure(section('domain = www.example.org\n'))
  const installer = await world.startInstaller()
  await using asker = askerAt(world.socket)
  const ask = (question: string, content = {}) => asker.ask(question, { block: 'web', ...content })
  const install = (chain: unknown, occasion = 'next') => ask('install', { occasion, chain })
  const begin = async () => String((await ask('begin')).csr)
  const first = ca.sign(await begin())
  await install(first)
  await until('the hook', () => readSoFar(hooked), { logs: [installer] })

  // Once more what is there: no hook is due again, which would start a server anew every few seconds.
  await begin()
  const asItWas = snapshot(world)
  await install(first, 'again')
  assert.equal(snapshot(world), asItWas)
  const version = readlinkSync(join(world.tls, 'web'))
  await install(first)
  assert.equal(readlinkSync(join(world.tls, 'web')), version)
  assert.doesNotMatch(readFileSync(join(world.memory, 'certificates/web/certificate.json'), 'utf8'), /hookDue|next/)
  const csr = await begin()
  const before = snapshot(world)

  const refused = async (why: RegExp, act: () => Promise<unknown>, name = 'ChainError') => {
    const lines = installer.log().length
    await assert.rejects(act, (error: unknown) => {
      assert.ok(error instanceof AnswerError, String(error))
      assert.match(error.message, why)
      assert.equal(error.remoteName, name)
      return true
    })
    assert.equal(snapshot(world), before, String(why))
    await until(`a line about ${why}`, () => {
      const logged = installer.log().slice(lines)
      return logged.includes(`"from":"${world.socket}, connection 1"`) && logged.includes('"why":')
    })
  }
  const good = ca.sign(csr)
  for (const occasion of ['next', 'again']) {
    const tried = (chain: string) => () => install(chain, occasion)
    // lacme installed this (D3): an old certificate of the same key, for another name.
    await refused(/other names/, tried(ca.sign(csr, { names: ['bank.example.org'] })))
    await refused(/other names/, tried(ca.sign(csr, { names: ['www.example.org', 'bank.example.org'] })))
    await refused(/another key/, tried(ca.sign(csr, { key: 'another' })))
    await refused(/not one of the roots/, tried(otherCa.sign(csr)))
    await refused(/older/, tried(ca.sign(csr, { from: -40, to: 40 })))
    await refused(/expired|over/, tried(ca.sign(csr, { from: -9, to: -1 })))
    await refused(/cut off|damaged/, tried(good.slice(0, 400)))
  }
  const pem = makeKey().export({ type: 'pkcs8', format: 'pem' })
  await refused(/PRIVATE KEY/, () => install(`${good}${String(pem)}`))
  await refused(/more than 131072/, () => install(good.repeat(140_000 / good.length + 1)), 'RefusedError')
  await refused(/no chain/, () => install(undefined), 'RefusedError')
  await refused(/next, or again/, () => install(good, 'former'), 'RefusedError')
  for (const block of ['../web', 'web/../web', '/etc/passwd', '', 'nope', '__proto__', 'constructor', 'x'.repeat(9000)])
    for (const question of ['install', 'begin', 'discard'])
      await refused(
        /has no \[certificate/,
        () => ask(question, { block, occasion: 'next', chain: good }),
        'RefusedError',
      )
  for (const question of ['key', 'hook', 'run', '__proto__', 'toString'])
    await refused(/no question/, () => ask(question, { path: '/etc/passwd' }), 'RefusedError')
  await refused(/not said/, () => ask('begin', { block: 7 }), 'RefusedError')

  // Who does not speak as he should is not listened to; others are.
  for (const line of ['x'.repeat(1_000_000), 'no json\r\n', '{"id":1}\r\n', '{"id":1,"ask":"next"}\n', '[]\r\n']) {
    const socket = connect(world.socket)
    socket.on('error', () => undefined)
    const ended = new Promise((resolve) => socket.once('close', resolve))
    socket.write(line)
    await ended
  }
  const crowd = Array.from({ length: 1000 }, () => connect(world.socket).on('error', () => undefined))
  assert.deepEqual(await ask('hello'), { certificates: ['web'] }, 'who was there before is served')
  for (const socket of crowd) socket.destroy()
  await untilLogged(installer, /line of more than 196608 octets/)
  await untilLogged(installer, /more than 16 connections at once/)
  assert.equal(snapshot(world), before)

  // The administrator wants other names: what was asked for before is no good any more.
  world.configure(section('domain = www.example.org\ndomain = new.example.org\n'))
  process.kill(installer.pid, 'SIGHUP')
  await until('the reload', () => installer.log().includes('"msg":"configuration reloaded"'), { logs: [installer] })
  await assert.rejects(install(good), /names changed since the request was made/)
  assert.equal(snapshot(world), before)
  await ask('discard')
  await install(ca.sign(await begin(), { names: ['www.example.org', 'new.example.org'] }))
  assert.match(
    String(new X509Certificate(readFileSync(join(world.tls, 'web/cert.pem'))).subjectAltName),
    /new\.example/,
  )

  // The owner of a file has it without end: root's process does not take it all in.
  const key = join(world.tls, 'web/privkey.pem')
  const kept = readFileSync(key)
  truncateSync(key, 1_500_000_000)
  assert.match(JSON.stringify(await ask('damage')), /privkey\.pem was changed by somebody else/)
  const peakKb = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${installer.pid}/status`, 'latin1'))?.[1])
  assert.ok(peakKb < 500_000, `${peakKb} kB`)
  writeFileSync(key, kept)

  // Without roots nothing could be installed: nothing is asked for.
  for (const [text, why] of [
    ['no root', /^ca-file holds no certificate$/],
    [undefined, /^ca-file: .*\/roots\.pem is not there$/],
  ] as const) {
    if (text === undefined) rmSync(roots)
    else writeFileSync(roots, text)
    await assert.rejects(begin, (error: Error) => why.test(error.message))
  }
  process.kill(installer.pid, 'SIGHUP')
  await until('a warning', () => /"level":"warn".*ca-file: warning: .* is not there/.test(installer.log()))
})
