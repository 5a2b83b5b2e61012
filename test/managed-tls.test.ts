// tls = managed NAME: the server's own certificate comes from itself, and hosts know it by its key from the first moment.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { accountAt, startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { until } from './until.ts'

const run = promisify(execFile)

test('a server without a certificate is reached by its pin, and by the same pin when it has one', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'curl')) return
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
  using folder = makeTempFolder('managed-tls')
  const tls = join(folder.path, 'tls')
  // Nobody answers for the name yet: there is no certificate to be had.
  const config = (port: number) =>
    `[mgmt]\ntls = managed hub\n${accountAt(pebble)}[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${port}\n` +
    `[certificate "hub"]\ndomain = hub.example.org\ndirectory = ${tls}\nreuse-key = yes\n` +
    '[auth "web"]\nenroll = yes\ndomain = www.example.org\n'
  await using acmems = await startAcmems(config(await freePort()), { folder: folder.path })
  const enrolment = await runJson<{ pin: string; server: string }>(['enroll', 'web', acmems.configFile])
  assert.match(enrolment.pin, /^sha256\/\/.{44}$/)
  const url = `https://127.0.0.1:${acmems.mgmtPort}/agent.sh.sha256`
  const askByPin = async (pin: string) =>
    (await run('curl', ['-sS', '-k', '--pinnedpubkey', pin, url]).catch((error: Error) => ({ stdout: error.message })))
      .stdout
  assert.match(await askByPin(enrolment.pin), / {2}agent\.sh/)
  assert.match(await askByPin('sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='), /does not match/)
  const first = new X509Certificate(readFileSync(join(tls, 'cert.pem')))
  assert.equal(first.issuer, first.subject)

  writeFileSync(
    acmems.configFile,
    readFileSync(acmems.configFile, 'utf8').replace(
      /\ntype = http01\nlistener = .*\n/,
      `\ntype = http01\nlistener = 127.0.0.1:${pebble.httpPort}\n`,
    ),
  )
  process.kill(acmems.pid, 'SIGHUP')
  const installed = () => new X509Certificate(readFileSync(join(tls, 'cert.pem')))
  await until('the other certificate', () => !installed().raw.equals(first.raw), { logs: [acmems] })
  assert.notEqual(installed().issuer, first.issuer, acmems.log())
  assert.ok(installed().publicKey.equals(first.publicKey))
  const served = async () => {
    const { stdout } = await run('sh', [
      '-c',
      `openssl s_client -connect 127.0.0.1:${acmems.mgmtPort} </dev/null 2>/dev/null`,
    ])
    return stdout
  }
  await until('it being served', async () => /Pebble Intermediate/.test(await served()))
  assert.match(await askByPin(enrolment.pin), / {2}agent\.sh/)
})

test('what does not fit together is said', async () => {
  using folder = makeTempFolder('managed-tls')
  const file = join(folder.path, 'acmems.ini')
  const section = '[certificate "hub"]\ndomain = hub.example.org\n'
  for (const [config, complaint] of [
    ['[mgmt]\ntls = managed hub\n', /no \[certificate "hub"\]/],
    [`[mgmt]\ntls = managed hub\n${section}directory = /x/y\n`, /needs reuse-key = yes/],
    [
      `[mgmt]\ntls = managed hub\n${section}key = /x\ncertificate = /y\nreuse-key = yes\n`,
      /needs directory, or key and fullchain/,
    ],
    [
      `[mgmt]\ntls = managed hub\ntls-key = /x\ntls-certificate = /y\n${section}directory = /x/y\nreuse-key = yes\n`,
      /not from both/,
    ],
    ['[mgmt]\ntls-key = /x\n', /needs tls-certificate/],
    ['[mgmt]\ntls = hub\n', /managed NAME/],
  ] as const) {
    writeFileSync(file, config)
    const { code, err } = await runCommand(['check-config', file])
    assert.equal(code, 1, config)
    assert.match(err, complaint)
  }
})
