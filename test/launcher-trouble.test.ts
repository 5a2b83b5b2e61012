// acmems serve as root, where something is not as it should be.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeStateFolder } from '../src/parts/run-folder.ts'
import { groupIdOf, http01, idOf, makeOwned, startParts, users, whyNoParts } from './parts-world.ts'
import { makeTempFolder, startChild } from './peers/child.ts'
import { freePrivilegedPort } from './peers/free-port.ts'
import { freePort } from './peers/peers.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const skip = whyNoParts()

test('root obeys nothing that the user of the server can write', { skip }, () => {
  using folder = makeTempFolder('loose')
  const [config, plugin] = [join(folder.path, 'acmems.ini'), join(folder.path, 'plugin.mjs')]
  const ran = join(folder.path, 'ran')
  writeFileSync(plugin, `import { writeFileSync } from 'node:fs'\nwriteFileSync('${ran}', '')\nexport default []\n`)
  writeFileSync(config, `[setup]\nplugin = plugin.mjs\n[process]\nuser-server = ${users.server}\n`)
  for (const loose of [config, plugin]) {
    chownSync(loose, idOf(users.server), groupIdOf(users.server))
    const refused = spawnSync(process.execPath, [main, 'serve', config], { encoding: 'utf8', timeout: 20_000 })
    assert.equal(refused.status, 1)
    assert.match(refused.stderr, new RegExp(`${loose} belongs to user ${idOf(users.server)}, .*: chown root ${loose}`))
    assert.ok(!existsSync(ran))
    chownSync(loose, 0, 0)
  }
})

test('a server that root did not start says that it is all parts in one', { skip }, async () => {
  using folder = makeTempFolder('alone')
  const [config, state] = [join(folder.path, 'acmems.ini'), join(folder.path, 'state')]
  chmodSync(folder.path, 0o755)
  makeOwned(state, users.server)
  writeFileSync(
    config,
    `[account]\ntype = local\n[mgmt]\nlistener = 127.0.0.1:0\n[process]\nuser-server = ${users.server}\nuser-responder = ${users.responder}\n`,
  )
  const as = [`--reuid=${idOf(users.server)}`, `--regid=${groupIdOf(users.server)}`, '--clear-groups']
  await using alone = startChild('setpriv', [...as, process.execPath, main, 'serve', config], {
    ...{ env: { PATH: process.env.PATH, STATE_DIRECTORY: state }, cwd: '/', logFile: join(folder.path, 'log') },
  })
  await until('it serves', () => /"msg":"serving"/.test(alone.log()), { logs: [alone] })
  assert.match(alone.log(), /user-\* is for acmems serve started by root: here one process does all/)
})

test('the state of a server that was another user is not given away', { skip }, () => {
  using folder = makeTempFolder('state')
  const [made, there] = [join(folder.path, 'a', 'made'), join(folder.path, 'there')]
  const server = { uid: idOf(users.server), gid: groupIdOf(users.server) }
  makeStateFolder(made, server)
  assert.deepEqual([statSync(made).uid, statSync(made).mode & 0o777], [server.uid, 0o700])
  makeStateFolder(made, server)
  mkdirSync(there)
  assert.throws(() => makeStateFolder(there, server), {
    message: `${there} belongs to user 0, and the server is to run as user ${server.uid}: chown -R ${server.uid}:${server.gid} ${there}`,
  })
  assert.equal(statSync(there).uid, 0)
})

test("what root reads for accountd is root's own", { skip }, async (t) => {
  const port = await freePrivilegedPort()
  const parts = await startParts(() => http01(port), {
    waits: false,
    before: (folder) => {
      const [own, linked] = [join(folder, 'accountd.conf'), join(folder, 'key', 'accountd.conf')]
      symlinkSync('/etc/shadow', linked)
      rmSync(own)
      symlinkSync(linked, own)
    },
  })
  t.after(() => parts.stop())
  await until('the end', () => parts.hasEnded())
  assert.match(parts.log(), /Insecure owner of .*key: it belongs to user/)
  assert.ok(!existsSync(join(parts.runFolder, 'accountd', 'accountd.conf')))
})

