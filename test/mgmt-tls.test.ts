// TLS on the management listener: curl, openssl and HAProxy against a real server; certificates that change while it runs.
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectPlain } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { openTlsFiles } from '../src/http/tls-files.ts'
import { type Acmems, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { makeTlsIdentity, type TlsIdentity } from './peers/tls-identity.ts'
import { startHaproxy } from './peers/web-servers.ts'
import { until } from './until.ts'

const run = promisify(execFile)
const local = '[account]\ntype = local\n[auth "lab"]\nip = 127.0.0.1\ndomain = *.lab.test\n'

function tlsConfig({ certificateFile, keyFile }: TlsIdentity, more = ''): string {
  return `${local}[mgmt]\ntls-certificate = ${certificateFile}\ntls-key = ${keyFile}\n${more}`
}

async function identityIn(parent: string, name: string): Promise<TlsIdentity> {
  const folder = join(parent, name)
  mkdirSync(folder)
  return makeTlsIdentity(folder)
}

function install(from: TlsIdentity, to: TlsIdentity): void {
  copyFileSync(from.certificateFile, to.certificateFile)
  copyFileSync(from.keyFile, to.keyFile)
}

/** What a new connection is shown. */
function servedSerial(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? 'none')
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

const serialOf = ({ certificateFile }: TlsIdentity) => new X509Certificate(readFileSync(certificateFile)).serialNumber

async function reload(acmems: Acmems, outcome: RegExp): Promise<string> {
  const before = acmems.log().length
  process.kill(acmems.pid, 'SIGHUP')
  await until(String(outcome), () => outcome.test(acmems.log().slice(before)))
  return acmems.log().slice(before)
}

/** How long until the server ends a connection on which this much was sent. */
function timeUntilClosed(port: number, sent: string): Promise<number> {
  const startedMs = performance.now()
  return new Promise((resolve) => {
    const socket = connectPlain(port, '127.0.0.1', () => socket.write(sent))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(performance.now() - startedMs))
  })
}

