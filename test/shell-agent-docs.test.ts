// docs/shell-agent.md is run as it stands there, other addresses apart, with certificates that Pebble validated; and what
// the agent says about itself.
import assert from 'node:assert/strict'
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { createHash, createPublicKey } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { makeTestAuthority, startAgentStub } from './agent-stub.ts'
import { agentScript, makeAgentHost, shells } from './agent-world.ts'
import { readSnippet, readSnippets } from './documentation.ts'
import { namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { makeTlsIdentity } from './peers/tls-identity.ts'

const document = 'docs/shell-agent.md'
const shownPin = 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='

function adapt(mark: string, changes: Readonly<Record<string, string>>): string {
  const adapted = Object.entries(changes).reduce(
    (text, [from, to]) => {
      assert.ok(text.includes(from), `"${mark}" does not say ${from}`)
      return text.replaceAll(from, to)
    },
    readSnippet(document, mark),
  )
  assert.doesNotMatch(adapted, /\/etc\/|\/var\/|hub\.example|AAAAAA/, 'something of the document is left')
  return adapted
}

test('every block is run here', () => {
  const marks = readSnippets(document).map(({ mark }) => mark)
  assert.deepEqual(marks.sort(), ['agent configuration', 'enrol', 'fetch', 'pin', 'run'])
})

test('docs/shell-agent.md, from the pin to the cron line, with a certificate that Pebble validated', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl') || !requirePeer(t, 'curl')) return
  await using pebble = await startPebble()
  using folder = makeTempFolder('docs')
  const tls = await makeTlsIdentity(folder.path)
  await using acmems = await startAcmems(
    `[mgmt]\ntls-certificate = ${tls.certificateFile}\ntls-key = ${tls.keyFile}\n${accountAndHttp01(pebble)}[auth "www"]\nip = 127.0.0.1\ndomain = *.example.org\ndomain = example.org\n`,
  )
  const server = `https://127.0.0.1:${acmems.mgmtPort}`
  for (const name of shells) {
    await t.test(name, async (shellTest) => {
      const shell = requirePeer(shellTest, name)
      using host = makeAgentHost(shellTest, name, server)
      if (shell === undefined || host === undefined) return
      // The document says `sh`: here that is this one.
      const bin = join(host.folder, 'sh-bin')
      mkdirSync(bin)
      symlinkSync(shell.path, join(bin, 'sh'))
      const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` }
      const run = (text: string) =>
        promisify(execFile)(join(bin, 'sh'), ['-c', `set -e\n${text}`], { cwd: host.folder, env })
      const pinned = await run(adapt('pin', { '/etc/acmems/tls/fullchain.pem': tls.certificateFile }))
      const pin = `sha256//${pinned.stdout.trim()}`
      const fetched = await run(adapt('fetch', { 'https://hub.example:1313': server, [shownPin]: pin }))
      assert.equal(fetched.stdout, 'agent.sh: OK\n')
      const roots = join(host.folder, 'roots.pem')
      writeFileSync(roots, await pebble.root())
      const changes = {
        'https://hub.example:1313': server,
        [shownPin]: pin,
        '/etc/ssl/www': host.directory,
        '/etc/ssl/public-roots.pem': roots,
        '/var/log/certificates': join(host.folder, 'serials'),
        'root:root': `${process.getuid?.()}:${process.getgid?.()}`,
      }
      writeFileSync(host.configFile, `${adapt('agent configuration', changes)}state = ${host.state}\n`)
      const lines = adapt('run', { '/etc/cron.d/acmems-agent': join(host.folder, 'cron') })
      const { stdout } = await run(lines.replaceAll(/sh agent\.sh \w+/g, `$& --config ${host.configFile}`))
      assert.match(stdout, /example\.org www\.example\.org[\s\S]*until {5}/)
      assert.deepEqual(namesOf(host.certificate()), ['DNS:example.org', 'DNS:www.example.org'])
      assert.ok(host.isPairWhole())
      assert.equal(statSync(join(host.directory, 'privkey.pem')).mode & 0o777, 0o640)
      assert.equal(readFileSync(join(host.folder, 'serials'), 'utf8').trim(), host.certificate()?.serialNumber)
      const cron = readFileSync(join(host.folder, 'cron'), 'utf8')
      assert.match(cron, /^[1-5]?\d \*\/6 \* \* \* root sh \/\S+\/agent\.sh renew --config \/\S+\/www\.conf\n$/)
      assert.match((await run(cron.replace(/^.*? root /, ''))).stdout, /^$/)
    })
  }
})

