// acmems certs: on a state that a server made with a real CA, with that server and without it.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { untilLogged } from './until.ts'

function requirePeers(t: TestContext): boolean {
  return (['pebble', 'pebble-challtestsrv', 'openssl'] as const).every((name) => requirePeer(t, name) !== undefined)
}

let shared: Promise<Pebble> | undefined
const usePebble = () => {
  shared ??= startPebble()
  return shared
}
after(async () => (await shared)?.stop())

const openBlock = '[auth "lab"]\nip = 127.0.0.1\ndomain = **.example.test\nwildcard = yes\n'

function start(pebble: Pebble, folder: string, more = ''): Promise<Acmems> {
  return startAcmems(`${accountAndHttp01(pebble)}${openBlock}${more}`, { folder })
}

type Shown = {
  readonly id: string
  readonly names: readonly string[]
  readonly serial: string
  readonly state: string
  readonly nextRenewal?: { readonly at: string; readonly why: string }
  readonly renewalInfo?: { readonly start: string; readonly end: string }
  readonly revokedAt?: string
  readonly lastError?: string
  readonly pem?: string
}

/** A host's request, asked with; the serial of what came. */
async function ask(acmems: Acmems, csr: string): Promise<string> {
  const reply = await postCsr(acmems.signUrl, csr)
  assert.equal(reply.status, 200, reply.text + acmems.log())
  return certificatesOf(reply.text)[0]?.serialNumber ?? ''
}

const list = (acmems: Acmems, ...args: string[]) => runJson<Shown[]>(['certs', 'list', ...args, acmems.configFile])
const show = (acmems: Acmems, what: string) => runJson<Shown>(['certs', 'show', what, acmems.configFile])

test('certs list and show: what was issued, by id, serial and name', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  await using acmems = await start(await usePebble(), folder.path)
  assert.deepEqual(await list(acmems), [])
  assert.match((await runCommand(['certs', 'list', acmems.configFile])).out, /^no certificates\n$/)

  const serial = await ask(acmems, makeCsr({ names: ['www.example.test', 'example.example.test'] }))
  const other = await ask(acmems, makeCsr({ names: ['mail.example.test'] }))
  const all = await list(acmems)
  assert.deepEqual(new Set(all.map((one) => one.serial)), new Set([serial, other]))
  const www = all.find((one) => one.serial === serial)
  assert.ok(www?.nextRenewal !== undefined)
  assert.deepEqual([www.names, www.state], [['www.example.test', 'example.example.test'], 'in use'])
  assert.ok(Date.parse(www.nextRenewal.at) > Date.now())

  assert.deepEqual(
    (await list(acmems, '--name', 'www.example.test')).map((one) => one.serial),
    [serial],
  )
  assert.deepEqual(
    (await list(acmems, '--name', 'mail.*')).map((one) => one.serial),
    [other],
  )
  assert.deepEqual(await list(acmems, '--name', 'ail.example.test'), [])
  assert.equal((await list(acmems, '--expiring', '10000')).length, 2)
  assert.deepEqual(await list(acmems, '--expiring', '1'), [])

  const table = await runCommand(['certs', 'list', acmems.configFile])
  assert.match(table.out, /^ID +NAMES +BLOCK +ISSUER +SERIAL +NOT AFTER +NEXT RENEWAL +WHY +SERVED +STATE\n/)
  assert.match(table.out, new RegExp(`^${www.id.slice(0, 12)}  www\\.example\\.test.* lab +default .* in use$`, 'm'))

  for (const what of [
    www.id,
    www.id.slice(0, 12),
    serial,
    serial.toLowerCase(),
    'WWW.example.test.',
    'example.example.test',
  ])
    assert.equal((await show(acmems, what)).serial, serial, what)
  const shown = await show(acmems, serial)
  assert.equal(certificatesOf(shown.pem ?? '')[0]?.serialNumber, serial)
  const text = await runCommand(['certs', 'show', serial, acmems.configFile])
  assert.match(text.out, new RegExp(`^serial +${serial}$`, 'm'))
  assert.match(text.out, /^kept in +the state, sqlite:/m)
  const pem = await runCommand(['certs', 'show', serial, '--pem', acmems.configFile])
  assert.equal(certificatesOf(pem.out).length, 2)
  assert.match(pem.out, /^-----BEGIN CERTIFICATE-----\n/)
})