test('what its user may not read, and what is not there, is said with the remedy', { skip }, async (t) => {
  const port = await freePort()
  for (const [spoil, why] of [
    [(folder: string) => chownSync(join(folder, 'acmems.ini'), 0, 0), /EACCES.*; user 5 may not: .*chown root:GROUP/],
    [(folder: string) => rmSync(join(folder, 'accountd.conf')), /accountd-config = \/.*\.conf is not there; .*privkey/],
    // Parts are in /, wherever root was.
    [
      (folder: string) => appendFileSync(join(folder, 'acmems.ini'), '[account]\nca-file = roots.pem\n'),
      /\[issuer "default"\] .*'\/roots\.pem'/,
    ],
  ] as const) {
    const parts = await startParts(() => http01(port), { waits: false, before: spoil })
    t.after(() => parts.stop())
    await until('the end', () => parts.hasEnded())
    assert.match(parts.log(), why)
  }
})

test("a folder of the run directory that is another's is not taken away", { skip }, async (t) => {
  const port = await freePort()
  let kept = ''
  const parts = await startParts(() => http01(port), {
    which: ['server', 'accountd'],
    waits: false,
    before: (folder) => {
      mkdirSync(join(folder, 'run', 'accountd'), { recursive: true })
      kept = join(folder, 'run', 'accountd', 'account.pem')
      writeFileSync(kept, 'the only one')
    },
  })
  t.after(() => parts.stop())
  await until('the end', () => parts.hasEnded())
  assert.match(parts.log(), /run\/accountd is there, and was not made by acmems serve: .*run-directory/)
  assert.equal(readFileSync(kept, 'utf8'), 'the only one')
})

test('where /proc shows processes alone, the usual ports are for root', { skip }, () => {
  const module = join(import.meta.dirname, '..', 'src', 'parts', 'opened-sockets.ts')
  const program = `console.log((await import('${module}')).firstUnprivilegedPort())`
  const script = 'mount -t proc -o subset=pid proc /proc && exec "$0" --input-type=module -e "$1"'
  const ran = spawnSync('unshare', ['-m', 'sh', '-c', script, process.execPath, program], { encoding: 'utf8' })
  assert.equal(ran.stdout, '1024\n', ran.stderr)
})

test('a port that is taken ends all, and not half of it', { skip }, async (t) => {
  const port = await freePrivilegedPort()
  const other = createServer().listen(port, '127.0.0.1')
  t.after(() => other.close())
  const parts = await startParts(() => http01(port), { waits: false })
  t.after(() => parts.stop())
  await until('the end', () => parts.hasEnded())
  assert.match(parts.log(), new RegExp(`cannot listen on 127.0.0.1:${port}: something else listens there`))
  assert.deepEqual(parts.processes(), [])
})

test('told to end while it starts, it starts no other part', { skip }, async (t) => {
  const port = await freePort()
  // An agent that says nothing: accountd waits for it.
  const agent = createServer()
  t.after(() => agent.close())
  const before = (folder: string) => {
    const place = join(folder, 'key', 'agent')
    agent.listen(place, () => chownSync(place, idOf(users.accountd), groupIdOf(users.accountd)))
    writeFileSync(join(folder, 'accountd.conf'), `privkey = ssh-agent:${place}/key\n`)
  }
  const parts = await startParts(() => http01(port), { waits: false, before })
  t.after(() => parts.stop())
  await once(agent, 'connection')
  await until('the first part', () => /"part":"accountd"/.test(parts.log()))
  process.kill(parts.launcherPid, 'SIGTERM')
  await until('the end', () => parts.hasEnded())
  assert.doesNotMatch(parts.log(), /"part":"(server|responder)"/)
})

test('a part writes to the terminal of root, and reads nothing of it', { skip }, async () => {
  using folder = makeTempFolder('terminal')
  chmodSync(folder.path, 0o755)
  makeOwned(join(folder.path, 'state'), users.server)
  const config = join(folder.path, 'acmems.ini')
  writeFileSync(
    config,
    `[process]\nuser-server = ${users.server}\nrun-directory = ${folder.path}/run\n[state]\nurl = sqlite:${folder.path}/state/db\n[mgmt]\nlistener = 127.0.0.1:0\n${http01(await freePort())}`,
  )
  const command = `exec ${process.execPath} ${main} serve ${config}`
  await using terminal = startChild('script', ['-qfec', command, join(folder.path, 'seen')], {
    ...{ env: {}, cwd: '/', logFile: join(folder.path, 'script.log') },
  })
  await until('the server', () => terminal.log().includes('"msg":"serving"') || / serving/.test(terminal.log()))
  const pid = spawnSync('pgrep', ['-u', users.server, '-f', config], { encoding: 'utf8' }).stdout.trim()
  for (const fd of [1, 2]) {
    assert.match(readlinkSync(`/proc/${pid}/fd/${fd}`), /^\/dev\/pts\//)
    assert.match(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'), /^flags:\t0\d*1$/m)
  }
})
