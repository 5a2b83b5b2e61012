// The server's life: start, reload, stop, crash, and what it says to systemd.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { acceptsTcp, makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const local = '[account]\ntype = local\n[auth "lab"]\nip = 127.0.0.1\ndomain = *.lab.test\n'

async function reload(acmems: Acmems, config: string): Promise<string> {
  const before = acmems.log().length
  const head = readFileSync(acmems.configFile, 'utf8').split('[account]')[0] ?? ''
  writeFileSync(acmems.configFile, `${head}${config}`)
  process.kill(acmems.pid, 'SIGHUP')
  await until('the reload', () => /configuration (not )?reloaded/.test(acmems.log().slice(before)))
  return acmems.log().slice(before)
}

test('SIGHUP: a new configuration counts from the next request on', async () => {
  await using acmems = await startAcmems(local)
  const csr = makeCsr({ names: ['a.other.test'] })
  assert.equal((await postCsr(acmems.signUrl, csr)).status, 403)
  await reload(acmems, local.replace('*.lab.test', '*.other.test'))
  assert.equal((await postCsr(acmems.signUrl, csr)).status, 200)
})

test('SIGHUP with a mistake: the old configuration goes on, and the log has file and line', async () => {
  await using acmems = await startAcmems(local)
  const log = await reload(acmems, local.replace('domain', 'domian'))
  assert.match(log, /not reloaded.*|domian/)
  assert.match(log, /acmems\.ini:\d+: \[auth \\"lab\\"\] has no key domian/)
  assert.equal((await postCsr(acmems.signUrl, makeCsr({ names: ['a.lab.test'] }))).status, 200)
})

test('SIGHUP opens new listeners and closes old ones; one that cannot be had changes nothing', async () => {
  await using acmems = await startAcmems(local)
  const port = await freePort()
  const text = readFileSync(acmems.configFile, 'utf8')
  writeFileSync(acmems.configFile, text.replace(`127.0.0.1:${acmems.mgmtPort}`, `127.0.0.1:${port}`))
  process.kill(acmems.pid, 'SIGHUP')
  await until('the new listener', () => acceptsTcp(port))
  await until('the end of the old one', async () => !(await acceptsTcp(acmems.mgmtPort)))
  const before = acmems.log().length
  writeFileSync(acmems.configFile, text.replace(`127.0.0.1:${acmems.mgmtPort}`, `192.0.2.1:${port}`))
  process.kill(acmems.pid, 'SIGHUP')
  await until('the refusal', () => acmems.log().slice(before).includes('not reloaded'))
  assert.match(acmems.log().slice(before), /cannot listen on 192\.0\.2\.1:\d+: this machine does not have that address/)
  assert.equal(await acceptsTcp(port), true)
})

test('SIGTERM: what is in flight is finished, nothing new is taken, the exit code is 0', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble({ sleep: true, sleepTimeSeconds: 3 })
  await using acmems = await startAcmems(pebbleConfig(pebble))
  const pending = postCsr(acmems.signUrl, makeCsr({ names: ['a.lab.test'] }))
  await until('the order', () => (pebble.requests().get('POST /order-plz') ?? 0) > 0)
  process.kill(acmems.pid, 'SIGTERM')
  await until('the closed door', async () => !(await acceptsTcp(acmems.mgmtPort)))
  assert.equal((await pending).status, 200)
  await until('the end', () => acmems.hasEnded())
  assert.match(acmems.log(), /"msg":"stopped"/)
})

test('exit codes: 0 after SIGTERM, 1 for a bad configuration, 2 for a wrong call', async () => {
  using folder = makeTempFolder('exit')
  const config = join(folder.path, 'a.ini')
  writeFileSync(
    config,
    `[state]\nurl = sqlite:${folder.path}/state.db\n[mgmt]\nlistener = 127.0.0.1:${await freePort()}\n${local}`,
  )
  const run = async (args: string[], stop: boolean) => {
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += String(chunk)
        if (stop && !child.killed && output.includes('"serving"')) child.kill('SIGTERM')
      })
    }
    const code = await new Promise((done) => child.on('exit', (status, signal) => done(status ?? signal)))
    return { code, output }
  }
  assert.equal((await run(['serve', config], true)).code, 0)
  const missing = await run(['serve', join(folder.path, 'no.ini')], false)
  assert.deepEqual([missing.code, /no\.ini: cannot be read/.test(missing.output)], [1, true], missing.output)
  assert.equal((await run(['serve', '--nonsense'], false)).code, 2)
  assert.equal((await run(['serv'], false)).code, 2)
})