test('curl gets a certificate over TLS; nothing old is spoken; who is silent is not waited for', async (t) => {
  if (!requirePeer(t, 'curl') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const identity = await identityIn(folder.path, 'a')
  await using acmems = await startAcmems(tlsConfig(identity))
  const csr = join(folder.path, 'a.csr')
  writeFileSync(csr, makeCsr({ names: ['a.lab.test'] }))
  const url = `https://127.0.0.1:${acmems.mgmtPort}/sign`
  const post = ['-sS', '--data-binary', `@${csr}`, url]
  const { stdout } = await run('curl', ['--cacert', identity.caFile, ...post])
  assert.deepEqual(namesOf(certificatesOf(stdout)[0]), ['DNS:a.lab.test'])
  await assert.rejects(run('curl', post), /certificate/)

  const client = (...args: string[]) => {
    const { stdout, status } = spawnSync(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${acmems.mgmtPort}`, '-CAfile', identity.caFile, ...args],
      { encoding: 'utf8', input: '' },
    )
    return { stdout, status }
  }
  assert.match(client().stdout, /Verify return code: 0/)
  assert.match(client('-tls1_2').stdout, /Cipher is ECDHE-ECDSA-AES128-GCM-SHA256/)
  assert.notEqual(client('-tls1_1', '-cipher', 'ALL:@SECLEVEL=0').status, 0)
  assert.notEqual(client('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-SHA:AES128-SHA').status, 0)
  assert.doesNotMatch(client().stdout, /Acceptable client certificate|Client Certificate Types/, 'no one asked for one')

  const plain = await run('curl', ['-sS', '-d', 'x', url.replace('https', 'http')]).catch((error: Error) => error)
  assert.ok(plain instanceof Error, 'plain HTTP is not spoken there')
  const [silent, slow] = await Promise.all([
    timeUntilClosed(acmems.mgmtPort, ''),
    timeUntilClosed(acmems.mgmtPort, '\x16\x03\x01'),
  ])
  assert.ok(Math.max(silent, slow) < 9500, `${silent} ${slow}`)
})

test('a changed pair is used after SIGHUP; one that is of no use is not, and the log says why', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const [live, second] = [await identityIn(folder.path, 'live'), await identityIn(folder.path, 'second')]
  const third = await identityIn(folder.path, 'third')
  const [first, next] = [serialOf(live), serialOf(second)]
  await using acmems = await startAcmems(tlsConfig(live))
  assert.equal(await servedSerial(acmems.mgmtPort), first)

  install(second, live)
  await reload(acmems, /"configuration reloaded"/)
  assert.equal(await servedSerial(acmems.mgmtPort), next)

  for (const [spoil, reason] of [
    [() => copyFileSync(third.keyFile, live.keyFile), /is not the key of the first certificate/],
    [() => writeFileSync(live.keyFile, 'no key'), /no private key in PEM/],
    [() => rmSync(live.keyFile), /cannot be read: ENOENT/],
    [() => writeFileSync(live.certificateFile, 'no certificate'), /ENOENT|no certificate in PEM/],
  ] as const) {
    spoil()
    const said = await reload(acmems, /"configuration reloaded"/)
    assert.match(said, /cannot be used; the old one goes on/)
    assert.match(said, reason)
    assert.equal(await servedSerial(acmems.mgmtPort), next)
  }
  install(third, live)
  await reload(acmems, /"configuration reloaded"/)
  assert.equal(await servedSerial(acmems.mgmtPort), serialOf(third))

  // Other files by a changed configuration; files of no use refuse the change.
  const text = readFileSync(acmems.configFile, 'utf8')
  writeFileSync(acmems.configFile, text.replaceAll(`${folder.path}/live/`, `${folder.path}/second/`))
  await reload(acmems, /"configuration reloaded"/)
  assert.equal(await servedSerial(acmems.mgmtPort), next)
  writeFileSync(acmems.configFile, text.replaceAll(`${folder.path}/live/`, `${folder.path}/nowhere/`))
  assert.match(await reload(acmems, /not reloaded/), /tls-certificate = .*nowhere.*cannot be read/)
  assert.equal(await servedSerial(acmems.mgmtPort), next)
})

test('the files are looked at by themselves: half a change is waited out', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const [live, second] = [await identityIn(folder.path, 'live'), await identityIn(folder.path, 'second')]
  const said: string[] = []
  const log = {
    debug() {},
    info: (message: string) => said.push(message),
    warn() {},
    error: (m: string) => said.push(m),
  }
  const timers: (() => void)[] = []
  using files = await openTlsFiles(live, {
    log,
    nowMs: () => Date.now(),
    repeat(everyMs, act) {
      assert.ok(everyMs <= 60_000)
      timers.push(act)
      return { [Symbol.dispose]: () => timers.splice(0) }
    },
  })
  let changes = 0
  files.onChange(() => changes++)
  const look = async () => {
    for (const act of timers) act()
    await files.refresh()
  }
  await look()
  assert.deepEqual([changes, said], [0, []])
  copyFileSync(second.certificateFile, live.certificateFile)
  await look()
  await look()
  assert.deepEqual([changes, said.length], [0, 1], 'complained about once')
  copyFileSync(second.keyFile, live.keyFile)
  await look()
  assert.equal(changes, 1)
  assert.equal(files.current().keyPem, readFileSync(second.keyFile, 'utf8'))
})

test('TLS is turned on and off on the same port by a reload', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const identity = await identityIn(folder.path, 'a')
  await using acmems = await startAcmems(local)
  const plain = readFileSync(acmems.configFile, 'utf8')
  const csr = makeCsr({ names: ['a.lab.test'] })
  const secure = `${plain}[mgmt]\n`
    .replace(/\[mgmt\]\n$/, '')
    .replace('[mgmt]\n', `[mgmt]\ntls-certificate = ${identity.certificateFile}\ntls-key = ${identity.keyFile}\n`)
  for (const round of [1, 2]) {
    writeFileSync(acmems.configFile, secure)
    await reload(acmems, /"configuration reloaded"/)
    assert.equal(await servedSerial(acmems.mgmtPort), serialOf(identity), `round ${round}`)
    writeFileSync(acmems.configFile, plain)
    await reload(acmems, /"configuration reloaded"/)
    assert.equal((await postCsr(acmems.signUrl, csr)).status, 200, `round ${round}`)
  }
  // Refused as a whole: the second listener cannot be had, so the first one is as it was.
  writeFileSync(acmems.configFile, secure.replace('[mgmt]\n', '[mgmt]\nlistener = 192.0.2.1:1\n'))
  await reload(acmems, /not reloaded/)
  assert.equal((await postCsr(acmems.signUrl, csr)).status, 200)
})

test('the server does not start with a pair that is of no use', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const [a, b] = [await identityIn(folder.path, 'a'), await identityIn(folder.path, 'b')]
  const encrypted = join(folder.path, 'encrypted.key')
  await run('openssl', ['pkey', '-in', a.keyFile, '-aes256', '-passout', 'pass:secret', '-out', encrypted])
  for (const [identity, reason] of [
    [{ ...a, keyFile: b.keyFile }, /is not the key of the first certificate/],
    [{ ...a, keyFile: encrypted }, /no private key in PEM without a password/],
    [{ ...a, certificateFile: join(folder.path, 'none') }, /tls-certificate = .*none cannot be read/],
  ] as const)
    await assert.rejects(startAcmems(tlsConfig(identity)), reason)
  const half = tlsConfig(a).replace(/tls-key.*\n/, '')
  await assert.rejects(startAcmems(half), /tls-certificate needs tls-key beside it/)
})

test('plain HTTP beyond loopback is warned of at every start, and nowhere else', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const identity = await identityIn(folder.path, 'a')
  const [port, other] = [await freePort(), await freePort()]
  const wide = `listener = 0.0.0.0:${port}\n`
  const quiet = `listener = localhost:${port}\nlistener = [::1]:${other}\nlistener = unix:${folder.path}/socket\n`
  for (const [config, warned] of [
    [`${local}[mgmt]\n${wide}`, true],
    [`${local}[mgmt]\n${quiet}`, false],
    [tlsConfig(identity, wide), false],
  ] as const) {
    await using acmems = await startAcmems(config)
    const warnings = acmems.logLines().filter(({ msg }) => String(msg).startsWith('plain HTTP beyond'))
    assert.deepEqual(
      warnings.map(({ listener }) => listener),
      warned ? [[`0.0.0.0:${port}`]] : [],
    )
  }
})

test('HAProxy in front, with TLS on both sides', async (t) => {
  if (!requirePeer(t, 'haproxy') || !requirePeer(t, 'curl') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('tls')
  const identity = await identityIn(folder.path, 'a')
  await using acmems = await startAcmems(tlsConfig(identity, 'trusted-proxy = 127.0.0.1\n'))
  const pair = join(folder.path, 'pair.pem')
  writeFileSync(pair, readFileSync(identity.certificateFile, 'utf8') + readFileSync(identity.keyFile, 'utf8'))
  const port = await freePort()
  const snippet = `frontend hosts
  bind 127.0.0.1:${port} ssl crt ${pair}
  option forwardfor
  default_backend acmems
backend acmems
  server acmems 127.0.0.1:${acmems.mgmtPort} ssl verify required ca-file ${identity.caFile} check
`
  await using _haproxy = await startHaproxy(snippet, { httpPort: port })
  const csr = join(folder.path, 'a.csr')
  writeFileSync(csr, makeCsr({ names: ['a.lab.test'] }))
  const args = ['-sS', '--cacert', identity.caFile, '--data-binary', `@${csr}`, `https://127.0.0.1:${port}/sign`]
  for (let i = 0; i < 3; i++)
    assert.deepEqual(namesOf(certificatesOf((await run('curl', args)).stdout)[0]), ['DNS:a.lab.test'])
})