test("certs show: the CA's window, once the server has asked for it", async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  await using acmems = await start(await usePebble(), folder.path)
  const serial = await ask(acmems, makeCsr({ names: ['window.example.test'] }))
  for (let i = 0; i < 100 && (await show(acmems, serial)).renewalInfo === undefined; i++) await sleep(200)
  const shown = await show(acmems, serial)
  assert.ok(shown.renewalInfo !== undefined)
  assert.equal(shown.nextRenewal?.why, "the CA's window")
  const text = await runCommand(['certs', 'show', serial, acmems.configFile])
  assert.match(text.out, /^the CA's window +\d{4}-\d\d-\d\d \d\d:\d\dZ to \d{4}-/m)
  assert.match(text.out, /^next renewal +.* \(the CA's window\)$/m)
})

test('what nobody has, and what may be several', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  await using acmems = await start(await usePebble(), folder.path)
  const first = await ask(acmems, makeCsr({ names: ['two.example.test'] }))
  const second = await ask(acmems, makeCsr({ names: ['two.example.test', 'more.example.test'] }))
  for (const args of [
    ['certs', 'show'],
    ['certs', 'renew'],
    ['certs', 'revoke', '--yes'],
  ]) {
    const none = await runCommand([...args, 'nobody.example.test', acmems.configFile])
    assert.equal(none.code, 1)
    assert.match(none.err, /no certificate has .*nobody\.example\.test.*certs list/)
    const several = await runCommand([...args, 'two.example.test', acmems.configFile])
    assert.equal(several.code, 1)
    for (const serial of [first, second]) assert.match(several.err, new RegExp(serial))
  }
  // A newer request for the same names supersedes: the name then means the one in use, unless something is to end.
  const third = await ask(acmems, makeCsr({ names: ['two.example.test', 'more.example.test'] }))
  assert.deepEqual(
    [(await show(acmems, 'more.example.test')).serial, (await show(acmems, second)).state],
    [third, 'superseded'],
  )
  const both = await runCommand(['certs', 'revoke', '--yes', 'more.example.test', acmems.configFile])
  assert.equal(both.code, 1)
  assert.match(both.err, new RegExp(`${second}[^]*superseded`))
})

test('where there is no state, none is made', async () => {
  using folder = makeTempFolder('certs')
  const database = join(folder.path, 'none', 'state.db')
  const set = ['--set', `state.url=sqlite:${database}`]
  const calls = [
    ['certs', 'list'],
    ['certs', 'show', 'x.example'],
    ['certs', 'renew', '--all'],
    ['certs', 'revoke', 'x.example', '--yes'],
    ['orders', 'list'],
    ['orders', 'show', 'x.example'],
    ['limits'],
    ['plan'],
  ]
  for (const { code, err } of await Promise.all(calls.map((args) => runCommand([...args, ...set])))) {
    assert.equal(code, 1, err)
    assert.ok(err.includes(database) && err.includes('acmems serve'), err)
    assert.ok(!existsSync(database))
  }
})

test('called wrongly: 2, and what to do', async () => {
  const calls = [
    ['certs'],
    ['certs', 'lits'],
    ['certs', 'show'],
    ['certs', 'list', '--expiring', 'soon'],
    ['certs', 'renew'],
    ['certs', 'renew', '--all', 'x.example'],
    ['certs', 'revoke', 'x.example', '--reason', 'boredom'],
    ['account', 'update'],
    ['account', 'update', '--email', 'nobody'],
    ['orders', 'list', '--max', '0'],
    ['plan', '--days', 'x'],
  ]
  for (const [index, { code, err }] of (await Promise.all(calls.map((args) => runCommand(args)))).entries()) {
    assert.equal(code, 2, `${calls[index]?.join(' ')}: ${err}`)
    assert.notEqual(err, '')
  }
})

// renew ------------------------------------------------------------------------------------------

test('certs renew: the server does it; without one the command does; --no-wait leaves it to the next one', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  const pebble = await usePebble()
  const csr = makeCsr({ names: ['renew.example.test'] })
  let serial = ''
  let configFile = ''
  {
    await using acmems = await start(pebble, folder.path)
    configFile = acmems.configFile
    const former = await ask(acmems, csr)
    const renewed = await runCommand(['certs', 'renew', 'renew.example.test', configFile])
    assert.equal(renewed.code, 0, renewed.err + acmems.log())
    serial = (await show(acmems, 'renew.example.test')).serial
    assert.notEqual(serial, former)
    assert.match(renewed.out, new RegExp(`renew\\.example\\.test: renewed, ${former} -> ${serial}`))
    await untilLogged(acmems, /"msg":"renewed"/)
    assert.equal(await ask(acmems, csr), serial, 'the host gets the new one')
  }
  const [alone] = await runJson<{ outcome: string; replaced: string; serial: string }[]>([
    'certs',
    'renew',
    '--all',
    configFile,
  ])
  assert.ok(alone !== undefined && alone.serial !== serial)
  assert.deepEqual([alone.outcome, alone.replaced], ['renewed', serial])

  const left = await runCommand(['certs', 'renew', 'renew.example.test', '--no-wait', configFile])
  assert.deepEqual([left.code, /no server runs now/.test(left.out)], [0, true], left.out + left.err)
  await using acmems = await start(pebble, folder.path)
  for (let i = 0; i < 100 && (await show(acmems, 'renew.example.test')).serial === alone.serial; i++) await sleep(200)
  const last = (await show(acmems, 'renew.example.test')).serial
  assert.notEqual(last, alone.serial)
  assert.equal(await ask(acmems, csr), last)
})

