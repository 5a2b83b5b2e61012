// Certificates that this machine keeps for itself, where the machine is in trouble: no room, no right, no port, and a
// configuration that changes under way.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const local = '[account]\ntype = local\n'
const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
const serialIn = (file: string) => new X509Certificate(readFileSync(file)).serialNumber

const keysOf = (keyFile: string, certificateFile: string) => [
  openssl('pkey', '-in', keyFile, '-pubout'),
  openssl('x509', '-in', certificateFile, '-noout', '-pubkey'),
]

function assertPair(keyFile: string, certificateFile: string): string {
  const [key, certified] = keysOf(keyFile, certificateFile)
  assert.equal(key, certified)
  return serialIn(certificateFile)
}

test('a disk that is full, or only to be read: what is there stays, and the rest comes when there is room', async (t) => {
  using folder = makeTempFolder('trouble')
  const disk = join(folder.path, 'disk')
  mkdirSync(disk)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=96k,mode=755', 'tmpfs', disk]).status !== 0)
    return t.skip('a small disk could not be mounted here (needs root)')
  try {
    const [key, pem, web] = [join(disk, 'key'), join(disk, 'pem'), join(disk, 'web')]
    const file = join(folder.path, 'acmems.ini')
    writeFileSync(
      file,
      `[state]\nurl = sqlite:${folder.path}/state/state.db\n${local}[certificate "one"]\ndomain = one.example.org\nkey = ${key}\nfullchain = ${pem}\n[certificate "web"]\ndomain = www.example.org\ndirectory = ${web}\n`,
    )
    assert.equal((await runCommand(['renew', file])).code, 0)
    const former = [assertPair(key, pem), assertPair(join(web, 'privkey.pem'), join(web, 'cert.pem'))]
    const stays = () =>
      assert.deepEqual([assertPair(key, pem), assertPair(join(web, 'privkey.pem'), join(web, 'cert.pem'))], former)
    spawnSync('dd', ['if=/dev/zero', `of=${join(disk, 'filler')}`, 'bs=1k'])
    const full = await runCommand(['renew', '--force', file])
    assert.equal(full.code, 1)
    assert.match(full.err, /^one: failed: .*\/(key|pem) cannot be written: .*no space left/m)
    assert.match(full.err, /^web: failed: .*\/web cannot be written: .*no space left/m)
    stays()
    const elsewhere = await runCommand(['renew', '--set', `state.url=sqlite:${disk}/state.db`, file])
    assert.match(elsewhere.err, /^acmems: the state at .* cannot be used: .* is full; make room there/)
    rmSync(join(disk, 'filler'))
    assert.equal(spawnSync('mount', ['-o', 'remount,ro', disk]).status, 0)
    const readOnly = await runCommand(['renew', '--force', file])
    assert.match(readOnly.err, /^one: failed: .* cannot be written: it is only to be read there/m)
    assert.match(readOnly.err, /^web: failed: .* cannot be written: it is only to be read there/m)
    stays()
    spawnSync('mount', ['-o', 'remount,rw', disk])
    // What was issued the first time, without another order.
    const { code, err } = await runCommand(['renew', '--force', file])
    assert.deepEqual([code, err], [0, ''])
    assert.notEqual(assertPair(key, pem), former[0])
    assert.notEqual(assertPair(join(web, 'privkey.pem'), join(web, 'cert.pem')), former[1])
    assert.deepEqual(spawnSync('find', [disk, '-name', '*.tmp'], { encoding: 'utf8' }).stdout, '')
  } finally {
    spawnSync('umount', [disk])
  }
})

test('a clock that ran ahead when something failed: it is tried as soon as the clock is right', async () => {
  using folder = makeTempFolder('trouble')
  const at = (name: string) => join(folder.path, name)
  const file = at('acmems.ini')
  writeFileSync(
    file,
    `[state]\nurl = sqlite:${at('state/state.db')}\n${local}[certificate "one"]\ndomain = one.example.org\nkey = ${at('tls/key')}\nfullchain = ${at('tls/pem')}\n`,
  )
  assert.match((await runCommand(['renew', file])).err, /tls is not there: make it/)
  mkdirSync(at('tls'))
  const memory = at('state/certificates/one/certificate.json')
  const { trouble, ...rest } = JSON.parse(readFileSync(memory, 'utf8'))
  const tenYearsMs = 3650 * 86_400_000
  const ahead = { ...rest, trouble: { ...trouble, retryAtMs: trouble.retryAtMs + tenYearsMs } }
  writeFileSync(memory, JSON.stringify(ahead))
  const { code, out, err } = await runCommand(['renew', file])
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /^one: installed /)
})

