// `acmems init`: by flags, at a terminal, with wrong answers, and where a configuration is already.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { Config } from '../src/config/config.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { main } from './program.ts'

const folder = makeTempFolder('init')
test.after(() => folder[Symbol.dispose]())
let count = 0
const newFile = () => join(folder.path, String(++count), 'acmems.ini')

function load(file: string): Promise<Config> {
  return loadConfig({ files: [file], environment: {}, assignments: [], lenient: false, plugins: builtinPlugins })
}

/** At a terminal that script(1) makes; all of `typed` is typed ahead. */
function atTerminal(args: readonly string[], typed: string): Promise<{ code: number | null; screen: string }> {
  const command = [process.execPath, main, 'init', ...args].map((word) => `'${word}'`).join(' ')
  return new Promise((done, fail) => {
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, TERM: 'dumb' },
      timeout: 30_000,
    })
    let [screen, isTyped] = ['', false]
    child.stdout.on('data', (chunk) => {
      screen += String(chunk)
      // What comes before the first question would be taken by the terminal itself.
      if (!isTyped && /: (?:\x1b\S*)?$/.test(screen)) {
        isTyped = true
        child.stdin.write(typed)
      }
    })
    child.on('error', fail)
    child.stdin.on('error', () => undefined)
    child.on('close', (code) => done({ code, screen: screen.replaceAll('\r', '') }))
  })
}

test('flags say everything', async () => {
  const file = newFile()
  const flags = ['--server-name', 'ACME.example.org', '--listener', '192.0.2.1:443', '--listener', '[2001:db8::1]:443']
  const more = ['--email', 'ops@example.org', '--ca', 'https://ca.example/dir', '--accept-terms-of-service', '--yes']
  const { code, out, err } = await runCommand(['init', ...flags, ...more, '--output', file])
  assert.deepEqual([code, err], [0, ''])
  assert.equal(statSync(file).mode & 0o777, 0o640)
  const { mgmt, issuers, certificates } = await load(file)
  assert.deepEqual(mgmt.listener, ['192.0.2.1:443', '[2001:db8::1]:443'])
  assert.deepEqual([mgmt.tls, mgmt['public-name']], ['acmems', ['acme.example.org']])
  assert.deepEqual(
    certificates.map(({ name, values }) => [name, values.domain.map(({ value }) => value)]),
    [['acmems', ['acme.example.org']]],
  )
  const account = issuers.get('default')?.options
  assert.equal(account?.['acme-server'], 'https://ca.example/dir')
  assert.deepEqual(account?.['accept-terms-of-service'], ['yes'])
  assert.deepEqual(account?.contact, ['mailto:ops@example.org'])
  for (const line of ['check-config', 'doctor acme.example.org --config', 'serve'])
    assert.ok(out.includes(`  acmems ${line} ${file}\n`), out)
  assert.doesNotMatch(out, /acmems register/)
  assert.deepEqual(readdirSync(join(file, '..')), ['acmems.ini'])
})

test('--yes takes what is usual, and agrees to nothing', async () => {
  const file = newFile()
  const { code, out } = await runCommand(['init', '--server-name', '192.0.2.9', '--yes', '--output', file])
  assert.equal(code, 0)
  const { mgmt, issuers, certificates } = await load(file)
  assert.deepEqual(mgmt.listener, ['0.0.0.0:1313', '[::]:1313'])
  assert.deepEqual(mgmt['public-name'], ['192.0.2.9:1313'])
  assert.deepEqual(
    certificates[0]?.values['ip-address'].map(({ value }) => value),
    ['192.0.2.9'],
  )
  const account = issuers.get('default')?.options
  assert.equal(account?.['acme-server'], 'https://acme-v02.api.letsencrypt.org/directory')
  assert.deepEqual(account?.['accept-terms-of-service'], [])
  assert.match(out, /acmems register --gen-key/)
})

test('called wrongly', async () => {
  const file = newFile()
  for (const [args, said] of [
    [[], /no terminal to ask at/],
    [['--server-name', 'acmems.example.org'], /no terminal to ask at/],
    [['--server-name', 'a b', '--yes'], /not a usable name/],
    [['--server-name', 'localhost', '--yes'], /known in your own network/],
    [['--server-name', '*.example.org', '--yes'], /wildcard/],
    [['--server-name', 'a.example', '--listener', '1313', '--yes'], /no listener/],
    [['--server-name', 'a.example', '--ca', 'zerossl', '--yes'], /none of letsencrypt/],
    [['--server-name', 'a.example', '--ca', 'http://ca.example', '--yes'], /https/],
    [['--server-name', 'a.example', '--email', 'nobody', '--yes'], /no mail address/],
    [['--nonsense'], /unknown option/],
    [['something'], /too many arguments/],
  ] as const) {
    const { code, err, out } = await runCommand(['init', ...args, '--output', file])
    assert.deepEqual([code, out], [2, ''], err)
    assert.match(err, said)
  }
  assert.ok(!existsSync(file))
})

