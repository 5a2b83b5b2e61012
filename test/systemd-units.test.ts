// The units in packaging/systemd: right for systemd, and closed as far as they can be.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildRelease } from '../scripts/build.ts'
import { checkout } from './documentation.ts'
import { makeCsr, postCsr } from './host.ts'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { main } from './program.ts'
import { makeResponderWorld } from './responder-world.ts'

const source = join(checkout, 'packaging/systemd')
const units = globSync('*.{service,socket,timer}', { cwd: source }).sort()
const services = units.filter((unit) => unit.endsWith('.service'))

/** What systemd-analyze may find at most: 0 is perfect. What is left is explained in the units. */
const exposure: Readonly<Record<string, number>> = {
  'acmems.service': 1.7,
  'acmems-accountd.service': 0.7,
  'acmems-responder.service': 1.0,
  'acmems-agent.service': 2.6,
  'acmems-firewall.service': 1.6,
  'acmems-renew.service': 2.4,
  'acmems-install.service': 1.7,
}

function hasTool(t: TestContext, tool: string): boolean {
  if (spawnSync(tool, ['--version']).error === undefined) return true
  t.skip(`${tool} is not on this machine`)
  return false
}

/** A root of its own with the units and the programs that they start; nothing of this machine is asked. */
function layOut(root: string): string[] {
  for (const path of ['usr/bin/acmems', 'usr/sbin/acmems-install', 'bin/kill', 'bin/sh']) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), '#!/bin/sh\n', { mode: 0o755 })
  }
  const folder = join(root, 'usr/lib/systemd/system')
  mkdirSync(folder, { recursive: true })
  return units.map((unit) => {
    writeFileSync(join(folder, unit), readFileSync(join(source, unit)))
    return join(folder, unit)
  })
}

test('systemd takes every unit without a word', (t) => {
  if (!hasTool(t, 'systemd-analyze')) return
  using root = makeTempFolder('units')
  const programs = layOut(root.path)
  const text = (path: string) => readFileSync(path, 'utf8').replaceAll(/=(?=\/usr\/s?bin\/acmems)/g, `=${root.path}`)
  for (const path of programs) writeFileSync(path, text(path))
  const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...programs], {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_UNIT_PATH: `${join(root.path, 'usr/lib/systemd/system')}:` },
  })
  // Units of this machine that are wanted by ours may have faults of their own.
  const ours = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('acmems'))
  assert.deepEqual([status, ours], [0, []])
})

for (const unit of services) {
  test(`${unit} is exposed no more than it has to be`, (t) => {
    if (!hasTool(t, 'systemd-analyze')) return
    const threshold = Math.round((exposure[unit] ?? 0) * 10)
    const flags = ['security', '--offline=true', `--threshold=${threshold}`, join(source, unit)]
    const { status, stdout, stderr } = spawnSync('systemd-analyze', flags, { encoding: 'utf8' })
    if (/unrecognized option|Unknown/.test(stderr)) return t.skip('systemd-analyze here knows no --offline')
    assert.equal(status, 0, stdout + stderr)
  })

  test(`${unit}: every option of systemd-analyze security is set, or its absence explained`, (t) => {
    if (!hasTool(t, 'systemd-analyze')) return
    const flags = ['security', '--offline=true', '--json=short', join(source, unit)]
    const { stdout, stderr } = spawnSync('systemd-analyze', flags, { encoding: 'utf8' })
    if (!stdout.startsWith('[')) return t.skip(`systemd-analyze here has no JSON: ${stderr}`)
    const text = readFileSync(join(source, unit), 'utf8')
    const findings = JSON.parse(stdout) as {
      name: string
      json_field: string
      exposure: string | null
      set?: boolean
    }[]
    const open = findings.filter(({ exposure }) => exposure !== null && Number(exposure) > 0)
    assert.ok(open.length > 0)
    const silent = open
      .map(({ name }) => /^\w+/.exec(name)?.[0] ?? name)
      .filter((option) => !text.includes(option) && !setByOthers.has(option))
    assert.deepEqual(silent, [])
  })
}

/** DeviceAllow: ProtectClock= itself allows the reading of the clock. */
const setByOthers = new Set(['DeviceAllow'])

