// The real acme.sh: its plugins as our hooks, and itself as a client of our acme-dns API.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { accountAt, startAcmems } from './acmems.ts'
import { txtValues } from './dns-world.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { startBind } from './peers/bind.ts'
import { startBindResolver } from './peers/bind-resolver.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, needPeer, requirePeer } from './peers/peers.ts'

/** A folder where a program is found by its name alone. */
function makeProgramFolder(folder: string, name: 'nsupdate' | 'curl'): string {
  const { path, env } = needPeer(name)
  const programs = join(folder, 'programs')
  mkdirSync(programs, { recursive: true })
  const { LD_LIBRARY_PATH: libraries } = env
  if (libraries === undefined) symlinkSync(path, join(programs, name))
  else {
    const script = `#!/bin/sh\nLD_LIBRARY_PATH=${libraries} exec ${path} "$@"\n`
    writeFileSync(join(programs, name), script, { mode: 0o755 })
  }
  return `${programs}:/usr/sbin:/usr/bin:/sbin:/bin`
}

test('a plugin of acme.sh changes BIND for us', async (t) => {
  const peer = requirePeer(t, 'acme.sh')
  if (!peer || !(['pebble', 'named', 'nsupdate', 'openssl'] as const).every((name) => requirePeer(t, name))) return
  using folder = makeTempFolder('acme.sh')
  await using bind = await startBind(['zone.test'])
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${bind.port}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-exec
dialect = acme.sh
home = ${dirname(peer.path)}
plugin = dns_nsupdate
environment = PATH=${makeProgramFolder(folder.path, 'nsupdate')}
environment = NSUPDATE_SERVER=127.0.0.1
environment = NSUPDATE_SERVER_PORT=${bind.port}
resolver = 127.0.0.1:${bind.port}
nameserver = 127.0.0.1:${bind.port}
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
wildcard = yes
`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.zone.test', '*.www.zone.test'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + bind.log())
  assert.equal(namesOf(certificatesOf(reply.text)[0]).length, 2)
  assert.deepEqual(await txtValues(bind.port, '_acme-challenge.www.zone.test'), [])
})

test('acme.sh gets a certificate, its name proven through our acme-dns API', async (t) => {
  const peer = requirePeer(t, 'acme.sh')
  if (!peer || !(['pebble', 'named', 'curl', 'openssl'] as const).every((name) => requirePeer(t, name))) return
  using folder = makeTempFolder('acme.sh')
  const [dns, resolver, apiPort] = [await freePort(), await freePort(), await freePort()]
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${resolver}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${dns}
zone = acme.example.net
ns = ns1.example.net
[dns-api]
listener = 127.0.0.1:${apiPort}
[auth "web"]
password = correct horse battery
domain = **.web.test
wildcard = yes
`)
  const api = `http://127.0.0.1:${apiPort}`
  const authorization = `Basic ${Buffer.from('web:correct horse battery').toString('base64')}`
  const registered = await fetch(`${api}/register`, { method: 'POST', headers: { authorization } })
  const account = (await registered.json()) as Record<'username' | 'password' | 'subdomain' | 'fulldomain', string>
  await using bind = await startBindResolver({
    ...{ port: resolver, zone: 'web.test', forward: { zone: 'acme.example.net', port: dns } },
    records: [`_acme-challenge.a IN CNAME ${account.fulldomain}.`],
  })
  const home = join(folder.path, 'home')
  const config = ['--config-home', home, '--cert-home', home, '--home', dirname(peer.path)]
  const ca = ['--server', pebble.directoryUrl, '--ca-bundle', pebble.caFile, '--accountemail', 'ops@example.test']
  const names = ['-d', 'a.web.test', '-d', '*.a.web.test', '--keylength', 'ec-256']
  const args = ['--issue', '--dns', 'dns_acmedns', '--dnssleep', '1', ...names, ...ca, ...config, '--force']
  const { stdout, stderr } = await promisify(execFile)('/bin/sh', [peer.path, ...args], {
    env: {
      PATH: makeProgramFolder(folder.path, 'curl'),
      HOME: folder.path,
      ACMEDNS_BASE_URL: api,
      ACMEDNS_USERNAME: account.username,
      ACMEDNS_PASSWORD: account.password,
      ACMEDNS_SUBDOMAIN: account.subdomain,
    },
    timeout: 120_000,
  }).catch((error: { stdout: string; stderr: string }) => error)
  const said = stdout + stderr
  assert.match(said, /Cert success/, said + acmems.log() + bind.log())
  const chain = readFileSync(join(home, 'a.web.test_ecc', 'fullchain.cer'), 'utf8')
  assert.deepEqual(namesOf(certificatesOf(chain)[0]), ['DNS:*.a.web.test', 'DNS:a.web.test'])
})