test('a file that is there is left as it is', async () => {
  const file = newFile()
  mkdirSync(join(file, '..'))
  writeFileSync(file, 'mine')
  const { code, err } = await runCommand(['init', '--server-name', 'a.example', '--yes', '--output', file])
  assert.deepEqual([code, readFileSync(file, 'utf8')], [1, 'mine'])
  assert.match(err, /is there already/)
})

test('comments alone are nothing that could be lost', async () => {
  const file = newFile()
  mkdirSync(join(file, '..'))
  const init = () => runCommand(['init', '--server-name', 'a.example', '--yes', '--output', file])
  writeFileSync(file, '# a comment\n\n; another\n#[mgmt]')
  assert.equal((await init()).code, 0)
  assert.match(readFileSync(file, 'utf8'), /^\[state\]\nurl = sqlite:\/.*\/state\.db$/m)
  writeFileSync(file, '# a comment\n[mgmt]')
  assert.equal((await init()).code, 1)
})

test('at a terminal: it asks, again where the answer cannot be read, and only what no flag said', async (t) => {
  if (!requirePeer(t, 'script')) return
  await t.test('asked for everything', async () => {
    const file = newFile()
    const typed = [
      'acmems',
      'acmems.example.org',
      '',
      'https://',
      'letsencrypt-staging',
      'x',
      'ops@example.org',
      'maybe',
      'y',
      '',
    ]
    const { code, screen } = await atTerminal(['--output', file], typed.map((line) => `${line}\r`).join(''))
    assert.equal(code, 0, screen)
    for (const said of [
      /known in your own network/,
      /no address/,
      /no mail address/,
      /answer yes or no/,
      /is written\. Next/,
    ])
      assert.match(screen, said)
    const { mgmt, issuers } = await load(file)
    assert.deepEqual(mgmt['public-name'], ['acmems.example.org:1313'])
    const account = issuers.get('default')?.options
    assert.equal(account?.['acme-server'], 'https://acme-staging-v02.api.letsencrypt.org/directory')
    assert.deepEqual(account?.['accept-terms-of-service'], ['yes'])
  })
  const said = ['--server-name', 'a.example', '--listener', '127.0.0.1:1313', '--ca', 'letsencrypt', '--email', 'a@b.c']
  await t.test('asked for the terms only, and answered no', async () => {
    const file = newFile()
    const { code, screen } = await atTerminal([...said, '--output', file], '\r\r')
    assert.equal(code, 0, screen)
    assert.match(screen, /terms of service of acme-v02\.api\.letsencrypt\.org \[no\]/)
    assert.doesNotMatch(screen, /What hosts call|Where hosts|CA \(/)
    assert.deepEqual((await load(file)).issuers.get('default')?.options['accept-terms-of-service'], [])
  })
  for (const [how, typed] of [
    ['no', 'y\rno\r'],
    ['Ctrl-C', 'y\r\x03'],
    ['Ctrl-D', '\x04'],
  ] as const) {
    await t.test(`${how} writes nothing`, async () => {
      const file = newFile()
      const { code, screen } = await atTerminal([...said, '--output', file], typed)
      assert.equal(code, 1, screen)
      assert.match(screen, /nothing was written/)
      assert.ok(!existsSync(file))
    })
  }
})

test('a server starts with what was written, and its certificate comes from the CA', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble()
  const [file, port] = [newFile(), await freePort()]
  const where = ['--server-name', 'hub.example.test', '--listener', `127.0.0.1:${port}`, '--ca', pebble.directoryUrl]
  const { code } = await runCommand(['init', ...where, '--accept-terms-of-service', '--yes', '--output', file])
  assert.equal(code, 0)
  // What this test must have otherwise: Pebble's port and root, and a folder of its own.
  const config = readFileSync(file, 'utf8')
    .replace(/^directory = .*$/m, `directory = ${join(file, '../tls')}`)
    .replace(/^\[account\]$/m, `[account]\nca-file = ${pebble.caFile}`)
    .replace('listener = 0.0.0.0:1380\nlistener = [::]:1380', `listener = 127.0.0.1:${pebble.httpPort}`)
  await using acmems = await startAcmems(config)
  const root = await pebble.root(0)
  for (let i = 0; i < 200 && !acmems.log().includes('certificate installed'); i++) await sleep(100)
  // It would see the new files by itself within half a minute.
  process.kill(acmems.pid, 'SIGHUP')
  for (let i = 0; i < 200 && !(await isTrusted(port, root)); i++) await sleep(100)
  assert.ok(await isTrusted(port, root), acmems.log())
})

/** Does it show a certificate of this CA for its name? */
function isTrusted(port: number, ca: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ port, host: '127.0.0.1', servername: 'hub.example.test', ca }, () => {
      done(socket.authorized)
      socket.destroy()
    })
    socket.on('error', () => done(false))
  })
}