test('the timer says when', (t) => {
  if (!hasTool(t, 'systemd-analyze')) return
  const times = [...readFileSync(join(source, 'acmems-renew.timer'), 'utf8').matchAll(/^OnCalendar=(.*)$/gm)]
  assert.equal(times.length, 1)
  assert.equal(spawnSync('systemd-analyze', ['calendar', times[0]?.[1] ?? '']).status, 0)
})

test('user and folders: what sysusers and tmpfiles make of them', (t) => {
  if (!hasTool(t, 'systemd-sysusers') || !hasTool(t, 'systemd-tmpfiles')) return
  using root = makeTempFolder('sysusers')
  mkdirSync(join(root.path, 'etc'))
  const made = spawnSync('systemd-sysusers', [`--root=${root.path}`, join(source, 'sysusers.conf')], {
    encoding: 'utf8',
  })
  if (process.getuid?.() !== 0) return t.skip('only root can make users, even in a folder')
  assert.equal(made.status, 0, made.stderr)
  assert.match(
    readFileSync(join(root.path, 'etc/passwd'), 'utf8'),
    /^acmems:[^:]*:\d+:\d+:acmems, ACME [\w ]+:\/var\/lib\/acmems:\/usr\/sbin\/nologin$/m,
  )
  const folders = spawnSync('systemd-tmpfiles', [`--root=${root.path}`, '--create', join(source, 'tmpfiles.conf')], {
    encoding: 'utf8',
  })
  assert.equal(folders.status, 0, folders.stderr)
})

test('a socket that systemd opened: the server answers on fd:3', async (t) => {
  if (!hasTool(t, 'systemd-socket-activate')) return
  using folder = makeTempFolder('activation')
  const [port, mgmt] = [await freePort(), await freePort()]
  const config = join(folder.path, 'acmems.ini')
  writeFileSync(
    config,
    `[state]\nurl = sqlite:${folder.path}/state.db\n[mgmt]\nlistener = 127.0.0.1:${mgmt}\n[account]\ntype = local\n[verification "http"]\ntype = http01\nlistener = fd:3\n`,
  )
  const server = [process.execPath, main, 'serve', config]
  await using child = startChild('systemd-socket-activate', ['-l', `127.0.0.1:${port}`, ...server], {
    cwd: folder.path,
    env: {},
    logFile: join(folder.path, 'log'),
  })
  // The first connection is what starts the server; it waits in the socket until it is answered.
  const deadlineMs = performance.now() + 20_000
  const ask = () => fetch(`http://127.0.0.1:${port}/.well-known/acme-challenge/unknown`).catch(() => undefined)
  let reply = await ask()
  while (reply === undefined && performance.now() < deadlineMs) {
    await sleep(100)
    reply = await ask()
  }
  assert.equal(reply?.status, 404, child.log())
})

/** What `SystemCallFilter=` lines leave, by the groups of this systemd. */
function allowedCalls(unit: string): Set<string> {
  const groups = new Map<string, string[]>()
  const { stdout } = spawnSync('systemd-analyze', ['--no-pager', 'syscall-filter'], { encoding: 'utf8' })
  let current: string[] = []
  for (const line of stdout.split('\n')) {
    if (/^@\S+$/.test(line)) {
      current = []
      groups.set(line, current)
    } else if (/^ {4}[@\w]/.test(line)) current.push(line.trim())
  }
  const expand = (name: string): string[] => (name.startsWith('@') ? (groups.get(name) ?? []).flatMap(expand) : [name])
  const allowed = new Set(expand('@default'))
  for (const [, not, names = ''] of readFileSync(join(source, unit), 'utf8').matchAll(/^SystemCallFilter=(~?)(.*)$/gm))
    for (const call of names.split(' ').flatMap(expand)) {
      if (not === '~') allowed.delete(call)
      else allowed.add(call)
    }
  return allowed
}

