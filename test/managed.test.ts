// [certificate]: a server keeps certificates for itself, with openssl as the judge of what it installs.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Acmems, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { readSoFar, until } from './until.ts'

const local = '[account]\ntype = local\n'

const exists = (path: string) => existsSync(path) || undefined
const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
const publicKeyOf = (keyFile: string) => openssl('pkey', '-in', keyFile, '-pubout')
const certifiedKeyOf = (certificateFile: string) => openssl('x509', '-in', certificateFile, '-noout', '-pubkey')
const namesOf = (certificateFile: string) => new X509Certificate(readFileSync(certificateFile)).subjectAltName
const serialOf = (certificateFile: string) => new X509Certificate(readFileSync(certificateFile)).serialNumber
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

async function reload(acmems: Acmems, change: (text: string) => string): Promise<void> {
  writeFileSync(acmems.configFile, change(readFileSync(acmems.configFile, 'utf8')))
  const before = acmems.logLines().length
  process.kill(acmems.pid, 'SIGHUP')
  await until('the reload', () =>
    acmems
      .logLines()
      .slice(before)
      .some(({ msg }) => msg === 'configuration reloaded'),
  )
}

test('a directory: made, installed as one, the hook told, repaired, renewed, its names changed', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('managed')
  const web = join(folder.path, 'tls', 'web')
  const told = join(folder.path, 'told')
  await using acmems = await startAcmems(
    `${local}[certificate "web"]\ndomain = www.example.org\ndirectory = ${web}\nhook = env | grep ^ACMEMS_ | sort >> ${told}; echo --- >> ${told}\n`,
    { folder: folder.path },
  )
  const [key, certificate, fullchain] = ['privkey.pem', 'cert.pem', 'fullchain.pem'].map((name) => join(web, name))
  assert.ok(key !== undefined && certificate !== undefined && fullchain !== undefined)
  await until('the certificate', () => exists(key))
  assert.ok(lstatSync(web).isSymbolicLink())
  assert.deepEqual(readdirSync(web).sort(), ['cert.pem', 'chain.pem', 'fullchain.pem', 'privkey.pem'])
  assert.equal(publicKeyOf(key), certifiedKeyOf(certificate))
  assert.deepEqual([modeOf(key), modeOf(certificate)], ['600', '644'])
  assert.equal(namesOf(certificate), 'DNS:www.example.org')
  const first = serialOf(certificate)

  const facts = await until(
    'the hook',
    () => exists(told) && /---/.test(readFileSync(told, 'utf8')) && readFileSync(told, 'utf8'),
  )
  assert.match(facts, /^ACMEMS_CERTIFICATES=web$/m)
  assert.match(facts, new RegExp(`^ACMEMS_DIRECTORY_PATH=${web}$`, 'm'))
  assert.match(facts, new RegExp(`^ACMEMS_SERIAL=${first}$`, 'm'))
  assert.match(facts, /^ACMEMS_NOT_AFTER=20/m)

  // Somebody takes a file away: put back, without an order.
  rmSync(fullchain)
  await reload(acmems, (text) => text)
  await until('the repair', () => exists(fullchain))
  assert.equal(serialOf(certificate), first)

  // Other names: another certificate, with another key.
  const formerKey = publicKeyOf(key)
  await reload(acmems, (text) =>
    text.replace('domain = www.example.org', 'domain = www.example.org\ndomain = a.example.org'),
  )
  await until('the other names', () => namesOf(certificate) === 'DNS:www.example.org, DNS:a.example.org')
  assert.notEqual(publicKeyOf(key), formerKey)
  const second = serialOf(certificate)

  // Renewed because somebody says so: a new key, and the link leads elsewhere.
  const link = readlinkSync(web)
  const renewed = await runCommand(['certs', 'renew', second, acmems.configFile])
  assert.equal(renewed.code, 0, renewed.err)
  await until('the renewal', () => serialOf(certificate) !== second)
  assert.notEqual(readlinkSync(web), link)
  assert.equal(publicKeyOf(key), certifiedKeyOf(certificate))
  await until('the hook', () => readFileSync(told, 'utf8').includes(`ACMEMS_SERIAL=${serialOf(certificate)}`))
  const kinds = acmems.logLines().map(({ msg }) => msg)
  assert.ok(!kinds.includes('a certificate cannot be had or installed'), acmems.log())
  // Nothing but what is in use and what was before it.
  assert.equal(readdirSync(join(folder.path, 'tls', '.web.versions')).length, 2)
  assert.ok(!existsSync(join(folder.path, 'state', 'certificates', 'web', 'next.key.pem')))
})

