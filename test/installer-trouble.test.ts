// acmems-install where things go wrong: killed in the middle, alone, with a configuration that others can write.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { build } from 'esbuild'
import { createAsker } from '../src/channel/asker.ts'
import { ownRights } from '../src/channel/permissions.ts'
import { systemClock } from '../src/clock.ts'
import { accountAndHttp01 } from './acmems.ts'
import { runCommand } from './command.ts'
import { checkout } from './documentation.ts'
import { isRoot, makeInstallerWorld, whyNotAsOther } from './installer-world.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { installMain } from './program.ts'
import { readSoFar, until, untilLogged } from './until.ts'

const local = '[account]\ntype = local\n'
const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
const serialIn = (file: string) => new X509Certificate(readFileSync(file)).serialNumber
const kill = (pid: number) => process.kill(pid, 'SIGKILL')

function assertPair(keyFile: string, file: string): void {
  assert.equal(openssl('pkey', '-in', keyFile, '-pubout'), openssl('x509', '-in', file, '-noout', '-pubkey'))
}

test('what runs as root has no network client, no database and no ACME client in it', async () => {
  const { metafile } = await build({
    ...{
      entryPoints: [join(checkout, 'src/install-main.ts')],
      bundle: true,
      splitting: true,
      write: false,
      metafile: true,
    },
    ...{ format: 'esm', platform: 'node', outdir: 'nowhere', absWorkingDir: checkout, logLevel: 'silent' },
  })
  const inputs = Object.keys(metafile.inputs)
  assert.ok(inputs.includes('src/managed/file-holding.ts'))
  const forbidden =
    /node_modules\/(undici|kysely|pg|pg-\w+|tldts|jose|commander)\/|^src\/(acme-client|state|http|issuance\/issue|plugins\/(?!option-values|address-range)|responder|sign|dns)\b/
  assert.deepEqual(
    inputs.filter((path) => forbidden.test(path)),
    [],
  )
  const builtins = Object.values(metafile.outputs)
    .flatMap(({ imports }) => imports)
    .map(({ path }) => path.replace(/^node:/, ''))
  assert.deepEqual(
    builtins.filter((path) => /^(sqlite|https?|http2|tls|dgram|dns|inspector|vm)\b/.test(path)),
    [],
  )
})

test('killed with -9 in the middle, either part: in order afterwards, with one certificate for each need', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  const reason = isRoot ? whyNotAsOther() : undefined
  if (reason !== undefined) return t.skip(reason)
  await using pebble = await startPebble({ authzReuse: 0 })
  const issued = pebble.issuedCount()
  await using world = await makeInstallerWorld('')
  const at = (name: string) => join(world.folder, name)
  const [key, pem] = [join(world.tls, 'web.key'), join(world.tls, 'web.pem')]
  const waits = (mark: string, hold: string) => `echo x >> ${at(mark)}; while test -e ${at(hold)}; do sleep 0.05; done`
  world.configure(
    `${accountAndHttp01(pebble)}[certificate "web"]\ndomain = www.example.org\nkey = TLS/web.key\nfullchain = TLS/web.pem\ncheck = ${waits('checked', 'hold-check')}\nhook = ${waits('hooked', 'hold-hook')}\n`,
  )
  const count = (mark: string) => (existsSync(at(mark)) ? readFileSync(at(mark), 'utf8').trim().split('\n').length : 0)
  for (const hold of ['hold-check', 'hold-hook']) writeFileSync(at(hold), '')

  // The installer is not there yet: nothing is ordered, and when it comes it goes on at once.
  let server = await world.startServer()
  await until('the complaint', () => server.log().includes('"msg":"the installer is away"'), { logs: [server] })
  let installer = await world.startInstaller()
  await until('the check', () => count('checked') === 1, { logs: [server, installer] })
  // Between the files and the note that they are installed.
  kill(installer.pid)
  rmSync(at('hold-check'))
  installer = await world.startInstaller()
  await until('the hook', () => count('hooked') === 1, { logs: [server, installer] })
  // In the middle of the hook: it runs again.
  kill(installer.pid)
  rmSync(at('hold-hook'))
  installer = await world.startInstaller()
  await until('the hook again', () => count('hooked') === 2, { logs: [server, installer] })
  assertPair(key, pem)
  const first = serialIn(pem)
  assert.equal(pebble.issuedCount() - issued, 1)

  // The key is lost, so another certificate is had; the server dies while it is being installed.
  rmSync(key)
  writeFileSync(at('hold-check'), '')
  const checks = count('checked')
  process.kill(server.pid, 'SIGHUP')
  await until('the next check', () => count('checked') > checks, { logs: [server, installer] })
  kill(server.pid)
  rmSync(at('hold-check'))
  server = await world.startServer()
  await until('the next hook', () => count('hooked') === 3, { logs: [server, installer] })
  assertPair(key, pem)
  assert.notEqual(serialIn(pem), first)
  assert.equal(pebble.issuedCount() - issued, 2, 'one for each need')
  if (isRoot) {
    // Without the installer root does its work, by the same memory: there is nothing to do.
    await installer.stop()
    const { code, out, err } = await runCommand(['renew', world.configFile])
    assert.deepEqual([code, out, err], [0, '', ''])
    assert.equal(pebble.issuedCount() - issued, 2)
  }
})