test('the server makes no system call that its unit forbids', async (t) => {
  if (!hasTool(t, 'strace') || !hasTool(t, 'systemd-analyze') || !requirePeer(t, 'openssl')) return
  if (spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0) return t.skip('nothing may be traced here')
  using folder = makeTempFolder('calls')
  const mgmt = await freePort()
  const [config, trace] = [join(folder.path, 'acmems.ini'), join(folder.path, 'trace')]
  writeFileSync(
    config,
    `[state]\nurl = sqlite:${folder.path}/state.db\n[mgmt]\nlistener = 127.0.0.1:${mgmt}\n[account]\ntype = local
[auth "lab"]\nip = 127.0.0.1\ndomain = *.lab.test
[certificate "own"]\ndomain = own.lab.test\ndirectory = ${folder.path}/own\nhook = touch ${folder.path}/hooked\n`,
  )
  const server = [process.execPath, main, 'serve', config]
  await using child = startChild('strace', ['-f', '-qq', '-o', trace, ...server], {
    cwd: folder.path,
    env: { NOTIFY_SOCKET: join(folder.path, 'nobody-listens') },
    logFile: join(folder.path, 'log'),
  })
  await waitUntilReady(child, 'acmems', () => acceptsTcp(mgmt), 60_000)
  const reply = await postCsr(`http://127.0.0.1:${mgmt}/sign`, makeCsr({ names: ['a.lab.test'] }))
  assert.equal(reply.status, 200, reply.text)
  await waitUntilReady(child, 'the hook', async () => existsSync(join(folder.path, 'hooked')), 60_000)
  const pid = /"pid":(\d+)/.exec(child.log())?.[1]
  process.kill(Number(pid), 'SIGTERM')
  await waitUntilReady(child, 'the end', async () => /"msg":"stopped"/.test(child.log()), 60_000)
  const used = new Set([...readFileSync(trace, 'latin1').matchAll(/^\d+ +([a-z]\w*)\(/gm)].map(([, call = '']) => call))
  assert.ok(used.has('accept4') && used.has('execve') && used.size > 40, [...used].join(' '))
  const allowed = allowedCalls('acmems.service')
  assert.deepEqual(
    [...used].filter((call) => !allowed.has(call)),
    [],
  )
})

test('the responder makes no system call that its unit forbids, and opens nothing of the network', async (t) => {
  if (!hasTool(t, 'strace') || !hasTool(t, 'systemd-analyze') || !hasTool(t, 'systemd-socket-activate')) return
  if (spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0) return t.skip('nothing may be traced here')
  using folder = makeTempFolder('calls')
  const trace = join(folder.path, 'trace')
  // The sources want a compiler; what is installed does not.
  await buildRelease({ outdir: join(folder.path, 'dist'), declarations: false })
  const [http, tls] = [await freePort(), await freePort()]
  const launcher = [
    ...['systemd-socket-activate', '-E', 'NODE_OPTIONS=--jitless'],
    ...['-l', `127.0.0.1:${http}`, '-l', `127.0.0.1:${tls}`, 'strace', '-D', '-f', '-qq', '-o', trace],
  ]
  await using world = await makeResponderWorld(
    `[account]\ntype = local\n[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${http}\n[verification "tls"]\ntype = tlsalpn01\nlistener = 127.0.0.1:${tls}\n`,
    { launcher, poke: http, program: join(folder.path, 'dist/acmems.js') },
  )
  const reply = await fetch(`http://127.0.0.1:${http}/.well-known/acme-challenge/unknown`)
  assert.equal(reply.status, 404, world.responder.log())
  process.kill(Number(/"pid":(\d+)/.exec(world.responder.log())?.[1]), 'SIGTERM')
  await waitUntilReady(world.server, 'the end', async () => world.server.log().includes('a responder has gone'))
  const text = readFileSync(trace, 'latin1')
  const used = new Set([...text.matchAll(/^\d+ +([a-z]\w*)\(/gm)].map(([, call = '']) => call))
  assert.ok(used.has('accept4') && used.size > 30, [...used].join(' '))
  const allowed = allowedCalls('acmems-responder.service')
  assert.deepEqual(
    [...used].filter((call) => !allowed.has(call)),
    [],
  )
  assert.doesNotMatch(text, /socket\(AF_INET/)
  // MemoryDenyWriteExecute=
  assert.doesNotMatch(text, /PROT_WRITE\|PROT_EXEC/)
})
