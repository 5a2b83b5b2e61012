// Two servers, one behind the other: enrolment by token, signed requests over TLS, every refusal in the hub's own words.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { type Outcome, runCommand } from './command.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { makeTlsIdentity, type TlsIdentity } from './peers/tls-identity.ts'

const _local = '[account]\ntype = local\n'
const fleet = '[auth "fleet"]\nenroll = yes\ndomain = *.fleet.test\n'

function tls({ certificateFile, keyFile }: TlsIdentity): string {
  return `[mgmt]\ntls-certificate = ${certificateFile}\ntls-key = ${keyFile}\n`
}

/** As the documents have it, with openssl alone. */
function pinOf({ certificateFile }: TlsIdentity): string {
  const line = `openssl x509 -in ${certificateFile} -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | openssl base64 -A`
  return `sha256//${execFileSync('sh', ['-c', line], { encoding: 'utf8' })}`
}

function identityIn(parent: string, name: string): Promise<TlsIdentity> {
  mkdirSync(join(parent, name))
  return makeTlsIdentity(join(parent, name))
}

async function makeToken(hub: Acmems, ...args: string[]): Promise<string> {
  const { out, err } = await runCommand(['enroll', 'fleet', '--json', ...args, hub.configFile])
  assert.equal(err, '')
  return (JSON.parse(out) as { token: string }).token
}

const urlOf = (hub: Pick<Acmems, 'mgmtPort'>) => `https://127.0.0.1:${hub.mgmtPort}`

function enroll(server: string, token: string, ...more: string[]): Promise<Outcome> {
  return runCommand(['agent', 'enroll', '--server', server, '--token', token, ...more])
}

/** Another machine: lets its own hosts in by their address, and gets everything from the hub. */
const gatewayConfig = (section: string) => `${section.replace(/\[mgmt\]\n/, '[mgmt]\n')}
[auth "hosts"]
ip = 127.0.0.1
domain = **.test
`

const wrongClock = { NODE_OPTIONS: '--import data:text/javascript,const{now}=Date;Date.now=()=>now.call(Date)+3600000' }

test('a gateway gets its hosts certificates of Pebble through the hub, whatever happens to the hub or the clock', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('hub')
  const identity = await identityIn(folder.path, 'tls')
  await using pebble = await startPebble()
  const hubConfig = `${accountAndHttp01(pebble)}${tls(identity)}${fleet}`
  const hubPort = await freePort()
  const startHub = () => startAcmems(hubConfig, { folder: folder.path, mgmtPort: hubPort })
  let hub = await startHub()
  await using cleanup = new AsyncDisposableStack()
  cleanup.defer(() => hub.stop())

  const keyFile = join(folder.path, 'agent', 'agent.key')
  const pin = pinOf(identity)
  const token = await makeToken(hub, '--label', 'gateway')
  const { code, out, err } = await enroll(urlOf(hub), token, '--pin', pin, '--key', keyFile)
  assert.deepEqual([code, err], [0, ''])
  const section = out.slice(out.indexOf('[issuer'))
  assert.ok(section.includes(`pin = ${pin}\n`))

  // The hub is away when the gateway starts, so nothing has told it the time.
  await hub.stop()
  await using gateway = await startAcmems(gatewayConfig(section), { env: wrongClock })
  const csr = makeCsr({ names: ['www.fleet.test'] })
  const away = await postCsr(gateway.signUrl, csr)
  assert.equal(away.status, 503, away.text)
  assert.match(away.text, /^the server at 127\.0\.0\.1:\d+ did not answer: ECONNREFUSED/)
  assert.ok(Number(away.headers.get('retry-after')) >= 1)
  hub = await startHub()
  const first = await untilStatus(200, () => postCsr(gateway.signUrl, csr))
  assert.deepEqual(namesOf(certificatesOf(first)[0]), ['DNS:www.fleet.test'])
  assert.match(gateway.log(), /the clock of this machine and that of the server differ/)
  const refusals = () => hub.logLines().filter(({ status }) => status === 401).length
  assert.equal(refusals(), 1, 'corrected once')
  assert.equal((await postCsr(gateway.signUrl, makeCsr({ names: ['b.fleet.test'] }))).status, 200)
  assert.equal(refusals(), 1, 'and remembered')

  // What is kept here needs no hub; and who has lost everything gets the same from the hub, restarted.
  await hub.stop()
  assert.equal((await postCsr(gateway.signUrl, csr)).text, first)
  hub = await startHub()
  {
    await using forgetful = await startAcmems(gatewayConfig(section), { env: wrongClock })
    assert.equal((await postCsr(forgetful.signUrl, csr)).text, first)
  }
  assert.equal(pebble.issuedCount(), 2)

  const refused = await postCsr(gateway.signUrl, makeCsr({ names: ['www.other.test'] }))
  assert.equal(refused.status, 403)
  assert.match(refused.text, /^127\.0\.0\.1:\d+ refused: www\.other\.test: /)
  await pebble.setA('gone.fleet.test', ['127.0.0.2'])
  const invalid = await postCsr(gateway.signUrl, makeCsr({ names: ['gone.fleet.test'] }))
  assert.equal(invalid.status, 421, invalid.text)
  assert.match(invalid.text, /^127\.0\.0\.1:\d+ refused: .*127\.0\.0\.2/)
})

async function untilStatus(wanted: number, act: () => Promise<{ status: number; text: string }>): Promise<string> {
  const deadlineMs = performance.now() + 20_000
  for (;;) {
    const { status, text } = await act()
    if (status === wanted) return text
    assert.ok(performance.now() < deadlineMs, text)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}
