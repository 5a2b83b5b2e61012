// The account key at other places than in a file: certificates of Pebble's, with the key never in the server.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAlive } from '../src/process-id.ts'
import { lacmeAccountd, main, makeKeyFolder, ourAccountd, startHolder } from './accountd-world.ts'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { type PeerName, requirePeer } from './peers/peers.ts'
import { until } from './until.ts'

const block = '[auth "web"]\nip = 127.0.0.1\ndomain = **.example.org\n'

function needed(t: TestContext, ...names: PeerName[]): boolean {
  return (['pebble', 'pebble-challtestsrv', ...names] as const).every((name) => requirePeer(t, name) !== undefined)
}

function configOf(pebble: Pebble, key: string): string {
  return `${accountAndHttp01(pebble).replace('[verification', `key = ${key}\n[verification`)}${block}`
}

async function getsCertificate(signUrl: string, name: string): Promise<void> {
  const answer = await postCsr(signUrl, makeCsr({ names: [name] }))
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(namesOf(certificatesOf(answer.text)[0]), [`DNS:${name}`])
}

type AccountView = { url: string; key: { alg: string; thumbprint: string } }

test('lacme-accountd as it is holds the key of our server, also over restarts of its own', async (t) => {
  if (!needed(t, 'perl', 'lacme-accountd')) return
  await using pebble = await startPebble({ authzReuse: 0 })
  using folder = makeKeyFolder('keys-lacme')
  const config = `privkey = file:${folder.keyFile}\n`
  const first = await startHolder(lacmeAccountd(), folder.path, config)
  await using acmems = await startAcmems(configOf(pebble, `accountd:${folder.socket}`))
  await getsCertificate(acmems.signUrl, 'a.example.org')
  // It serves one peer at a time: ours does not stay.
  await sleep(2500)
  const account = await runJson<AccountView>(['account', 'show', acmems.configFile])
  assert.equal(account.key.alg, 'RS256')
  await first.stop()
  const answer = await postCsr(acmems.signUrl, makeCsr({ names: ['b.example.org'] }))
  assert.equal(answer.status >= 500, true, 'without it there is no certificate')
  await using _second = await startHolder(lacmeAccountd(), folder.path, config)
  await sleep(1500)
  await getsCertificate(acmems.signUrl, 'c.example.org')

  // The account is known by its address alone, to lacme-accountd as to ours.
  await acmems.stop()
  await _second.stop()
  for (const program of [lacmeAccountd(), ourAccountd]) {
    await using holder = await startHolder(program, folder.path, `${config}keyid = ${account.url}\n`)
    await using fresh = await startAcmems(configOf(pebble, `accountd:${folder.socket}`))
    await getsCertificate(fresh.signUrl, 'kid.example.org')
    assert.doesNotMatch(holder.log(), /"jwk"/, 'every signature is of the account')
    await fresh.stop()
  }
})

test('with keyid a server gets, renews and revokes certificates, and can do nothing to the account', async (t) => {
  if (!needed(t)) return
  await using pebble = await startPebble({ authzReuse: 0 })
  using folder = makeKeyFolder('keys-keyid', 'P-384')
  const admin = join(folder.path, 'admin', 'S')
  mkdirSync(dirname(admin), { mode: 0o700 })
  const common = `privkey = file:${folder.keyFile}\nadmin-socket = ${admin}\naudit-log = ${folder.path}/audit\n`
  const first = await startHolder(ourAccountd, folder.path, common)
  const viaAdmin = join(folder.path, 'admin.ini')
  const url = `sqlite:${join(folder.path, 'admin-state', 'state.db')}`
  writeFileSync(viaAdmin, `[state]\nurl = ${url}\n${configOf(pebble, `accountd:${admin}`)}`)
  const registered = await runCommand(['register', viaAdmin])
  const account = /registered as (\S+)|account is (\S+)/.exec(registered.out)?.slice(1).find(Boolean)
  assert.ok(account !== undefined, registered.out + registered.err)
  await first.stop()

  await using holder = await startHolder(ourAccountd, folder.path, `${common}keyid = ${account}\n`)
  await using acmems = await startAcmems(configOf(pebble, `accountd:${folder.socket}`))
  await getsCertificate(acmems.signUrl, 'a.example.org')
  const view = await runJson<AccountView>(['account', 'show', acmems.configFile])
  assert.deepEqual([view.url, view.key.alg], [account, 'ES384'])
  const revoked = await runCommand(['certs', 'revoke', 'a.example.org', '--yes', acmems.configFile])
  assert.equal(revoked.code, 0, revoked.out + revoked.err)
  for (const args of [
    ['account', 'update', '--email', 'evil@example.org'],
    ['account', 'deactivate', '--yes'],
    ['account', 'rollover'],
  ]) {
    const { code, err } = await runCommand([...args, acmems.configFile])
    assert.equal(code === 0, false, args.join(' '))
    t.diagnostic(`${args.join(' ')}: ${err.trim()}`)
  }
  assert.match(holder.log(), /NOSIGN \[it would give the account away or end it\].*"deactivated"/)
  assert.match(holder.log(), /NOSIGN \[it is none of the requests that get certificates\].*contact/)
  assert.equal((await runCommand(['accountd', 'check-audit', join(folder.path, 'audit')])).code, 0)
  await getsCertificate(acmems.signUrl, 'b.example.org')
})

test('the account changes its key: from the server into accountd, and to another accountd', async (t) => {
  if (!needed(t)) return
  await using pebble = await startPebble({ authzReuse: 0 })
  using rsa = makeKeyFolder('keys-former')
  using ec = makeKeyFolder('keys-next', 'P-384')
  const adminOf = (folder: typeof rsa) => join(folder.path, 'admin', 'S')
  const start = (folder: typeof rsa) => {
    mkdirSync(dirname(adminOf(folder)), { mode: 0o700 })
    return startHolder(
      ourAccountd,
      folder.path,
      `privkey = file:${folder.keyFile}\nadmin-socket = ${adminOf(folder)}\npolicy = issuing\nserver = ${pebble.directoryUrl}\n`,
    )
  }
  await using former = await start(rsa)
  await using next = await start(ec)
  const accountFolder = join(rsa.path, 'account')
  const admin = (key: string) => {
    const file = join(rsa.path, 'admin.ini')
    const text = accountAndHttp01(pebble).replace('[verification', `dir = ${accountFolder}\n${key}[verification`)
    writeFileSync(file, `[state]\nurl = sqlite:${rsa.path}/state/state.db\n${text}`)
    return file
  }
  const registered = await runCommand(['register', '--gen-key', admin('')])
  assert.equal(registered.code, 0, registered.err)
  const rollOver = (key: string, to: string) => runCommand(['account', 'rollover', '--to', to, admin(key)])
  // Neither socket of everyday signs what gives the account away, nor by what key it would be taken.
  for (const socket of [former.socket, next.socket]) {
    const refused = await rollOver('', `accountd:${socket}`)
    assert.notEqual(refused.code, 0)
  }
  assert.match(former.log(), /NOSIGN \[invalid JWS Protected Header\].*"oldKey"/)
  const into = await rollOver('', `accountd:${adminOf(rsa)}`)
  assert.equal(into.code, 0, into.err)
  const onward = await rollOver(`key = accountd:${adminOf(rsa)}\n`, `accountd:${adminOf(ec)}`)
  assert.equal(onward.code, 0, onward.err)
  const again = await rollOver(`key = accountd:${adminOf(ec)}\n`, `accountd:${adminOf(ec)}`)
  assert.match(again.err, /is the key that the account has/)
  const account = await runJson<AccountView>(['account', 'show', admin(`key = accountd:${next.socket}\n`)])
  assert.deepEqual([account.key.alg, registered.out.includes(account.url)], ['ES384', true])
  await using acmems = await startAcmems(configOf(pebble, `accountd:${next.socket}`))
  await getsCertificate(acmems.signUrl, 'a.example.org')
})

test('a command: no shell, started again when it dies, not again and again when it cannot work', async (t) => {
  if (!needed(t)) return
  await using pebble = await startPebble({ authzReuse: 0 })
  using folder = makeKeyFolder('keys-exec', 'P-256')
  const config = join(folder.path, 'accountd.conf')
  writeFileSync(config, `privkey = file:${folder.keyFile}\nlogfile = ${folder.path}/log\n`)
  const command = `${process.execPath} ${main} accountd --stdio '--config=${config}'`
  await using acmems = await startAcmems(configOf(pebble, `exec:${command}`))
  await getsCertificate(acmems.signUrl, 'a.example.org')
  const pidsOf = () =>
    new Set(
      [...readFileSync(join(folder.path, 'log'), 'utf8').matchAll(/\[(\d+)\] SIGNED/g)].map(([, pid]) => Number(pid)),
    )
  const [pid = 0, ...others] = pidsOf()
  assert.deepEqual(others, [], 'one child for all of it')
  process.kill(pid, 'SIGKILL')
  await getsCertificate(acmems.signUrl, 'b.example.org')
  assert.equal(pidsOf().size, 2)
  await acmems.stop()
  const left = () => [...pidsOf()].filter(isAlive)
  await until('its end with the server', () => left().length === 0)

  const marks = join(folder.path, 'marks')
  const broken = join(folder.path, 'broken')
  writeFileSync(broken, `#!/bin/sh\necho x >>${marks}\necho "no route to $1" >&2\nexit 255\n`, { mode: 0o755 })
  await using failing = await startAcmems(configOf(pebble, `exec:${broken} 'the host; rm -rf /'`))
  for (let i = 0; i < 8; i++) await postCsr(failing.signUrl, makeCsr({ names: [`c${i}.example.org`] }))
  assert.match(failing.log(), /status 255: no route to the host; rm -rf \//)
  // Eight requests, each of which tries a step up to six times.
  assert.ok(readFileSync(marks, 'utf8').length / 2 <= 16, readFileSync(marks, 'utf8'))
})

test('an ssh-agent signs, for the server and for accountd', async (t) => {
  if (!needed(t)) return
  if (spawnSync('ssh-agent', ['-h']).error !== undefined) return t.skip('there is no ssh-agent here')
  await using pebble = await startPebble({ authzReuse: 0 })
  using folder = makeTempFolder('keys-agent')
  const socket = join(folder.path, 'agent')
  await using agent = startChild('ssh-agent', ['-D', '-a', socket], {
    cwd: folder.path,
    env: {},
    logFile: join(folder.path, 'agent.log'),
  })
  const env = { ...process.env, SSH_AUTH_SOCK: socket }
  await waitUntilReady(agent, 'ssh-agent', async () => spawnSync('ssh-add', ['-l'], { env }).status !== 2)
  for (const [type, bits, comment] of [
    ['rsa', '2048', 'acme rsa'],
    ['ecdsa', '384', 'acme-ec'],
    ['ed25519', '256', 'edwards'],
  ] as const) {
    const file = join(folder.path, comment)
    spawnSync('ssh-keygen', ['-q', '-t', type, '-b', bits, '-N', '', '-C', comment, '-f', file])
    assert.equal(spawnSync('ssh-add', ['-q', file], { env }).status, 0)
  }
  const print = /(SHA256:\S+) acme rsa/.exec(spawnSync('ssh-add', ['-l'], { env, encoding: 'utf8' }).stdout)?.[1]
  for (const [key, alg] of [
    [`ssh-agent:${socket}/${print}`, 'RS256'],
    ['ssh-agent:acme-ec', 'ES384'],
  ]) {
    await using acmems = await startAcmems(configOf(pebble, key ?? ''), { env: { SSH_AUTH_SOCK: socket } })
    await getsCertificate(acmems.signUrl, 'agent.example.org')
    const { stdout } = spawnSync(process.execPath, [main, 'account', 'show', '--json', acmems.configFile], {
      env,
      encoding: 'utf8',
    })
    assert.equal((JSON.parse(stdout) as AccountView).key.alg, alg)
  }
  for (const [key, expected] of [
    ['ssh-agent:edwards', /RSA of at least 2048 bits, P-256 or P-384; the agent's is ssh-ed25519/],
    ['ssh-agent:nobody', /has no key "nobody"; it has SHA256:/],
  ] as const) {
    const config = join(folder.path, 'c.ini')
    writeFileSync(config, configOf(pebble, key))
    const shown = spawnSync(process.execPath, [main, 'account', 'show', config], { env, encoding: 'utf8' })
    assert.match(shown.stderr, expected)
  }
  // In accountd, whose socket the server has.
  await using holder = await startHolder(ourAccountd, folder.path, `privkey = ssh-agent:${socket}/acme rsa\n`)
  await using acmems = await startAcmems(configOf(pebble, `accountd:${holder.socket}`))
  await getsCertificate(acmems.signUrl, 'both.example.org')
})

test('a token of PKCS #11 signs, by way of an ssh-agent', async (t) => {
  const util = needed(t) ? requirePeer(t, 'softhsm2-util') : undefined
  if (util === undefined) return
  if (spawnSync('ssh-agent', ['-h']).error !== undefined) return t.skip('there is no ssh-agent here')
  const module = join(dirname(util.path), '../lib/softhsm/libsofthsm2.so')
  if (!existsSync(module)) return t.skip(`there is no ${module}`)
  await using pebble = await startPebble({ authzReuse: 0 })
  using folder = makeKeyFolder('keys-token')
  const at = (name: string) => join(folder.path, name)
  mkdirSync(at('tokens'))
  writeFileSync(at('softhsm2.conf'), `directories.tokendir = ${at('tokens')}\nlog.level = ERROR\n`)
  writeFileSync(at('askpass'), '#!/bin/sh\necho 1234\n', { mode: 0o755 })
  const env = {
    ...process.env,
    ...util.env,
    SOFTHSM2_CONF: at('softhsm2.conf'),
    SSH_AUTH_SOCK: at('agent'),
    SSH_ASKPASS: at('askpass'),
    SSH_ASKPASS_REQUIRE: 'force',
  }
  const run = (command: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(command, args, { env, encoding: 'utf8' })
    assert.equal(status, 0, stdout + stderr)
    return stdout
  }
  const pins = ['--pin', '1234']
  run(util.path, '--module', module, '--init-token', '--free', '--label', 'acme', '--so-pin', '1234', ...pins)
  run(
    util.path,
    '--module',
    module,
    '--import',
    folder.keyFile,
    '--token',
    'acme',
    '--label',
    'acme-account',
    '--id',
    '01',
    ...pins,
  )
  const allowed = realpathSync(module)
  await using agent = startChild('ssh-agent', ['-D', '-a', at('agent'), '-P', allowed], {
    cwd: folder.path,
    env,
    logFile: at('agent.log'),
  })
  await waitUntilReady(agent, 'ssh-agent', async () => spawnSync('ssh-add', ['-l'], { env }).status !== 2)
  const added = spawnSync('ssh-add', ['-s', allowed], { env, encoding: 'utf8' })
  if (added.status !== 0) return t.skip(`this ssh-agent takes no token: ${added.stderr}`)
  rmSync(folder.keyFile)
  const print = /(SHA256:\S+)/.exec(run('ssh-add', '-l'))?.[1]
  await using acmems = await startAcmems(configOf(pebble, `ssh-agent:${at('agent')}/${print}`))
  await getsCertificate(acmems.signUrl, 'token.example.org')
})
