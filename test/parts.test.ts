// acmems serve as root: each part a process of its own, with its user's rights and no others.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { findFlaws } from '../src/parts/confinement.ts'
import { parseStanding } from '../src/parts/standing.ts'
import { makeKeyFolder } from './accountd-world.ts'
import { accountAndHttp01 } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import {
  environmentOf,
  foreignOf,
  groupIdOf,
  idOf,
  type Parts,
  type PartsOptions,
  runAs,
  startParts,
  users,
  whyNoParts,
} from './parts-world.ts'
import { acceptsTcp, startChild } from './peers/child.ts'
import { freePrivilegedPort } from './peers/free-port.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const skip = whyNoParts()
let pebble: Pebble

before(async () => {
  // A port that only root may open.
  if (skip === undefined) pebble = await startPebble({ httpPort: await freePrivilegedPort() })
})

function configuration(run: string): string {
  const account = accountAndHttp01(pebble).replace('[account]\n', `[account]\nkey = accountd:${run}/accountd/S.lacme\n`)
  return `${account}[auth "all"]\nip = 127.0.0.1\ndomain = **.test\n`
}

async function withParts(t: TestContext, options: PartsOptions = {}): Promise<Parts> {
  const parts = await startParts(configuration, options)
  t.after(() => parts.stop())
  return parts
}

async function sign(parts: Parts, name: string): Promise<number> {
  return (await postCsr(parts.signUrl, makeCsr({ names: [name] }))).status
}