test('the line for enrolment writes a configuration that works', async (t) => {
  const authority = makeTestAuthority()
  await using stub = await startAgentStub(({ url, body }, response) => {
    if (url === '/sign') response.end(authority.chainFor(body))
    else {
      const der = createPublicKey(body).export({ type: 'spki', format: 'der' })
      response.end(`${createHash('sha256').update(der).digest('base64url')}\n`)
    }
  })
  for (const name of shells) {
    using host = makeAgentHost(t, name, stub.url)
    if (host === undefined) return
    const line = adapt('enrol', { '/etc/ssl/www': host.directory }).trim().split(' ').slice(2)
    const values: Record<string, string> = { '"$SERVER"': stub.url, '"$PIN"': stub.pin, '"$TOKEN"': 'token' }
    const enrolled = await host.run(...line.map((word) => values[word] ?? word), '--state', host.state)
    assert.equal(enrolled.code, 0, enrolled.stderr)
    const written = readFileSync(host.configFile, 'utf8')
    assert.match(
      written,
      new RegExp(`^server = ${stub.url}\npin = ${stub.pin.replaceAll('+', '\\+')}\nname = www\\.example\\.org\n`),
    )
    const renewed = await host.run()
    assert.equal(renewed.code, 0, renewed.stderr)
    assert.deepEqual(namesOf(host.certificate()), ['DNS:www.example.org'])
    assert.ok(stub.asked.at(-1)?.headers.signature !== undefined, 'with the key that was enrolled')
  }
})