test('with the memory of a server that did it alone nothing is had anew', async () => {
  await using world = await makeInstallerWorld(
    `${local}[certificate "web"]\ndomain = www.example.org\ndirectory = TLS/web\nhook = echo x >> TLS/hooked\n`,
    { isSplit: false },
  )
  const [state, configuration] = [join(world.folder, 'state'), readFileSync(world.configFile, 'utf8')]
  writeFileSync(world.configFile, configuration.replace(/^installer = .*\n/m, ''))
  const alone = await world.startServer()
  const hooked = join(world.tls, 'hooked')
  await until('the hook', () => readSoFar(hooked), { logs: [alone] })
  // Killed before it has noted that, it would run the hook again.
  const memory = join(state, 'certificates/web/certificate.json')
  await until('its note', () => !readFileSync(memory, 'utf8').includes('"hookDue"'), { logs: [alone] })
  await alone.stop()
  const serial = serialIn(join(world.tls, 'web/cert.pem'))
  writeFileSync(world.configFile, configuration)
  // As docs/processes.md says.
  execFileSync('install', ['-d', '-m', '0700', world.memory])
  execFileSync('cp', ['-r', join(state, 'certificates'), world.memory])
  const installer = await world.startInstaller()
  const { code, out, err } = await runCommand(['renew', world.configFile])
  assert.deepEqual([code, out, err], [0, '', ''], installer.log())
  assert.equal(serialIn(join(world.tls, 'web/cert.pem')), serial)
  assert.equal(readFileSync(hooked, 'utf8'), 'x\n')
})

