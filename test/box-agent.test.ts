// Sealed boxes on the other side: an agent registers, fetches, opens and installs them, and nothing else that it is sent.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Acmems, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { certificatesOf, namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'

const printers = '[auth "printers"]\nenroll = yes\ndomain = *.lab.test\nregister-boxes = yes\n'
const hubConfig = `[account]\ntype = local\n${printers}`

async function until<T>(what: string, look: () => T | undefined | false, ms = 30_000): Promise<T> {
  for (const endMs = performance.now() + ms; performance.now() < endMs; await sleep(50)) {
    const found = look()
    if (found !== undefined && found !== false) return found
  }
  return assert.fail(`${what} did not come about`)
}

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
  await until('the certificate', () => existsSync(told))
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
