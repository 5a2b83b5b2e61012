// What goes wrong with lacme 0.8.2 and must not go wrong here. The ids are those of the list that was made when it was
// looked at; those that are not here are about parts that we do not have, or stand where those parts are tested.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type TestContext, test } from 'node:test'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { type Outcome, runCommand } from './command.ts'
import type { Instruction } from './hostile-issuer.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const plugin = resolve(import.meta.dirname, 'hostile-issuer.ts')
const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
const publicKeyOf = (keyFile: string) => openssl('pkey', '-in', keyFile, '-pubout')
const certifiedKeyOf = (certificateFile: string) => openssl('x509', '-in', certificateFile, '-noout', '-pubkey')
const certificateIn = (file: string) => new X509Certificate(readFileSync(file))
const linesOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [])

/** A machine with an issuer that does as it is told. */
function makeMachine(t: TestContext) {
  const folder = makeTempFolder('defects')
  t.after(() => folder[Symbol.dispose]())
  const at = (name: string) => join(folder.path, name)
  const configFile = at('acmems.ini')
  mkdirSync(at('ca'))
  return {
    at,
    configFile,
    instruct: (instruction: Instruction) => writeFileSync(at('ca/instruction'), instruction),
    asked: () => linesOf(at('ca/asked')).length,
    /** @param account undefined: the issuer that is told what to do */
    configure(
      sections: string,
      account = `[setup]\nplugin = ${plugin}\n[account]\ntype = hostile\nfolder = ${at('ca')}\n`,
    ) {
      writeFileSync(configFile, `[state]\nurl = sqlite:${at('state/state.db')}\n${account}${sections}`)
    },
    renew: (...args: string[]): Promise<Outcome> => runCommand(['renew', ...args, configFile]),
  }
}

type Machine = ReturnType<typeof makeMachine>

/** Key and full chain of `web` in files of their own. */
const webFiles = ({ at }: Machine) => `key = ${at('web.key')}\nfullchain = ${at('web.pem')}\n`
const web = (machine: Machine, more = '') =>
  `[certificate "web"]\ndomain = www.example.org\n${webFiles(machine)}${more}`

function assertPair({ at }: Machine, name = 'web'): string {
  assert.equal(publicKeyOf(at(`${name}.key`)), certifiedKeyOf(at(`${name}.pem`)))
  return certificateIn(at(`${name}.pem`)).serialNumber
}

const succeeded = ({ code, out, err }: Outcome) => assert.deepEqual([code, err], [0, ''], out)

test('D1, D16: a subject without a common name, and none: the names are those of the configuration', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  for (const subject of ['/O=Foo', '/CN=www.example.org/O=y', '/', undefined]) {
    machine.configure(web(machine, subject === undefined ? '' : `subject = ${subject}\n`))
    succeeded(await machine.renew())
    assert.equal(certificateIn(machine.at('web.pem')).subjectAltName, 'DNS:www.example.org')
  }
  for (const subject of ['/CN=*.example.org', '/CN=x/O=y']) {
    machine.configure(web(machine, `subject = ${subject}\n`))
    const { code, err } = await machine.renew('--force')
    assert.equal(code, 1)
    assert.match(err, /the common name .* is not one of the DNS names; add it to them/)
  }
  assert.equal(machine.asked(), 4)
})

test('D3: a CA, or what stands between, that sends something else is not believed', async (t) => {
  const machine = makeMachine(t)
  machine.configure(web(machine, 'reuse-key = yes\n'))
  machine.instruct('good')
  succeeded(await machine.renew())
  const former = ['web.key', 'web.pem'].map((name) => readFileSync(machine.at(name), 'utf8'))
  for (const [instruction, reason] of [
    ['other name', /other names than asked for/],
    ['one name more', /other names than asked for/],
    ['other key', /for another key/],
    ['over', /has expired/],
    ['cut off', /chain is (cut off|damaged)|cannot be read/],
    ['older', /older than the one that is installed/],
  ] as const) {
    machine.instruct(instruction)
    const { code, out, err } = await machine.renew('--force')
    assert.deepEqual([code, out], [1, ''], instruction)
    assert.match(err, reason)
    assert.deepEqual(
      ['web.key', 'web.pem'].map((name) => readFileSync(machine.at(name), 'utf8')),
      former,
      instruction,
    )
  }
  machine.instruct('good')
  succeeded(await machine.renew('--force'))
  assert.notEqual(readFileSync(machine.at('web.pem'), 'utf8'), former[1])
  assertPair(machine)
})

