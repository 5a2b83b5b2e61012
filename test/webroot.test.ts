// http01 with `directory`: files in a web server's document root, and addresses as names (RFC 8738).
import assert from 'node:assert/strict'
import {
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { openWebroot } from '../src/plugins/challenges/webroot.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requireIpv6, requirePeer } from './peers/peers.ts'
import { startNginx } from './peers/web-servers.ts'

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA'
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

describe('the folder', () => {
  const folder = makeTempFolder('webroot')
  after(() => folder[Symbol.dispose]())
  const makeRoot = () => mkdtempSync(join(folder.path, 'root-'))

  test('a file for a token, readable for the web server whatever our umask, and gone again', async () => {
    const root = makeRoot()
    const before = process.umask(0o077)
    try {
      await openWebroot(root).put(token, keyAuthorization)
    } finally {
      process.umask(before)
    }
    const [known, challenges] = [join(root, '.well-known'), join(root, '.well-known/acme-challenge')]
    assert.equal(readFileSync(join(challenges, token), 'utf8'), keyAuthorization)
    assert.deepEqual([modeOf(known), modeOf(challenges), modeOf(join(challenges, token))], ['755', '755', '644'])
    writeFileSync(join(challenges, 'other'), 'of another program')
    // Presented again after a restart.
    await openWebroot(root).put(token, keyAuthorization)
    await openWebroot(challenges).put(token.toLowerCase(), `${token.toLowerCase()}.x`)
    assert.deepEqual(
      readdirSync(challenges).sort(),
      ['other', token, token.toLowerCase()].sort(),
      'no second .well-known',
    )
    await openWebroot(root).remove(token.toLowerCase(), `${token.toLowerCase()}.x`)
    await openWebroot(root).remove(token, `${token}.another`)
    assert.ok(existsSync(join(challenges, token)), 'what says something else is not ours')
    await openWebroot(root).remove(token, keyAuthorization)
    await openWebroot(root).remove(token, keyAuthorization)
    assert.deepEqual(readdirSync(challenges), ['other'])
  })

  test('an old answer of ours is replaced, a file of somebody else is not', async () => {
    const root = makeRoot()
    const path = join(root, '.well-known/acme-challenge', token)
    await openWebroot(root).put(token, `${token}.former`)
    await openWebroot(root).put(token, keyAuthorization)
    assert.equal(readFileSync(path, 'utf8'), keyAuthorization)
    writeFileSync(path, 'not ours')
    await assert.rejects(openWebroot(root).put(token, keyAuthorization), /is there, and is not ours/)
    await openWebroot(root).remove(token, keyAuthorization)
    assert.equal(readFileSync(path, 'utf8'), 'not ours')
  })

  test('links are not followed, the root apart', async () => {
    const secret = join(folder.path, 'secret')
    mkdirSync(secret)
    for (const [at, target] of [
      ['.well-known', secret],
      ['.well-known/acme-challenge', secret],
      [`.well-known/acme-challenge/${token}`, join(secret, 'file')],
    ] as const) {
      const root = makeRoot()
      mkdirSync(join(root, at, '..'), { recursive: true })
      symlinkSync(target, join(root, at))
      await assert.rejects(openWebroot(root).put(token, keyAuthorization), /is a symbolic link/)
      await openWebroot(root).remove(token, keyAuthorization)
      assert.ok(lstatSync(join(root, at)).isSymbolicLink())
    }
    writeFileSync(join(secret, token), keyAuthorization)
    const root = makeRoot()
    mkdirSync(join(root, '.well-known'))
    symlinkSync(secret, join(root, '.well-known/acme-challenge'))
    await openWebroot(root).remove(token, keyAuthorization)
    assert.deepEqual(readdirSync(secret), [token], 'nothing was written there, nothing removed')

    const real = makeRoot()
    symlinkSync(real, join(folder.path, 'current'))
    await openWebroot(join(folder.path, 'current')).put(token, keyAuthorization)
    assert.deepEqual(readdirSync(join(real, '.well-known/acme-challenge')), [token])
  })

  test('what cannot be done is said', async () => {
    await assert.rejects(
      openWebroot(join(folder.path, 'none')).put(token, keyAuthorization),
      /there is no folder .*none/,
    )
    assert.ok(!existsSync(join(folder.path, 'none')), 'a document root is not made')
    const root = makeRoot()
    writeFileSync(join(root, '.well-known'), '')
    await assert.rejects(
      openWebroot(root).put(token, keyAuthorization),
      /\.well-known is a file, and should be a folder/,
    )
    await assert.rejects(openWebroot(root).put('../x', 'x'), /the token is none/)
  })
})

test('directory opens no listener unless one is given', async () => {
  const listenersOf = async (...lines: string[]) => {
    using folder = makeTempFolder('config')
    const file = join(folder.path, 'acmems.ini')
    writeFileSync(file, `[verification "v"]\ntype = http01\n${lines.join('\n')}\n`)
    const config = await loadConfig({
      files: [file],
      environment: {},
      assignments: [],
      lenient: false,
      plugins: builtinPlugins,
    })
    const chosen = config.verifications.get('v')
    assert.ok(chosen?.plugin.kind === 'solver')
    const solver = await chosen.plugin.create(chosen.options as never, { clock: {} } as never)
    return [solver.responderListeners, solver.responderRelays]
  }
  assert.deepEqual(await listenersOf(), [['0.0.0.0:1380', '[::]:1380'], []])
  assert.deepEqual(await listenersOf('directory = /srv/www'), [[], []])
  assert.deepEqual(await listenersOf('directory = /srv/www', 'listener = 192.0.2.1:80'), [['192.0.2.1:80'], []])
  const relays = ['relay = http://192.0.2.11:1380', 'relay = http://other.example.org/']
  assert.deepEqual((await listenersOf(...relays))[1], ['http://192.0.2.11:1380', 'http://other.example.org'])
  for (const wrong of ['directory = www', 'relay = https://a', 'relay = http://a/b', 'relay = a:1380', 'resolver = a'])
    await assert.rejects(listenersOf(wrong), new RegExp(wrong.split(' ')[0] ?? ''))
})

test('Pebble validates several names through nginx and its document root; nothing stays behind', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'nginx') || !requirePeer(t, 'openssl')) return
  using root = makeTempFolder('htdocs')
  const httpPort = await freePort()
  await using pebble = await startPebble({ httpPort, authzReuse: 0 })
  await using _ = await startNginx(`server { listen 127.0.0.1:${httpPort}; root ${root.path}; }`, { httpPort })
  await using acmems = await startAcmems(
    `${accountAt(pebble)}[verification "web"]\ntype = http01\ndirectory = ${root.path}\nself-check-address = 127.0.0.1:${httpPort}\n[auth "all of it"]\nip = 127.0.0.0/8\ndomain = **.example.test\n`,
  )
  const names = ['a.example.test', 'b.example.test', 'c.example.test']
  const reply = await postCsr(acmems.signUrl, makeCsr({ names }))
  assert.equal(reply.status, 200, reply.text)
  assert.deepEqual(
    namesOf(certificatesOf(reply.text)[0]),
    names.map((name) => `DNS:${name}`),
  )
  assert.deepEqual(globSync('.well-known/acme-challenge/{.*,*}', { cwd: root.path }), [])
  assert.deepEqual(
    acmems.logLines().filter(({ msg }) => /responder|http-01/.test(String(msg))),
    [],
    'no listener',
  )
})

test('addresses by http-01, IPv4 and IPv6', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl') || !requireIpv6(t)) return
  await using pebble = await startPebble({ authzReuse: 0 })
  const { httpPort } = pebble
  await using acmems = await startAcmems(
    `${accountAt(pebble)}[verification "web"]\ntype = http01\nlistener = 127.0.0.1:${httpPort}\nlistener = [::1]:${httpPort}\n[auth "all of it"]\nip = 127.0.0.0/8\nip-address = 127.0.0.0/8\nip-address = ::1\n`,
  )
  const reply = await postCsr(acmems.signUrl, makeCsr({ addresses: ['127.0.0.1', '::1'] }))
  assert.equal(reply.status, 200, reply.text + pebble.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['IP Address:0:0:0:0:0:0:0:1', 'IP Address:127.0.0.1'])
})