for (const shell of shells) {
  test(`${shell}: due by time, not asked too early, and a lost answer is asked for once more`, async (t) => {
    const authority = makeTestAuthority()
    let life = { fromDays: -59, toDays: 31 }
    await using stub = await startAgentStub(({ body }, response) => void response.end(authority.chainFor(body, life)))
    using host = makeAgentHost(t, shell, stub.url)
    if (host === undefined) return
    host.configure({ pin: stub.pin, name: 'a.test' })
    const isAsked = async (...args: string[]) => {
      const before = stub.asked.length
      const run = await host.run(...args)
      assert.equal(run.code, 0, run.stderr)
      return stub.asked.length > before
    }
    assert.ok(await isAsked(), 'the first')
    life = { fromDays: -58, toDays: 29 }
    assert.ok(!(await isAsked()), '31 of 90 days are left')
    assert.ok(await isAsked('--force'))
    life = { fromDays: -3, toDays: 3.1 }
    assert.ok(await isAsked(), '29 of 87 days are left')
    assert.ok(!(await isAsked()), 'it lives 6.1 days, more than half of them are left')
    life = { fromDays: -2, toDays: 1.9 }
    assert.ok(await isAsked('--force'))
    const honest = stub.answer
    stub.asked.length = 0
    stub.answer = (_, response) => response.destroy()
    const lost = await host.run()
    assert.deepEqual([lost.code, /cannot be reached/.test(lost.stderr)], [1, true], lost.stderr)
    stub.answer = (_, response) => {
      response.writeHead(503, { 'retry-after': '3600' })
      response.end('later\n')
    }
    const later = await host.run()
    assert.deepEqual([later.code, /asked again after 3600 s: later/.test(later.stderr)], [1, true], later.stderr)
    stub.answer = honest
    assert.deepEqual([(await host.run()).code, stub.asked.length], [0, 2], 'not before')
    life = { fromDays: -1, toDays: 5 }
    assert.deepEqual([(await host.run('--force')).code, stub.asked.length], [0, 3])
    assert.equal(new Set(stub.asked.map(({ body }) => body)).size, 1, 'always the same request')
    assert.equal((await host.run()).code, 0)
    assert.equal(stub.asked.length, 3)
  })

  test(`${shell}: a configuration is read, never run, and what is wrong is said`, async (t) => {
    using host = makeAgentHost(t, shell, 'https://127.0.0.1:1')
    if (host === undefined) return
    const trap = join(host.folder, 'trap')
    const base = { name: 'a.test' }
    for (const [lines, said] of [
      [{ ...base, colour: 'blue' }, /www\.conf:5: there is no key "colour"/],
      [{ name: `$(touch ${trap})` }, /is no name or address/],
      [{ name: '*' }, /is no name or address/],
      [{ ...base, owner: `\`touch ${trap}\`` }, /is no USER or USER:GROUP/],
      [{ ...base, mode: 'rw' }, /is no octal mode/],
      [{ ...base, mode: '1777' }, /is no octal mode/],
      [{ ...base, 'key-type': 'dsa' }, /key-type = dsa is none of ec-256/],
      [{ ...base, directory: 'tls' }, /tls must begin with \//],
      [{ ...base, directory: '' }, /nothing says where to/],
      [{ ...base, directory: host.folder }, /is there already and no symlink/],
      [{ ...base, key: host.folder }, /is a folder; a file is to be written there/],
      [{ ...base, server: '' }, /server is missing/],
      [{}, /name is missing/],
      [{ ...base, roots: '/nowhere' }, /roots = \/nowhere cannot be read/],
      [{ ...base, 'secret-file': host.configFile }, /secret-file needs key-id/],
      [{ ...base, box: '../x' }, /letters, digits, dot/],
      [{ ...base, 'server ': 'https://other' }, /server is given twice/],
      [{ ...base, server: 'https://user@host' }, /only host and port/],
    ] as [Record<string, string>, RegExp][]) {
      host.configure(lines)
      const run = await host.run()
      assert.deepEqual([run.code, said.test(run.stderr)], [2, true], `${JSON.stringify(lines)}: ${run.stderr}`)
    }
    assert.ok(!existsSync(trap))
    host.configure(base)
    chmodSync(host.configFile, 0o666)
    assert.match((await host.run()).stderr, /can be written by everybody/)
    assert.equal((await host.run('--nonsense', '--config', host.configFile)).code, 2)
    assert.match((await host.run('--config', join(host.folder, 'none'))).stderr, /none cannot be read/)
    const help = await host.run('--help')
    assert.deepEqual([help.code, /^Usage: agent\.sh/.test(help.stdout)], [0, true])
    const units = await host.run('systemd', '--config', host.configFile)
    assert.match(
      units.stdout,
      /ExecStart=\/bin\/sh \/\S+\/agent\.sh renew --config \S+\/www\.conf\n[\s\S]*Persistent=true/,
    )
  })

  test(`${shell}: several configurations, one after another; one that fails stops none`, async (t) => {
    const authority = makeTestAuthority()
    await using stub = await startAgentStub(({ body }, response) => void response.end(authority.chainFor(body)))
    using host = makeAgentHost(t, shell, stub.url)
    if (host === undefined) return
    const files = ['a', 'b', 'c'].map((name) => {
      const file = join(host.folder, `${name}.conf`)
      const directory = join(host.folder, name)
      const text = `server = ${stub.url}\npin = ${stub.pin}\nname = ${name}.test\ndirectory = ${directory}\nstate = ${host.state}\n`
      writeFileSync(file, name === 'b' ? text.replace('name', 'nmae') : text)
      return file
    })
    const run = await host.run(...files.flatMap((file) => ['-c', file]))
    assert.deepEqual([run.code, /b\.conf:3: there is no key "nmae"/.test(run.stderr)], [2, true], run.stderr)
    assert.ok(host.isPairWhole(join(host.folder, 'a')) && host.isPairWhole(join(host.folder, 'c')))
  })
}

test('shellcheck has nothing to say', (t) => {
  const found = spawnSync('shellcheck', ['--version'], { encoding: 'utf8' })
  if (found.error !== undefined) return t.skip('shellcheck is not installed')
  execFileSync('shellcheck', ['-s', 'sh', agentScript], { encoding: 'utf8' })
})