test('a user who is not there, a hook that fails: said, nothing left half done, tried again', async () => {
  await using world = await makeInstallerWorld('')
  const at = (name: string) => join(world.folder, name)
  const section = (owner: string) =>
    `${local}[certificate "web"]\ndomain = www.example.org\ndirectory = TLS/web\nowner = ${owner}\nhook = test -e ${at('cured')} && echo ran > ${at('hooked')}\n`
  world.configure(section('nobody-of-that-name'))
  const installer = await world.startInstaller()
  const server = await world.startServer()
  const all = [server, installer]
  await until('the complaint', () => /does not know the user nobody-of-that-name/.test(server.log()), { logs: all })
  await untilLogged(installer, /"ask":"begin","certificate":"web","why":"this machine does not know the user/)
  assert.ok(!existsSync(join(world.tls, 'web')))
  // Cured: who reads the configuration again is followed by the other.
  world.configure(section(String(process.getuid?.() ?? 0)))
  process.kill(installer.pid, 'SIGHUP')
  await until('the certificate', () => existsSync(join(world.tls, 'web/privkey.pem')), { logs: all })
  const said = /"certificate":"web","again":"\S+","msg":"a hook failed; the certificate is installed"/
  await until('the failing hook', () => said.test(installer.log()), { logs: all })
  writeFileSync(at('cured'), '')
  process.kill(installer.pid, 'SIGHUP')
  await until('the hook', () => readSoFar(at('hooked')), { logs: all })
  // Another group is wanted: not with the next certificate, but now.
  if (!isRoot) return
  const daemon = 1
  world.configure(section(`root:${daemon}`))
  for (const { pid } of [installer, server]) process.kill(pid, 'SIGHUP')
  await until('the other group', () => statSync(join(world.tls, 'web/privkey.pem')).gid === daemon, { logs: all })
  await until('the repair', () => server.log().includes('"msg":"certificate repaired"'), { logs: all })
})

test('a hook that hangs keeps nobody waiting but its own certificate', async () => {
  await using world = await makeInstallerWorld('')
  const at = (name: string) => join(world.folder, name)
  const section = (name: string, hook: string) =>
    `[certificate "${name}"]\ndomain = ${name}.example.org\ndirectory = TLS/${name}\nhook = ${hook}\n`
  const hang = `echo x > ${at('hangs')}; while test -e ${at('hold')}; do sleep 0.05; done`
  writeFileSync(at('hold'), '')
  world.configure(`${local}${section('slow', hang)}${section('other', `echo x > ${at('other')}`)}`)
  const installer = await world.startInstaller()
  const server = await world.startServer()
  await until('the hook', () => existsSync(at('hangs')), { logs: [server, installer] })
  await server.stop()
  await using asker = createAsker({
    ...{ path: world.socket, who: ownRights(), clock: systemClock, maxLineBytes: 1024 * 1024, answerMs: 3000 },
  })
  assert.deepEqual(await asker.ask('damage', { block: 'other' }), {})
  rmSync(at('hold'))
  await until('the other hook', () => readSoFar(at('other')), { logs: [installer] })
})

test('root obeys only what is its own: files, folders, links and roots that others can write are refused', async () => {
  await using world = await makeInstallerWorld(
    `${local}[certificate "web"]\ndomain = www.example.org\ndirectory = TLS/web\n[certificate "own"]\ndomain = own.example.org\ndirectory = TLS/own\nreuse-key = yes\n`,
  )
  const check = (file: string) => spawnSync(process.execPath, [installMain, '--check', file], { encoding: 'utf8' })
  const fine = check(world.configFile)
  assert.equal(fine.status, 0, fine.stderr)
  assert.match(
    fine.stdout,
    /certificate "web": www\.example\.org\n(?: {2}installs .*\n)? {2}installs .*\/tls\/web\/cert\.pem/,
  )
  const refused = (file: string, why: RegExp) => {
    const { status, stderr } = check(file)
    assert.deepEqual([status, why.test(stderr)], [1, true], stderr)
  }
  const loose = join(world.folder, 'loose')
  mkdirSync(loose)
  const inLoose = join(loose, 'acmems.ini')
  writeFileSync(inLoose, readFileSync(world.configFile), { mode: 0o600 })
  chmodSync(loose, 0o777)
  refused(inLoose, /loose.*chmod go-w/)
  const link = join(world.folder, 'link.ini')
  symlinkSync(inLoose, link)
  refused(link, /loose.*chmod go-w/)
  chmodSync(world.configFile, 0o660)
  refused(world.configFile, /can be written by others \(mode 0660\): chmod go-w/)
  chmodSync(world.configFile, 0o640)
  appendFileSync(
    world.configFile,
    `[certificate "pinned"]\ndomain = pin.example.org\ndirectory = ${world.tls}/pin\nca-file = ${inLoose}\n`,
  )
  refused(world.configFile, /\[certificate "pinned"\] ca-file.*loose/)
  writeFileSync(world.configFile, readFileSync(world.configFile, 'utf8').replace(inLoose, `${world.tls}/none.pem`))
  const warned = check(world.configFile)
  assert.deepEqual([warned.status, warned.stderr], [0, ''])
  assert.match(warned.stdout, /^\S+:\d+ \[certificate "pinned"\] ca-file: warning: .*\/none\.pem is not there\n/)
  refused(join(world.tls, 'none.ini'), /none\.ini is not there/)
  // A box is for others; and who has the installer has no boxes.
  const boxes = join(world.folder, 'boxes.ini')
  writeFileSync(
    boxes,
    '[issuer "hub"]\ntype = acmems\nserver = https://hub.example.org\n[process]\ninstaller = /run/x/S\n[certificate "far"]\ndomain = far.example.org\nissuer = hub\nbox = far\ndirectory = /etc/ssl/far\n',
  )
  const meaning = await runCommand(['check-config', world.configFile])
  assert.match(meaning.out, /keys of certificates: made, kept and installed by acmems-install at .*\/run\/S\n/)
  const doctor = await runCommand(['doctor', 'www.example.org', '--config', world.configFile])
  assert.match(doctor.out, /FAILS {2}installer .*the installer does not answer.*\n.*systemctl status acmems-install/)
  const { code, err } = await runCommand(['check-config', boxes])
  assert.equal(code, 1)
  assert.match(err, /boxes\.ini:9: .*has a box, which the installer .* "acmems renew" or "acmems agent"/)
})