test('a state that is full: certificates stay, and the log does not fill up the next disk', async (t) => {
  using folder = makeTempFolder('trouble')
  const disk = join(folder.path, 'disk')
  mkdirSync(disk)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=755', 'tmpfs', disk]).status !== 0)
    return t.skip('a small disk could not be mounted here (needs root)')
  try {
    const [key, pem] = [join(folder.path, 'key'), join(folder.path, 'pem')]
    await using acmems = await startAcmems(
      `[state]\nurl = sqlite:${disk}/state.db\n[account]\ntype = local\ndir = ${folder.path}/ca\n[certificate "one"]\ndomain = one.example.org\nkey = ${key}\nfullchain = ${pem}\n`,
    )
    await until('the certificate', () => existsSync(key))
    const serial = assertPair(key, pem)
    spawnSync('dd', ['if=/dev/zero', `of=${join(disk, 'filler')}`, 'bs=1k'])
    const text = readFileSync(acmems.configFile, 'utf8')
    writeFileSync(acmems.configFile, text.replace('domain = one', 'domain = two.example.org\ndomain = one'))
    process.kill(acmems.pid, 'SIGHUP')
    await until('the failure', () => acmems.log().includes('cannot be looked after'))
    await sleep(6000)
    assert.ok(acmems.log().split('cannot be looked after').length < 4, acmems.log())
    assert.equal(assertPair(key, pem), serial)
    rmSync(join(disk, 'filler'))
    process.kill(acmems.pid, 'SIGHUP')
    await until('the other names', () => serialIn(pem) !== serial)
    // One file after another, and the key last.
    await until('their key', () => new Set(keysOf(key, pem)).size === 1)
  } finally {
    spawnSync('umount', [disk])
  }
})

test('a configuration that changes while a certificate is installed, and one that does not name it any more', async () => {
  using folder = makeTempFolder('trouble')
  const at = (name: string) => join(folder.path, name)
  const section = (name: string, more = '') =>
    `[certificate "${name}"]\ndomain = ${name}.example.org\nkey = ${at(`${name}.key`)}\nfullchain = ${at(`${name}.pem`)}\n${more}`
  await using acmems = await startAcmems(`${local}${section('one', `check = touch ${at('begun')}; sleep 3\n`)}`, {
    folder: folder.path,
  })
  await until('the check', () => existsSync(at('begun')))
  const former = readFileSync(acmems.configFile, 'utf8')
  writeFileSync(acmems.configFile, former.replace('domain = one', 'domain = another.example.org\ndomain = one'))
  process.kill(acmems.pid, 'SIGHUP')
  const namesOf = (file: string) => new X509Certificate(readFileSync(file)).subjectAltName
  await until('the other names', () => existsSync(at('one.pem')) && /another/.test(namesOf(at('one.pem')) ?? ''))
  await until('its end', () => acmems.logLines().filter(({ msg }) => msg === 'certificate installed').length === 2)
  const serial = assertPair(at('one.key'), at('one.pem'))
  // Gone from the configuration: the files stay as they are, and nobody looks after them.
  writeFileSync(acmems.configFile, former.slice(0, former.indexOf('[certificate')) + section('two'))
  process.kill(acmems.pid, 'SIGHUP')
  await until('the other one', () => existsSync(at('two.key')) && existsSync(at('two.pem')))
  assert.equal(assertPair(at('one.key'), at('one.pem')), serial)
  rmSync(at('one.key'))
  await runCommand(['certs', 'renew', serial, acmems.configFile])
  await sleep(3000)
  assert.deepEqual([existsSync(at('one.key')), serialIn(at('one.pem'))], [false, serial])
  assert.ok(!acmems.logLines().some(({ level }) => level === 'error'), acmems.log())
})

