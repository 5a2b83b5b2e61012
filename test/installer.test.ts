// The keys and the root rights in a process of their own: certificates from a real CA, with openssl as the judge.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { accountAndHttp01 } from './acmems.ts'
import { makeInstallerWorld, runAsServer, serverUser, whyNotAsOther } from './installer-world.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { main } from './program.ts'
import { readSoFar, until } from './until.ts'

const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
const serialIn = (file: string) => new X509Certificate(readFileSync(file)).serialNumber
const publicKeyOf = (keyFile: string) => openssl('pkey', '-in', keyFile, '-pubout')
const certifiedKeyOf = (file: string) => openssl('x509', '-in', file, '-noout', '-pubkey')

test('the server orders and has no right and no key: acmems-install makes, proves, installs and runs the hook', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  const reason = whyNotAsOther()
  if (reason !== undefined) return t.skip(reason)
  await using pebble = await startPebble({ authzReuse: 0 })
  const issuedBefore = pebble.issuedCount()
  await using world = await makeInstallerWorld('')
  const at = (name: string) => join(world.folder, name)
  writeFileSync(at('roots.pem'), await pebble.root())
  const account = accountAndHttp01(pebble)
  world.configure(
    `${account}[certificate "web"]\ndomain = www.example.org\ndirectory = TLS/web\nca-file = ${at('roots.pem')}\ncheck = test -s TLS/web/cert.pem\nhook = (id -u; env | sort) > ${at('draft')}; mv ${at('draft')} ${at('hooked')}\n`,
  )
  const installer = await world.startInstaller()
  const server = await world.startServer()
  const all = [server, installer]
  const [key, certificate, fullchain] = ['privkey.pem', 'cert.pem', 'fullchain.pem'].map((name) =>
    join(world.tls, 'web', name),
  ) as [string, string, string]
  await until('the certificate', () => existsSync(key), { logs: all })
  const hooked = await until('the hook', () => readSoFar(at('hooked')), {
    logs: all,
  })
  assert.match(hooked, /^0\n/, 'it runs as root')
  assert.match(hooked, /^ACMEMS_CERTIFICATES=web$/m)
  assert.deepEqual(
    hooked
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0])
      .filter((name) => !name?.startsWith('ACMEMS_')),
    ['0', 'LANG', 'PATH', 'PWD'],
  )
  assert.equal(publicKeyOf(key), certifiedKeyOf(certificate))
  openssl(
    'verify',
    '-CAfile',
    at('roots.pem'),
    '-untrusted',
    fullchain,
    '-verify_hostname',
    'www.example.org',
    certificate,
  )

  // What the server's user may and may not do.
  assert.match(readFileSync(`/proc/${server.pid}/status`, 'latin1'), new RegExp(`^Uid:\\t${serverUser}\\t`, 'm'))
  assert.equal(runAsServer('cat', [certificate]).status, 0)
  for (const secret of [key, join(world.memory, 'certificates/web/certificate.json'), at('tls/web/privkey.pem')])
    assert.match(runAsServer('cat', [secret]).stderr, /Permission denied/)
  assert.match(runAsServer('touch', [join(world.tls, 'web/x')]).stderr, /Permission denied/)
  assert.equal(statSync(world.memory).mode & 0o777, 0o700)
  assert.ok(!existsSync(join(world.folder, 'state/certificates/web/next.key.pem')))
  const stateFiles = readdirSync(at('state'), { recursive: true, withFileTypes: true }).filter((one) => one.isFile())
  for (const file of stateFiles)
    if (file.name !== 'account.pem')
      assert.ok(!readFileSync(join(file.parentPath, file.name), 'latin1').includes('PRIVATE KEY'), file.name)

  // Damage is repaired, renewal comes with another key.
  const first = serialIn(certificate)
  rmSync(certificate)
  const { status, stderr } = runAsServer('node', [main, 'renew', world.configFile])
  assert.equal(status, 0, stderr)
  assert.equal(serialIn(certificate), first)
  const formerKey = publicKeyOf(key)
  const force = ['renew', '--force', world.configFile]
  const forced = runAsServer('node', [main, ...force])
  assert.equal(forced.status, 0, forced.stderr)
  assert.match(forced.stdout, /^web: installed /m)
  assert.notEqual(serialIn(certificate), first)
  assert.notEqual(publicKeyOf(key), formerKey)
  assert.equal(pebble.issuedCount() - issuedBefore, 2, 'one for each need')
})