test('D7: files that are empty or nonsense, before us and later', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  for (const name of ['web.key', 'web.pem', 'cert.pem']) writeFileSync(machine.at(name), name === 'web.key' ? 'x' : '')
  machine.configure(web(machine, `reuse-key = yes\ncertificate = ${machine.at('cert.pem')}\n`))
  succeeded(await machine.renew())
  const serial = assertPair(machine)
  for (const content of ['', 'nonsense', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'])
    for (const name of ['web.pem', 'cert.pem']) {
      writeFileSync(machine.at(name), content)
      const { code, out } = await machine.renew()
      assert.equal(code, 0)
      assert.match(out, new RegExp(`web: repaired ${serial}, because .*${name} was changed by somebody else`))
      assert.equal(assertPair(machine), serial)
    }
  assert.equal(machine.asked(), 1)
  // What we remember ourselves, too.
  writeFileSync(machine.at('state/certificates/web/certificate.json'), '')
  const { code, out } = await machine.renew()
  assert.deepEqual([code, /^web: installed/.test(out)], [0, true])
  assertPair(machine)
})

test('D8: other names, another key, a missing file beside others: seen', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  const more = `certificate = ${machine.at('cert.pem')}\nchain = ${machine.at('chain.pem')}\n`
  machine.configure(web(machine, more))
  succeeded(await machine.renew())
  const first = assertPair(machine)
  rmSync(machine.at('cert.pem'))
  succeeded(await machine.renew())
  assert.equal(certificateIn(machine.at('cert.pem')).serialNumber, first)
  machine.configure(web(machine, `domain = more.example.org\n${more}`))
  succeeded(await machine.renew())
  const second = assertPair(machine)
  assert.equal(certificateIn(machine.at('cert.pem')).subjectAltName, 'DNS:www.example.org, DNS:more.example.org')
  assert.notEqual(second, first)
  // Somebody put another key there: the one of the certificate is gone.
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', machine.at('web.key'))
  const { out } = await machine.renew()
  assert.match(out, /installed .*, because its key is lost: .*web.key was changed/)
  assert.notEqual(assertPair(machine), second)
  machine.configure(web(machine, `domain = more.example.org\nkey-type = rsa-2048\n${more}`))
  assert.match((await machine.renew()).out, /because key type changed/)
  assertPair(machine)
  assert.equal(machine.asked(), 4)
})

test('D8: a good certificate is put back though another is wanted and the CA is away', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  machine.configure(web(machine))
  succeeded(await machine.renew())
  const serial = assertPair(machine)
  machine.instruct('away')
  // The next one is asked for, in vain, and waited for.
  assert.equal((await machine.renew('--force')).code, 1)
  rmSync(machine.at('web.pem'))
  const { code, err } = await machine.renew()
  assert.equal(code, 1)
  assert.match(err, /^web: failed/)
  assert.equal(assertPair(machine), serial)
})

test('D8, D9, D15: revoked is replaced; 15 of 100 nonces refused; addresses; a wildcard without DNS burns no order', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  await using pebble = await startPebble({ nonceReject: 15 })
  const machine = makeMachine(t)
  const section = (name: string, wanted: string) =>
    `[certificate "${name}"]\n${wanted}\nkey = ${machine.at(`${name}.key`)}\nfullchain = ${machine.at(`${name}.pem`)}\n`
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names) await pebble.setA(`${name}.defects.test`, ['127.0.0.1'])
  const plain = names.map((name) => section(name, `domain = ${name}.defects.test`)).join('')
  machine.configure(
    `${plain}${section('address', 'ip-address = 127.0.0.1')}${section('wild', 'domain = *.defects.test')}`,
    accountAndHttp01(pebble),
  )
  const { code, err, out } = await machine.renew()
  assert.equal(code, 1)
  assert.match(err, /^wild: failed: .*http-01.*\n$|^wild: failed: .*wildcard.*\n$/i)
  assert.equal(out.match(/installed/g)?.length, 6)
  for (const name of [...names, 'address']) assertPair(machine, name)
  assert.equal(certificateIn(machine.at('address.pem')).subjectAltName, 'IP Address:127.0.0.1')
  assert.equal(pebble.issuedCount(), 6)
  const serial = assertPair(machine, 'a')
  const revoked = await runCommand(['certs', 'revoke', serial, '--yes', machine.configFile])
  assert.equal(revoked.code, 0, revoked.err)
  assert.match((await machine.renew('a')).out, /^a: installed .*because it was revoked/)
  assert.notEqual(assertPair(machine, 'a'), serial)
})