test('separate paths: PKCS #12, modes, a key that stays, a lost key', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('managed')
  const at = (name: string) => join(folder.path, name)
  await using acmems = await startAcmems(
    `${local}[certificate "mail"]\ndomain = mail.example.org\nip-address = 192.0.2.7\nkey-type = rsa-2048\nreuse-key = yes\nmust-staple = yes\nsubject = /CN=mail.example.org/O=Example\nkey-usage = digitalSignature, keyEncipherment\ndigest = sha384
key = ${at('mail.key')}\ncertificate = ${at('mail.crt')}\nchain = ${at('mail.chain')}\npkcs12 = ${at('mail.p12')}
pkcs12-password = changeit\nmode = 0640\nkey-mode = 0400\n`,
    { folder: folder.path },
  )
  await until('the certificate', () => exists(at('mail.p12')))
  assert.equal(publicKeyOf(at('mail.key')), certifiedKeyOf(at('mail.crt')))
  assert.deepEqual(
    ['mail.key', 'mail.crt', 'mail.p12'].map((name) => modeOf(at(name))),
    ['400', '640', '400'],
  )
  assert.equal(namesOf(at('mail.crt')), 'DNS:mail.example.org, IP Address:192.0.2.7')
  const p12 = openssl('pkcs12', '-in', at('mail.p12'), '-passin', 'pass:changeit', '-nodes')
  assert.match(p12, /BEGIN PRIVATE KEY/)
  assert.equal(p12.match(/BEGIN CERTIFICATE/g)?.length, 2)

  const former = { key: publicKeyOf(at('mail.key')), serial: serialOf(at('mail.crt')) }
  await runCommand(['certs', 'renew', former.serial, acmems.configFile])
  const installed = () => acmems.logLines().filter(({ msg }) => msg === 'certificate installed').length
  // All of it: the key comes back when only some of the files are in place yet.
  await until('the renewal', () => installed() === 2)
  assert.notEqual(serialOf(at('mail.crt')), former.serial)
  assert.equal(publicKeyOf(at('mail.key')), former.key, 'reuse-key')

  rmSync(at('mail.key'))
  await reload(acmems, (text) => text)
  await until(
    'another key',
    () => exists(at('mail.key')) && publicKeyOf(at('mail.key')) === certifiedKeyOf(at('mail.crt')),
  )
  assert.equal(publicKeyOf(at('mail.key')), certifiedKeyOf(at('mail.crt')))
  assert.notEqual(publicKeyOf(at('mail.key')), former.key)
})

test('check: what it refuses is taken back, and the hook does not run', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('managed')
  const at = (name: string) => join(folder.path, name)
  mkdirSync(at('tls'))
  writeFileSync(at('verdict'), 'exit 0\n')
  await using acmems = await startAcmems(
    `${local}[certificate "web"]\ndomain = www.example.org\nkey = ${at('tls/key')}\nfullchain = ${at('tls/chain')}
check = . ${at('verdict')}\nhook = echo ran >> ${at('hooks')}\n`,
    { folder: folder.path },
  )
  await until('the hook', () => readSoFar(at('hooks')))
  const former = [readFileSync(at('tls/key'), 'utf8'), readFileSync(at('tls/chain'), 'utf8')]
  writeFileSync(at('verdict'), 'echo this is wrong; exit 1\n')
  await runCommand(['certs', 'renew', serialOf(at('tls/chain')), acmems.configFile])
  await until('the refusal', () =>
    acmems
      .logLines()
      .some(({ msg, reason }) => msg === 'a certificate cannot be had or installed' && /wrong/.test(String(reason))),
  )
  assert.deepEqual([readFileSync(at('tls/key'), 'utf8'), readFileSync(at('tls/chain'), 'utf8')], former)
  assert.equal(readFileSync(at('hooks'), 'utf8'), 'ran\n')
  // Once it is content, the certificate that is there already is taken: no further order.
  writeFileSync(at('verdict'), 'exit 0\n')
  const issued = () => acmems.logLines().filter(({ msg }) => msg === 'renewed').length
  const before = issued()
  const renew = await runCommand(['renew', 'web', '--force', acmems.configFile])
  assert.equal(renew.code, 0, renew.err)
  assert.notEqual(readFileSync(at('tls/chain'), 'utf8'), former[1])
  assert.equal(publicKeyOf(at('tls/key')), certifiedKeyOf(at('tls/chain')))
  assert.equal(issued(), before)
})