test("certs renew: the CA's refusal is told, with and without a server, and the old one stays", async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  // Its authorizations are not used again: every order asks the host.
  await using pebble = await startPebble({ authzReuse: 0 })
  const csr = makeCsr({ names: ['dead.example.test'] })
  let configFile = ''
  let serial = ''
  {
    await using acmems = await start(pebble, folder.path)
    configFile = acmems.configFile
    serial = await ask(acmems, csr)
    await pebble.setA('dead.example.test', ['127.0.0.9'])
    const refused = await runCommand(['certs', 'renew', 'dead.example.test', configFile])
    assert.equal(refused.code, 1)
    assert.match(refused.err, /dead\.example\.test: failed: .*refused/)
    const shown = await show(acmems, serial)
    assert.equal(shown.state, 'failing')
    assert.match(shown.lastError ?? '', /refused/)
    assert.match((await runCommand(['certs', 'list', configFile])).out, /again after a failure +- +failing: .*refused/)
    assert.equal(await ask(acmems, csr), serial)
  }
  const alone = await runCommand(['certs', 'renew', serial, configFile])
  assert.equal(alone.code, 1, alone.out)
  assert.match(alone.err, /failed: .*refused/)
  await pebble.clearA('dead.example.test')
  const cured = await runCommand(['certs', 'renew', serial, configFile])
  assert.equal(cured.code, 0, cured.err)
})

// revoke -----------------------------------------------------------------------------------------

async function revokedAtCa(pebble: Pebble, serial: string): Promise<boolean> {
  return /"Status": *"Revoked"/i.test(await pebble.manage(`/cert-status-by-serial/${serial.toLowerCase()}`))
}

test('certs revoke: asked for before, revoked at the CA, never answered again, ordered anew', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  const pebble = await usePebble()
  await using acmems = await start(pebble, folder.path)
  const csr = makeCsr({ names: ['revoke.example.test'] })
  const serial = await ask(acmems, csr)
  assert.equal(await ask(acmems, csr), serial)

  const asked = await runCommand(['certs', 'revoke', 'revoke.example.test', acmems.configFile], 'y\n')
  assert.equal(asked.code, 2)
  assert.match(asked.err, /--yes/)
  assert.ok(!(await revokedAtCa(pebble, serial)))

  const revoked = await runJson<{ outcome: string; serial: string; keyBlocked: boolean }>([
    ...['certs', 'revoke', 'revoke.example.test', '--reason', 'superseded', '--yes', acmems.configFile],
  ])
  assert.deepEqual([revoked.outcome, revoked.serial, revoked.keyBlocked], ['revoked', serial, false])
  assert.ok(await revokedAtCa(pebble, serial))
  const shown = await show(acmems, serial)
  assert.deepEqual([shown.state, shown.pem, shown.nextRenewal], ['revoked', undefined, undefined])
  assert.ok(shown.revokedAt !== undefined)
  const [event] = await runJson<{ kind: string; names: string[]; facts: Record<string, string> }[]>([
    ...['audit', '--name', 'revoke.example.test', '--kind', 'certificate.revoked', acmems.configFile],
  ])
  assert.deepEqual([event?.names, event?.facts.serial], [['revoke.example.test'], serial])
  assert.deepEqual([event?.facts.reason, event?.facts.by], ['superseded', userInfo().username])
  // What a process looked up is believed for a second.
  await sleep(1100)
  const next = await ask(acmems, csr)
  assert.notEqual(next, serial)
  assert.equal((await show(acmems, 'revoke.example.test')).serial, next)
})