test('D10, D18: one section that cannot be installed keeps no other waiting; modes are put right', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  const other = (name: string, more: string) =>
    `[certificate "${name}"]\ndomain = ${name}.example.org\nkey = ${machine.at(`${name}.key`)}\nfullchain = ${machine.at(`${name}.pem`)}\n${more}`
  machine.configure(
    `${other('one', 'owner = no-such-user\n')}${other('two', 'owner = root:no-such-group\n')}${other('gone', 'ca-file = /nowhere.pem\n')}${web(machine)}`,
  )
  const { code, out, err } = await machine.renew()
  assert.deepEqual([code, /^web: installed [0-9A-F]+, because there is none yet\n$/.test(out)], [1, true], out)
  assert.match(err, /^one: failed: this machine does not know the user no-such-user \(owner\)$/m)
  assert.match(err, /^two: failed: this machine does not know the group no-such-group \(owner\)$/m)
  assert.match(err, /^gone: failed: .*\/nowhere.pem/m)
  assert.equal(err.trim().split('\n').length, 3, err)
  assert.equal(machine.asked(), 1, 'what could not be installed is not asked for')
  const serial = assertPair(machine)
  chmodSync(machine.at('web.key'), 0o644)
  assert.match((await machine.renew('web')).out, new RegExp(`repaired ${serial}, because .*has another mode`))
  assert.equal(statSync(machine.at('web.key')).mode & 0o777, 0o600)
})

test('D11: a hook is told what it is about, runs once for several, may take its time, and again after a failure', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  const [told, ok] = [machine.at('told'), machine.at('ok')]
  const hook = `hook = echo "$ACMEMS_CERTIFICATES/$ACMEMS_NAMES/$ACMEMS_SERIAL" >> ${told}; sleep 1; test -e ${ok} || { echo no such unit >&2; exit 7; }\n`
  const other = `[certificate "other"]\ndomain = o.example.org\nkey = ${machine.at('o.key')}\nfullchain = ${machine.at('o.pem')}\n`
  machine.configure(`${web(machine, hook)}${other}${hook}`)
  const failed = await machine.renew()
  assert.equal(failed.code, 1)
  assert.equal(failed.err, 'hook: of web, other: the hook /bin/sh ended with status 7: no such unit\n')
  writeFileSync(ok, '')
  succeeded(await machine.renew())
  succeeded(await machine.renew())
  const both = 'web other/www.example.org o.example.org/'
  assert.deepEqual(linesOf(told), [both, both])
  rmSync(machine.at('web.pem'))
  succeeded(await machine.renew())
  assert.deepEqual(linesOf(told).slice(2), [`web/www.example.org/${assertPair(machine)}`])
  assert.equal(machine.asked(), 2)
})

test('D12: what was issued and could not be installed is kept, and installed later without an order', async (t) => {
  const machine = makeMachine(t)
  machine.instruct('good')
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=x',
    '-keyout',
    '/dev/null',
    '-out',
    machine.at('x'),
  )
  machine.configure(web(machine, `ca-file = ${machine.at('x')}\n`))
  const refused = await machine.renew()
  assert.deepEqual([refused.code, existsSync(machine.at('web.key'))], [1, false])
  assert.match(refused.err, /^web: failed: the chain ends at "CN=hostile", which is not one of the roots in ca-file$/m)
  for (const _ of [1, 2]) {
    const { code, out, err } = await machine.renew()
    assert.deepEqual([code, out], [1, ''])
    assert.match(err, /^web: failed before \(the chain ends .*; tried again after .*, or now with --force$/m)
  }
  machine.configure(web(machine, `ca-file = ${machine.at('ca/root.pem')}\n`))
  succeeded(await machine.renew('--force'))
  assertPair(machine)
  assert.equal(machine.asked(), 1)
})

test('D14: two runs at once, and one beside a server: each waits for its turn, one order for each', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  await using pebble = await startPebble({})
  const machine = makeMachine(t)
  for (const name of ['www.example.org', 'o.example.org']) await pebble.setA(name, ['127.0.0.1'])
  const other = `[certificate "other"]\ndomain = o.example.org\nkey = ${machine.at('o.key')}\nfullchain = ${machine.at('o.pem')}\n`
  const sections = `${web(machine)}${other}`
  machine.configure(sections, accountAndHttp01(pebble))
  const runs = await Promise.all([machine.renew(), machine.renew(), machine.renew()])
  for (const run of runs) succeeded(run)
  assert.equal(pebble.issuedCount(), 2)
  for (const name of ['web', 'o']) assertPair(machine, name)

  const more = `[certificate "more"]\ndomain = www.example.org\ndomain = o.example.org\ndirectory = ${machine.at('more')}\n`
  const state = `[state]\nurl = sqlite:${machine.at('state/state.db')}\n`
  await using acmems = await startAcmems(`${state}${accountAndHttp01(pebble)}${sections}${more}`)
  for (const run of await Promise.all([1, 2].map(() => runCommand(['renew', acmems.configFile])))) succeeded(run)
  assert.equal(publicKeyOf(machine.at('more/privkey.pem')), certifiedKeyOf(machine.at('more/cert.pem')))
  assert.equal(pebble.issuedCount(), 3)
})