test('a sealed box: the recipient opens it, nobody else, and no plain key is anywhere', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('managed')
  const at = (name: string) => join(folder.path, name)
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('printer.key'))
  openssl('pkey', '-in', at('printer.key'), '-pubout', '-out', at('printer.pub'))
  await using acmems = await startAcmems(
    `${local}[auth "printer"]\nip = 127.0.0.1\ndomain = nothing.example.org\n[certificate "printer"]\ndomain = printer.example.org\nrecipient = ${at('printer.pub')}\nauth = printer\n`,
    { folder: folder.path },
  )
  const url = `http://127.0.0.1:${acmems.mgmtPort}/box/printer`
  const fetchBox = async () => {
    const reply = await fetch(url)
    return reply.status === 200 ? await reply.text() : undefined
  }
  const box = await until('the box', fetchBox, { logs: [acmems] })
  writeFileSync(at('box.pem'), box)
  writeFileSync(
    at('opened.key'),
    openssl('cms', '-decrypt', '-inform', 'PEM', '-in', at('box.pem'), '-inkey', at('printer.key')),
  )
  writeFileSync(at('chain.pem'), box.slice(box.indexOf('-----BEGIN CERTIFICATE')))
  assert.equal(publicKeyOf(at('opened.key')), certifiedKeyOf(at('chain.pem')))
  assert.equal(namesOf(at('chain.pem')), 'DNS:printer.example.org')
  const [, plain = ''] = readFileSync(at('opened.key'), 'utf8').split('\n')
  appendFileSync(at('nothing'), '')
  for (const file of readdirSync(join(folder.path, 'state'), { recursive: true, withFileTypes: true }))
    if (file.isFile()) assert.ok(!readFileSync(join(file.parentPath, file.name)).includes(plain), file.name)
  assert.ok(!acmems.log().includes(plain))

  // Renewed with a new key, in one step.
  await runCommand(['certs', 'renew', serialOf(at('chain.pem')), acmems.configFile])
  const next = await until('the next box', async () => {
    const now = await fetchBox()
    return now !== box && now
  })
  writeFileSync(at('box.pem'), next)
  writeFileSync(
    at('next.key'),
    openssl('cms', '-decrypt', '-inform', 'PEM', '-in', at('box.pem'), '-inkey', at('printer.key')),
  )
  assert.notEqual(publicKeyOf(at('next.key')), publicKeyOf(at('opened.key')))
})