test('without a file: defaults, state in the XDG folder, and nobody gets in', async () => {
  using folder = makeTempFolder('bare')
  const [mgmt, http] = [await freePort(), await freePort()]
  const args = [
    '--set',
    `mgmt.listener=127.0.0.1:${mgmt}`,
    '--set',
    'verification.http.type=http01',
    '--set',
    `verification.http.listener=127.0.0.1:${http}`,
  ]
  const env = { ...process.env, XDG_STATE_HOME: folder.path, STATE_DIRECTORY: join(folder.path, 'acmems') }
  const child = spawn(process.execPath, [main, 'serve', ...args], { stdio: 'ignore', env })
  try {
    await until('the door', () => acceptsTcp(mgmt))
    const reply = await postCsr(`http://127.0.0.1:${mgmt}/sign`, makeCsr({ names: ['a.example.org'] }))
    assert.equal(reply.status, 403)
    const file = join(folder.path, 'acmems', 'state.db')
    assert.equal(statSync(file).mode & 0o777, 0o600, 'for us alone')
  } finally {
    child.kill('SIGTERM')
    await new Promise((done) => child.on('exit', done))
  }
})

test('systemd is told: ready, signs of life, stopping', async (t) => {
  const perl = requirePeer(t, 'perl')
  if (!perl || !requirePeer(t, 'systemd-notify')) return
  using folder = makeTempFolder('notify')
  const socket = join(folder.path, 'notify.sock')
  const received = join(folder.path, 'received')
  // Node.js has no UNIX datagram sockets, so perl plays the service manager.
  const script = `use IO::Socket::UNIX; use Socket; $| = 1; my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die;
open(my $f, '>>', $ARGV[1]); $f->autoflush(1); print "ready\\n"; while (1) { $s->recv(my $m, 4096); print $f "$m\\n"; }`
  const manager = spawn(perl.path, ['-MIO::Handle', '-e', script, socket, received], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await new Promise((done) => manager.stdout.once('data', done))
    const acmems = await startAcmems(local, { env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '400000' } })
    const told = () => readFileSync(received, 'utf8')
    await until('READY=1', () => /READY=1/.test(told()))
    assert.match(told(), new RegExp(`MAINPID=${acmems.pid}`))
    await until('two signs of life', () => (told().match(/WATCHDOG=1/g) ?? []).length >= 2)
    await acmems.stop()
    await until('STOPPING=1', () => /STOPPING=1/.test(told()))
  } finally {
    manager.kill()
  }
})

test('kill -9 in the middle: started again, the next request goes on with the same order; validators are answered meanwhile', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  using folder = makeTempFolder('crash')
  await using pebble = await startPebble({ sleep: true, sleepTimeSeconds: 4, nonceReject: 0 })
  const csr = makeCsr({ names: ['a.lab.test'] })
  const state = `[state]\nurl = sqlite:${join(folder.path, 'state.db')}\n`
  // Somebody must be there to tell the validator while the other is dead: a second process on the same state.
  await using _responder = await startAcmems(`${state}${pebbleConfig(pebble)}`)
  const config = `${state}${pebbleConfig(pebble).replace(/listener = .*/, 'listener =')}`
  const first = await startAcmems(config, { folder: folder.path })
  const lost = postCsr(first.signUrl, csr).catch(() => undefined)
  await until('the answered challenge', () => [...pebble.requests()].some(([route]) => route.startsWith('POST /chalZ')))
  process.kill(first.pid, 'SIGKILL')
  await lost
  await first.stop()
  await using second = await startAcmems(config, { folder: folder.path })
  const reply = await postCsr(second.signUrl, csr)
  assert.equal(reply.status, 200, reply.text + second.log())
  assert.equal(pebble.requests().get('POST /order-plz'), 1, 'one order')
  assert.equal(pebble.issuedCount(), 1)
})

test('a client that goes away does not stop the issuance', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble({ sleep: true, sleepTimeSeconds: 2 })
  await using acmems = await startAcmems(pebbleConfig(pebble))
  const csr = makeCsr({ names: ['a.lab.test'] })
  const socket = connect(acmems.mgmtPort, '127.0.0.1')
  socket.write(`POST /sign HTTP/1.1\r\nHost: x\r\nContent-Length: ${csr.length}\r\n\r\n${csr}`)
  await until('the order', () => (pebble.requests().get('POST /order-plz') ?? 0) > 0)
  socket.destroy()
  await until('the certificate', () => pebble.issuedCount() === 1)
  const reply = await postCsr(acmems.signUrl, csr)
  assert.deepEqual([reply.status, pebble.issuedCount()], [200, 1])
})

function pebbleConfig(pebble: {
  readonly directoryUrl: string
  readonly caFile: string
  readonly httpPort: number
}): string {
  return `${accountAndHttp01(pebble)}[auth "lab"]
ip = 127.0.0.1
domain = *.lab.test
`
}