test('certs revoke: after keyCompromise the key gets nothing any more, and others with it are named', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  await using acmems = await start(await usePebble(), folder.path)
  const { key, csrs } = makeRequests(folder.path, ['stolen.example.test', 'stolen-too.example.test'])
  const [csr = '', csrToo = ''] = csrs
  const serial = await ask(acmems, csr)
  const serialToo = await ask(acmems, csrToo)
  const chain = join(folder.path, 'stolen.pem')
  writeFileSync(chain, (await show(acmems, serial)).pem ?? '')

  const wrongKey = join(folder.path, 'wrong.pem')
  writeFileSync(
    wrongKey,
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
  )
  const wrong = await runCommand(['certs', 'revoke', chain, '--key', wrongKey, '--yes', acmems.configFile])
  assert.equal(wrong.code, 1)
  assert.match(wrong.err, /is not that of the certificate/)

  const args = ['certs', 'revoke', chain, '--key', key, '--reason', 'key-compromise', '--yes', acmems.configFile]
  const revoked = await runCommand(args)
  assert.equal(revoked.code, 0, revoked.err)
  assert.match(revoked.out, /the host must make a new key/)
  assert.match(revoked.out, new RegExp(`the same key is in ${serialToo}`))
  assert.ok(await revokedAtCa(await usePebble(), serial))
  await sleep(1100)
  const refused = await postCsr(acmems.signUrl, csr)
  assert.equal(refused.status, 400, refused.text)
  assert.match(refused.text, /key.*compromised.*new key/)
  // Twice is no harm: the CA knows it already.
  assert.equal((await runCommand(args)).code, 0)
})

test('certs revoke: a file that the register does not know any more; an issuer that cannot', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('certs')
  const pebble = await usePebble()
  const more = `[issuer "lab"]\ntype = local\n[auth "local"]\nip = 127.0.0.1\ndomain = *.local.test\nissuer = lab\n`
  await using acmems = await start(pebble, folder.path, more)
  const csr = makeCsr({ names: ['old.example.test'] })
  const former = await ask(acmems, csr)
  const file = join(folder.path, 'old.pem')
  writeFileSync(file, (await show(acmems, former)).pem ?? '')
  const renewed = await runCommand(['certs', 'renew', former, acmems.configFile])
  assert.equal(renewed.code, 0, renewed.err)
  const { serial } = await show(acmems, 'old.example.test')
  const revoked = await runCommand(['certs', 'revoke', file, '--yes', acmems.configFile])
  assert.equal(revoked.code, 0, revoked.err)
  assert.ok(await revokedAtCa(pebble, former))
  assert.ok(!(await revokedAtCa(pebble, serial)))
  await sleep(1100)
  assert.equal(await ask(acmems, csr), serial, 'the one that followed it is still the answer')

  const local = await ask(acmems, makeCsr({ names: ['a.local.test'] }))
  const unable = await runCommand(['certs', 'revoke', local, '--yes', acmems.configFile])
  assert.equal(unable.code, 1)
  assert.match(unable.err, /\[issuer "lab"\] revokes nothing/)
  const strange = join(folder.path, 'strange.pem')
  writeFileSync(strange, 'no certificate')
  assert.match((await runCommand(['certs', 'revoke', strange, '--yes', acmems.configFile])).err, /strange\.pem: /)
})

/** Several requests with one key. */
function makeRequests(folder: string, names: readonly string[]): { key: string; csrs: string[] } {
  const key = join(folder, 'host.key')
  execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key], { stdio: 'pipe' })
  const csrs = names.map((name) => {
    const file = join(folder, `${name}.csr`)
    const san = ['-addext', `subjectAltName=DNS:${name}`]
    execFileSync('openssl', ['req', '-new', '-key', key, '-subj', '/', ...san, '-out', file], { stdio: 'pipe' })
    return readFileSync(file, 'utf8')
  })
  return { key, csrs }
}