test('the whole way, and what the kernel says of every part', { skip }, async (t) => {
  const parts = await withParts(t, { env: { STRAY_VARIABLE: 'of root', NODE_OPTIONS: '' } })
  assert.match(parts.log(), /"descriptors":\[[\d,]*\b77\b.*"msg":"descriptors that were left open for us are closed"/)
  assert.equal(await sign(parts, 'first.test'), 200)
  assert.doesNotMatch(parts.log(), /one process does all/)
  for (const [name, user] of [
    ['server', users.server],
    ['responder', users.responder],
    ['accountd', users.accountd],
  ] as const) {
    const pid = parts.pidOf(name)
    const standing = parseStanding(readFileSync(`/proc/${pid}/status`, 'utf8'))
    assert.deepEqual(findFlaws(standing, { uid: idOf(user), gid: groupIdOf(user), capabilities: [] }), [], name)
    assert.deepEqual(Object.values(standing.capabilities).flat(), [])
    assert.equal(environmentOf(pid).USER, user)
    const own = name === 'server' ? (['STATE_DIRECTORY'] as const) : []
    const ofState = name === 'server' ? new RegExp(`^${parts.folder}/state/`) : /^$/
    assert.deepEqual(foreignOf(pid, own, ofState), [], name)
  }
})

test('the user of the server can neither read the account key nor look into accountd', { skip }, async (t) => {
  const parts = await withParts(t)
  const accountd = parts.pidOf('accountd')
  const secrets = [
    `${parts.folder}/key/account.pem`,
    `/proc/${accountd}/mem`,
    `/proc/${accountd}/environ`,
    `/proc/${accountd}/fd/0`,
    `/proc/${accountd}/root/etc/passwd`,
    `/proc/${parts.launcherPid}/mem`,
    `/proc/${parts.launcherPid}/environ`,
    '/etc/shadow',
  ]
  for (const path of secrets) {
    const look = runAs(users.server, 'head', ['-c1', path])
    assert.notEqual(look.status, 0, path)
    assert.match(look.stderr, /Permission denied/, path)
  }
  assert.match(runAs(users.server, 'sh', ['-c', `kill -9 ${accountd}`]).stderr, /not permitted/)
  // What answers strangers reaches neither the key, nor the state, nor any door of the server.
  for (const path of ['key/account.pem', 'state/state.db', 'acmems.ini', 'run/accountd/S.lacme'])
    assert.match(runAs(users.responder, 'head', ['-c1', join(parts.folder, path)]).stderr, /Permission denied/, path)
  const knock = `require('net').connect({ path: process.argv[1] }).on('error', ({ code }) => process.stdout.write(code))`
  for (const path of ['state/mgmt.sock', 'run/accountd/S.lacme'])
    assert.equal(runAs(users.responder, process.execPath, ['-e', knock, join(parts.folder, path)]).stdout, 'EACCES')
  // Nor can accountd read what is the server's, nor anybody else come to its socket.
  assert.match(runAs(users.accountd, 'ls', [`${parts.folder}/state`]).stderr, /Permission denied/)
  assert.match(runAs(users.responder, 'ls', [`${parts.runFolder}/accountd`]).stderr, /Permission denied/)
  assert.equal(runAs(users.server, 'test', ['-S', `${parts.runFolder}/accountd/S.lacme`]).status, 0)
})

test('doctor --processes: what each part is, and whether a promise is broken', { skip }, async (t) => {
  const parts = await withParts(t)
  const doctor = (pids: readonly number[], ...more: string[]) => {
    const args = ['doctor', '--processes', ...pids.flatMap((pid) => ['--pid', String(pid)]), ...more]
    return spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', timeout: 20_000 })
  }
  const fine = doctor([parts.launcherPid])
  assert.equal(fine.status, 0, fine.stdout + fine.stderr)
  assert.match(fine.stdout, /^responder \d+: ok\n {2}user +news/m)
  const reports = JSON.parse(doctor([parts.launcherPid], '--json').stdout) as Report[]
  const reach = new Map(reports.map(({ part, couldReach }) => [part, (couldReach ?? []).map(({ what }) => what)]))
  assert.deepEqual([...reach.keys()].sort(), ['accountd', 'launcher', 'responder', 'server'])
  assert.ok(reach.get('launcher')?.includes('the account key'))
  assert.ok(reach.get('accountd')?.includes('the account key'))
  assert.ok(reach.get('server')?.includes('the state') && reach.get('server')?.includes("accountd's socket"))
  assert.ok(!reach.get('server')?.includes('the account key'))
  assert.deepEqual(
    reach.get('responder')?.filter((what) => !what.startsWith('the memory of responder')),
    ["the answers' socket"],
  )
  // Somebody made the key readable, and started a responder as root.
  chmodSync(join(parts.folder, 'key'), 0o755)
  chmodSync(join(parts.folder, 'key', 'account.pem'), 0o644)
  const asRoot = startChild(process.execPath, [main, 'responder', '--socket', join(parts.folder, 'none')], {
    ...{ env: {}, cwd: '/', logFile: join(parts.folder, 'second.log') },
  })
  t.after(() => asRoot.stop())
  const broken = doctor([parts.launcherPid, asRoot.pid])
  assert.equal(broken.status, 1)
  assert.match(broken.stdout, /^server \d+: BROKEN\n {2}BROKEN {2}it could come to the account key: /m)
  assert.match(broken.stdout, new RegExp(`^responder ${asRoot.pid}: BROKEN\\n {2}BROKEN {2}it is root`, 'm'))
  // Who only looks like a server calls the key his configuration: then it is not the servers'.
  const looks = [
    '-e',
    'setTimeout(() => {}, 30_000)',
    '/x/acmems.js',
    'serve',
    join(parts.folder, 'key', 'account.pem'),
  ]
  const stranger = startChild('setpriv', ['--reuid=man', '--regid=man', '--clear-groups', process.execPath, ...looks], {
    ...{ env: {}, cwd: '/', logFile: join(parts.folder, 'stranger.log') },
  })
  t.after(() => stranger.stop())
  const shown = await until('its look', () => {
    const { stdout } = doctor([parts.launcherPid, stranger.pid])
    return stdout.includes(`server ${stranger.pid}: `) && stdout
  })
  assert.match(
    shown,
    new RegExp(`^server ${parts.pidOf('server')}: BROKEN\\n {2}BROKEN {2}it could come to the account key: `, 'm'),
  )
})

test('doctor --processes finds the account key however accountd was told of it', { skip }, async (t) => {
  using folder = makeKeyFolder('doctor-accountd', 'P-256')
  const { path, keyFile, socket } = folder
  const admin = join(path, 'admin', 'S')
  mkdirSync(join(path, 'admin'), { mode: 0o700 })
  writeFileSync(join(path, 'c.conf'), `privkey = file:${keyFile}\nadmin-socket = ${admin}\n`)
  for (const [args, found] of [
    [['--config=c.conf'], ['the account key', "accountd's admin socket"]],
    [['--config=/dev/null', `--privkey=file:%T/account.pem`], []],
  ] as const) {
    const accountd = startChild(process.execPath, [main, 'accountd', ...args, `--socket=${socket}`], {
      ...{ env: { TMPDIR: path }, cwd: path, logFile: join(path, `${args.at(-1)?.slice(2, 9)}.log`) },
    })
    t.after(() => accountd.stop())
    await until('its socket', () => existsSync(socket))
    const look = spawnSync(process.execPath, [main, 'doctor', '--processes', '--json', '--pid', `${accountd.pid}`], {
      ...{ encoding: 'utf8', timeout: 20_000 },
    })
    const [report] = JSON.parse(look.stdout) as Report[]
    const reached = report?.couldReach
      ?.map(({ what }) => what)
      .filter((what) => /account/.test(what) && !/memory/.test(what))
    assert.deepEqual(reached, found, look.stderr)
    assert.equal(/where the account key of \d+ is, is not said/.test(look.stderr), found.length === 0)
    await accountd.stop()
  }
})

type Report = { readonly part: string; readonly couldReach?: readonly { readonly what: string }[] }

test('what is killed is started again, and goes on', { skip }, async (t) => {
  const parts = await withParts(t)
  assert.equal(await sign(parts, 'one.test'), 200)
  const accountd = parts.pidOf('accountd')
  process.kill(accountd, 'SIGKILL')
  await until('another accountd', () =>
    parts.processes().some(({ name, pid }) => name === 'accountd' && pid !== accountd),
  )
  await until('its socket', () => parts.log().split('Key Manager at').length === 3)
  assert.equal(await sign(parts, 'two.test'), 200)
  const responder = parts.pidOf('responder')
  process.kill(responder, 'SIGKILL')
  await until('another responder', () => parts.log().split('"msg":"the responder answers"').length === 3)
  assert.equal(await sign(parts, 'between.test'), 200)
  const server = parts.pidOf('server')
  process.kill(server, 'SIGKILL')
  await until('another server', () => parts.logLines().filter(({ msg }) => msg === 'serving').length === 2)
  assert.equal(await sign(parts, 'three.test'), 200)
  const ended = parts.logLines().filter(({ msg }) => msg === 'a part ended, and is started again')
  assert.deepEqual(
    ended.map(({ part, pid, end }) => [part, pid, end]),
    [
      ['accountd', accountd, 'SIGKILL'],
      ['responder', responder, 'SIGKILL'],
      ['server', server, 'SIGKILL'],
    ],
  )
})

test('no part outlives the launcher', { skip }, async (t) => {
  const parts = await withParts(t)
  await until('all parts', () => parts.processes().length === 3)
  const pids = parts.processes().map(({ pid }) => pid)
  process.kill(parts.launcherPid, 'SIGKILL')
  await until('the end of all parts', () => pids.every((pid) => !existsSync(`/proc/${pid}`)))
})

test('reload reaches the parts; another launcher at the same sockets does not begin', { skip }, async (t) => {
  const parts = await withParts(t)
  assert.equal(await sign(parts, 'new.example'), 403)
  const port = await freePrivilegedPort()
  const more = '[auth "more"]\nip = 127.0.0.1\ndomain = **.example\n'
  appendFileSync(parts.configFile, `${more}[verification "two"]\ntype = http01\nlistener = 127.0.0.1:${port}\n`)
  process.kill(parts.launcherPid, 'SIGHUP')
  await until('the new configuration', () => parts.log().includes('configuration reloaded'))
  assert.equal(await sign(parts, 'new.example'), 200)
  // A port that only root may open is opened for the responder, which is started again for it.
  await until('the new port', () => acceptsTcp(port))
  const second = serve([parts.configFile])
  assert.equal(second.status, 1)
  assert.match(second.stderr, /another acmems serve has its sockets in .*run-directory/)
  assert.equal(await sign(parts, 'newer.example'), 200)
})

test('a part that would be more than it was to be does not run', { skip }, async (t) => {
  for (const [said, is] of [
    ['5:60:', /its user is 0 0 0 0, not 5; its group is 0 0 0 0, not 60.*capabilities.*no_new_privs is not set/],
    ['0:0:chown', /effective capabilities: dac_override/],
    ['nonsense', /no UID:GID:CAPABILITIES/],
  ] as const) {
    const refused = serve([], ['--confined', said])
    assert.equal(refused.status, 1)
    assert.match(refused.stderr, is)
  }
  const apart = ['--set', 'process.user-server=games']
  for (const [args, why] of [
    [['--set', 'process.user-server=nobody-of-that-name'], /user-server = nobody-of-that-name: .*does not know/],
    [[...apart, '--set', 'process.user-responder=news:games'], /have one group \(60\).*user:group/],
    [['--set', 'process.user-server=root'], /user-server = root: that is root/],
    [['--set', 'process.user-server=games:root'], /that is root/],
    [['--set', 'process.user-responder=news'], /user-responder without user-server/],
    [['--set', 'process.user-server=games', '--set', 'process.user-accountd=games'], /are one user/],
  ] as const) {
    const refused = serve(args)
    assert.equal(refused.status, 1, args.join(' '))
    assert.match(refused.stderr, why)
    assert.doesNotMatch(refused.stdout, /part started|serving/)
  }
  // What cannot begin ends all, with its own status and words.
  const parts = await startParts(configuration, {
    waits: false,
    before: (folder) => appendFileSync(join(folder, 'accountd.conf'), 'privkey-of-nobody = yes\n'),
  })
  t.after(() => parts.stop())
  await until('the end', () => parts.hasEnded())
  assert.match(parts.log(), /Unknown option\(s\): privkey-of-nobody/)
  assert.match(parts.log(), /a part could not begin/)
  assert.deepEqual(parts.processes(), [])
})

function serve(args: readonly string[], first: readonly string[] = []) {
  return spawnSync(process.execPath, [main, ...first, 'serve', ...args], { encoding: 'utf8', timeout: 20_000 })
}