test('a host registers a box for its names and its key, changes it, and nobody takes its name', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('managed')
  const at = (name: string) => join(folder.path, name)
  openssl('genrsa', '-out', at('one.key'), '2048')
  openssl('pkey', '-in', at('one.key'), '-pubout', '-out', at('one.pub'))
  openssl('genpkey', '-algorithm', 'ED25519', '-out', at('ed.key'))
  openssl('pkey', '-in', at('ed.key'), '-pubout', '-out', at('ed.pub'))
  const config = `${local}[auth "printers"]\nip = 127.0.0.1\ndomain = *.printers.example.org\nregister-boxes = yes\nstorage = none\n`
  const other =
    '[auth "others"]\nip = 127.0.0.2\ndomain = **.example.org\nregister-boxes = yes\n[auth "may not"]\nip = 127.0.0.3\ndomain = **.example.org\n'
  const post = (acmems: Acmems, path: string, key = 'one.pub', from = '127.0.0.1') =>
    execFileSync('curl', [
      ...['-sS', '--interface', from, '-w', ' %{http_code}', '--data-binary', `@${at(key)}`],
      `http://127.0.0.1:${acmems.mgmtPort}/box/${path}`,
    ]).toString()
  const openBox = async (acmems: Acmems) => {
    const look = async () => {
      const reply = await fetch(`http://127.0.0.1:${acmems.mgmtPort}/box/laser`)
      return reply.status === 200 && reply.text()
    }
    const box = await until('the box', look, { logs: [acmems] })
    writeFileSync(at('box.pem'), box)
    writeFileSync(at('chain.pem'), box.slice(box.indexOf('-----BEGIN CERTIFICATE')))
  }
  {
    await using acmems = await startAcmems(`${config}${other}`, { folder: folder.path })
    assert.match(post(acmems, 'laser?domain=laser.printers.example.org'), /^laser\n 200$/)
    await openBox(acmems)
    writeFileSync(at('k'), openssl('cms', '-decrypt', '-inform', 'PEM', '-in', at('box.pem'), '-inkey', at('one.key')))
    assert.equal(publicKeyOf(at('k')), certifiedKeyOf(at('chain.pem')))
    for (const [path, key, from, expected] of [
      ['laser?domain=bank.example.org', 'one.pub', '127.0.0.1', /not in any auth block.* 403$/s],
      ['laser?domain=laser.example.org', 'one.pub', '127.0.0.2', /a box of this name already.* 403$/s],
      ['laser?domain=laser.example.org', 'one.pub', '127.0.0.3', /register-boxes = yes.* 403$/s],
      ['laser?domain=laser.printers.example.org', 'ed.pub', '127.0.0.1', /EC key.* 400$/s],
      ['laser?domain=laser.printers.example.org', 'one.key', '127.0.0.1', /private key.* 400$/s],
      ['laser?key-type=ec-256', 'one.pub', '127.0.0.1', /names nothing.* 400$/s],
      ['laser?domain=a.printers.example.org&x=y', 'one.pub', '127.0.0.1', /no "x".* 400$/s],
      ['..%2Flaser?domain=a.printers.example.org', 'one.pub', '127.0.0.1', /called by letters.* 400$/s],
    ] as const)
      assert.match(post(acmems, path, key, from), expected)
  }
  // It is known after a restart, and changed by who made it.
  await using acmems = await startAcmems(`${config}${other}`, { folder: folder.path })
  await openBox(acmems)
  assert.match(post(acmems, 'laser?domain=laser.printers.example.org&domain=ink.printers.example.org'), / 200$/)
  await until('the other names', async () => {
    await openBox(acmems)
    return /ink/.test(namesOf(at('chain.pem')) ?? '')
  })
  const orders = () => acmems.logLines().filter(({ msg }) => msg === 'certificate installed').length
  await until('its line', () => orders() > 0)
  assert.equal(orders(), 1, 'one new certificate for one change')
})

test('a recipient that cannot be read is the trouble of its own certificate, until a reload finds it', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('managed')
  const at = (name: string) => join(folder.path, name)
  await using acmems = await startAcmems(
    `${local}[auth "a"]\nip = 127.0.0.1\ndomain = a.example.org\n[certificate "box"]\ndomain = box.example.org\nrecipient = ${at('box.pub')}\nauth = a\n[certificate "web"]\ndomain = www.example.org\ndirectory = ${at('web')}\n`,
    { folder: folder.path },
  )
  await until('the other certificate', () => exists(at('web/privkey.pem')))
  await until('the complaint', () => /recipient .*box\.pub/.test(acmems.log()))
  openssl('genrsa', '-out', at('box.key'), '2048')
  openssl('pkey', '-in', at('box.key'), '-pubout', '-out', at('box.pub'))
  await reload(acmems, (text) => text)
  await until(
    'the box',
    () =>
      acmems.logLines().some(({ certificate }) => certificate === 'box') &&
      /"certificate":"box","names"/.test(acmems.log()),
  )
})