test('acmems renew for somebody who is not root, without a state, and where a port is taken', async (t) => {
  using folder = makeTempFolder('trouble')
  const at = (name: string) => join(folder.path, name)
  const file = at('acmems.ini')
  const sections = `[certificate "own"]\ndomain = www.example.org\ndirectory = ${at('own')}\nowner = root\n[certificate "other"]\ndomain = www.example.org\ndirectory = ${at('roots/web')}\n[certificate "good"]\ndomain = www.example.org\ndirectory = ${at('good')}\n`
  const configure = (state: string, account = local) =>
    writeFileSync(file, `[state]\nurl = sqlite:${state}/state.db\n${account}${sections}`)
  chmodSync(folder.path, 0o777)
  mkdirSync(at('roots'), { mode: 0o755 })
  configure(at('state'))
  const asNobody = (...args: string[]) =>
    spawnSync(
      'setpriv',
      [...'--reuid 65534 --regid 65534 --clear-groups'.split(' '), process.execPath, main, ...args],
      {
        encoding: 'utf8',
        env: { PATH: process.env.PATH },
      },
    )
  if (process.getuid?.() === 0 && asNobody('--version').status === 0) {
    const { status, stderr, stdout } = asNobody('renew', file)
    assert.equal(status, 1, stderr)
    assert.match(stdout, /^good: installed [0-9A-F]+, because there is none yet\n$/)
    assert.match(
      stderr,
      /^own: failed: .*\/own cannot be written: its owner cannot be set: run as root, or take owner away$/m,
    )
    assert.match(
      stderr,
      /^other: failed: .*\/roots\/web cannot be written: it may not be written: see its permissions$/m,
    )
    assert.equal(stderr.trim().split('\n').length, 2, stderr)
    configure(at('roots/state'))
    assert.match(
      asNobody('renew', file).stderr,
      /^acmems: the state at .* cannot be used: EACCES.*make it writable for this user/,
    )
    chmodSync(folder.path, 0o755)
    for (const name of ['good', '.good.versions']) rmSync(at(name), { recursive: true })
  } else t.diagnostic('not looked at as another user: that needs root and setpriv')
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  await using pebble = await startPebble({})
  configure(at('pebble'), accountAndHttp01(pebble))
  const server = createServer((_, response) => response.end('somebody else'))
  await new Promise<void>((done) => server.listen(pebble.httpPort, '127.0.0.1', done))
  const taken = await runCommand(['renew', 'good', file])
  await new Promise((done) => server.close(done))
  assert.equal(taken.code, 1)
  assert.match(taken.err, new RegExp(`^acmems: .*127\\.0\\.0\\.1:${pebble.httpPort}`))
  // Nothing was asked of the CA in vain.
  assert.ok(!/Added order/.test(pebble.log()))
  await pebble.setA('www.example.org', ['127.0.0.1'])
  const free = await runCommand(['renew', 'good', file])
  assert.deepEqual([free.code, free.err], [0, ''])
  await using _server = await (async () => {
    const again = createServer()
    await new Promise<void>((done) => again.listen(pebble.httpPort, '127.0.0.1', done))
    return { [Symbol.asyncDispose]: async () => void again.close() }
  })()
  // Where there is nothing to do nobody needs the port.
  assert.deepEqual(await runCommand(['renew', 'good', file]), { code: 0, out: '', err: '' })
})

test('acmems renew called wrongly', async () => {
  using folder = makeTempFolder('trouble')
  const file = join(folder.path, 'acmems.ini')
  writeFileSync(file, `[state]\nurl = sqlite:${folder.path}/state/state.db\n${local}`)
  const none = await runCommand(['renew', file])
  assert.deepEqual([none.code, /has no \[certificate\] section; name its file/.test(none.err)], [2, true], none.err)
  writeFileSync(
    file,
    `${readFileSync(file, 'utf8')}[certificate "web"]\ndomain = a.example.org\ndirectory = ${folder.path}/web\n`,
  )
  const wrong = await runCommand(['renew', 'wbe', file])
  assert.deepEqual([wrong.code, wrong.err], [2, 'acmems: there is no [certificate "wbe"]; there are web\n'])
  const planned = await runCommand(['renew', '--dry-run', '--json', file])
  assert.deepEqual(JSON.parse(planned.out).certificates, [
    { name: 'web', outcome: 'planned', why: 'a certificate is asked for, because there is none yet' },
  ])
  assert.ok(!existsSync(join(folder.path, 'web')))
})
