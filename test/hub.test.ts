// Two servers, one behind the other: enrolment by token, signed requests over TLS, every refusal in the hub's own words.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { type Outcome, runCommand } from './command.ts'
import { readSnippets } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { makeTlsIdentity, type TlsIdentity } from './peers/tls-identity.ts'
import { readSoFar, until, untilLogged } from './until.ts'

const local = '[account]\ntype = local\n'
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

const readConfigurations = () =>
  readSnippets('docs/agent.md')
    .filter(({ mark }) => mark === 'configuration')
    .map(({ text }) => text)

function withValues(config: string, values: Readonly<Record<string, string>>): string {
  return Object.entries(values).reduce((text, [key, value]) => {
    const line = new RegExp(`^${key} = .*$`, 'm')
    assert.match(text, line)
    return text.replace(line, () => `${key} = ${value}`)
  }, config)
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
  await untilLogged(gateway, /the clock of this machine and that of the server differ/)
  const refusals = () => hub.logLines().filter(({ status }) => status === 401).length
  await until('the refusal', () => refusals() > 0)
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

test('an agent keeps its host’s certificates by the hub: away, restarted, the agent killed, its clock wrong', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('hub')
  const identity = await identityIn(folder.path, 'tls')
  await using pebble = await startPebble()
  const hubPort = await freePort()
  const hubConfig = `${accountAndHttp01(pebble)}${tls(identity)}public-name = 127.0.0.1:${hubPort}\n${fleet}`
  const startHub = () => startAcmems(hubConfig, { folder: folder.path, mgmtPort: hubPort })
  let hub = await startHub()
  await using cleanup = new AsyncDisposableStack()
  cleanup.defer(() => hub.stop())

  // The line as the hub prints it.
  const printed = await runCommand(['enroll', 'fleet', hub.configFile])
  const line = printed.out.split('\n').find((one) => one.startsWith('acmems agent enroll ')) ?? ''
  const agentFolder = join(folder.path, 'host')
  mkdirSync(agentFolder)
  const keyFile = join(agentFolder, 'agent.key')
  const enrolled = await runCommand([...line.split(' ').slice(1), '--key', keyFile])
  assert.equal(enrolled.code, 0, enrolled.err)
  const section = enrolled.out.slice(enrolled.out.indexOf('[issuer'))
  assert.match(section, /\npin = sha256\/\//)

  const web = join(agentFolder, 'web')
  const told = join(agentFolder, 'told')
  const written = { server: urlOf(hub), pin: /pin = (.*)/.exec(section)?.[1] ?? '', key: keyFile }
  const shown = withValues(readConfigurations()[0] ?? '', written)
  assert.ok(shown.startsWith(section), `what is printed is what the documents show:\n${section}\n${shown}`)
  const hook = `echo "$ACMEMS_NAMES" >> ${told}`
  const config = withValues(shown, { domain: 'www.fleet.test', directory: web, hook })
  const options = { folder: agentFolder, command: 'agent', env: wrongClock } as const
  await hub.stop()
  let agent = await startAcmems(config, options)
  cleanup.defer(() => agent.stop())
  const [serving] = agent.logLines().filter(({ msg }) => msg === 'serving')
  assert.deepEqual([serving?.mgmt, serving?.http01], [[], []], 'nobody can ask it')
  hub = await startHub()
  // Killed while the CA is at it; the hub goes on alone.
  await until('the order', () => (pebble.requests().get('POST /order-plz') ?? 0) > 0)
  process.kill(agent.pid, 'SIGKILL')
  await until('its end', () => agent.hasEnded())
  agent = await startAcmems(config, options)
  await until('the hook', () => readSoFar(told))
  const certificate = join(web, 'cert.pem')
  assert.equal(
    execFileSync('openssl', ['x509', '-in', certificate, '-noout', '-pubkey'], { encoding: 'utf8' }),
    execFileSync('openssl', ['pkey', '-in', join(web, 'privkey.pem'), '-pubout'], { encoding: 'utf8' }),
  )
  assert.equal(pebble.issuedCount(), 1, 'the same request was asked again')
  assert.equal(readFileSync(told, 'utf8'), 'www.fleet.test\n')

  // The hub restarted, and a second certificate by a reload.
  await hub.stop()
  hub = await startHub()
  const second = join(agentFolder, 'mail')
  writeFileSync(
    agent.configFile,
    `${readFileSync(agent.configFile, 'utf8')}[certificate "mail"]\ndomain = mail.fleet.test\ndirectory = ${second}\n`,
  )
  process.kill(agent.pid, 'SIGHUP')
  await until('the second', () => existsSync(join(second, 'fullchain.pem')))
  assert.deepEqual(namesOf(certificatesOf(readFileSync(join(second, 'fullchain.pem'), 'utf8'))[0]), [
    'DNS:mail.fleet.test',
  ])
  process.kill(agent.pid, 'SIGTERM')
  await until('its end', () => agent.hasEnded())
  assert.match(agent.log(), /"msg":"stopped"/)
})

test('agent enroll: once or again, and a plain word for everything that can go wrong', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('hub')
  const [identity, other] = [await identityIn(folder.path, 'tls'), await identityIn(folder.path, 'other')]
  await using hub = await startAcmems(`${local}${tls(identity)}${fleet}`)
  const url = urlOf(hub)
  const keyFile = join(folder.path, 'new', 'agent.key')
  const pin = pinOf(identity)
  const token = await makeToken(hub, '--label', 'web1')
  const fails = async (code: number, said: RegExp, server: string, used: string, ...more: string[]) => {
    const outcome = await enroll(server, used, '--key', keyFile, ...more)
    assert.equal(outcome.code, code, outcome.err)
    assert.match(outcome.err, said)
    assert.equal(outcome.out, '')
  }
  await fails(2, /over https:/, url.replace('https', 'http').replace('127.0.0.1', '192.0.2.1'), token)
  await fails(2, /name and a port; write https:/, `${url}/other`, token)
  await fails(2, /no pin/, url, token, '--pin', 'sha256//abc')
  await fails(2, /not both/, url, token, '--pin', pin, '--ca-file', identity.caFile)
  await fails(2, /no token/, url, 'abc', '--pin', pin)
  assert.ok(!existsSync(keyFile), 'nothing is made for what cannot be')
  await fails(
    1,
    /is not the one that was pinned: its key is sha256\/\/\S{44}, which/,
    url,
    token,
    '--pin',
    pinOf(other),
  )
  await fails(1, /certificate that is not trusted here/, url, token)
  await fails(1, /certificate that is not trusted here/, url, token, '--ca-file', other.caFile)
  await fails(1, /did not answer: ECONNREFUSED\n.*typed again/, `https://127.0.0.1:${await freePort()}`, token)
  await fails(1, /refused: this token is not known.*\n.*acmems enroll BLOCK/, url, 'x'.repeat(43), '--pin', pin)

  const first = await enroll(url, token, '--ca-file', identity.caFile, '--key', keyFile, '--label', 'main')
  assert.equal(first.code, 0, first.err)
  assert.match(first.out, /\[issuer "main"\]\ntype = acmems\n/)
  assert.equal(statSync(keyFile).mode & 0o777, 0o600)
  const thumbprint = execFileSync(
    'sh',
    [
      '-c',
      `openssl pkey -pubin -in ${keyFile.replace('.key', '.pub')} -outform DER | openssl dgst -sha256 -binary | openssl base64 -A | tr '+/' '-_' | tr -d =`,
    ],
    { encoding: 'utf8' },
  )
  const before = readFileSync(keyFile, 'utf8')
  const pinned = await runCommand(
    ['agent', 'enroll', '--server', `${url}/`, '--token', '-', '--pin', pin, '--key', keyFile, '--json'],
    `${token}\n`,
  )
  assert.equal(pinned.code, 0, pinned.err)
  const { keyId, section } = JSON.parse(pinned.out) as { keyId: string; section: string }
  assert.equal(keyId, thumbprint)
  assert.ok(section.includes(`server = ${url}\n`))
  assert.equal(readFileSync(keyFile, 'utf8'), before)

  await fails(1, /refused: this token/, url, token, '--pin', pin, '--key', join(folder.path, 'another.key'))
  const { out } = await runCommand(['enroll', 'revoke', '--', keyId, hub.configFile])
  assert.match(out, /revoked/)
  await fails(1, /refused \(status 403\): this key was revoked/, url, await makeToken(hub), '--pin', pin)
})

test('the gateway of the documents: TLS on both sides, and a gateway behind it', async (t) => {
  if (!requirePeer(t, 'openssl') || !requirePeer(t, 'curl')) return
  using folder = makeTempFolder('hub')
  const [identity, own] = [await identityIn(folder.path, 'tls'), await identityIn(folder.path, 'own')]
  await using hub = await startAcmems(`${local}${tls(identity)}${fleet}`)
  const enrolIn = async (at: Acmems, name: string, caFile: string) => {
    const key = join(folder.path, name)
    const outcome = await enroll(urlOf(at), await makeToken(at), '--ca-file', caFile, '--key', key)
    assert.equal(outcome.code, 0, outcome.err)
    return key
  }
  const shown = withValues(readConfigurations().find((text) => text.includes('[account]')) ?? '', {
    server: `${urlOf(hub)}\nkey = ${await enrolIn(hub, 'first.key', identity.caFile)}`,
    'ca-file': identity.caFile,
    'tls-certificate': own.certificateFile,
    'tls-key': own.keyFile,
    ip: '127.0.0.1',
    domain: '**.fleet.test',
  }).replace('listener = 10.0.0.1:1313\n', '')
  await using gateway = await startAcmems(`${shown}${fleet}`)
  const second = `[account]\ntype = acmems\nserver = ${urlOf(gateway)}\nkey = ${await enrolIn(gateway, 'second.key', own.caFile)}\npin = ${pinOf(own)}\n`
  await using behind = await startAcmems(gatewayConfig(second))
  const csr = makeCsr({ names: ['www.fleet.test'] })
  const reply = await postCsr(behind.signUrl, csr)
  assert.equal(reply.status, 200, reply.text)
  const file = join(folder.path, 'csr')
  writeFileSync(file, csr)
  const direct = execFileSync(
    'curl',
    ['-sS', '--cacert', own.caFile, '--data-binary', `@${file}`, `${urlOf(gateway)}/sign`],
    { encoding: 'utf8' },
  )
  assert.equal(direct, reply.text)
  // The words of the one at the end, through both.
  const refused = await postCsr(behind.signUrl, makeCsr({ names: ['www.other.test'] }))
  assert.equal(refused.status, 403)
  assert.match(refused.text, /refused: www\.other\.test: /)
})

test('a gateway says whose fault it is; its configuration is checked', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('hub')
  const [identity, other] = [await identityIn(folder.path, 'tls'), await identityIn(folder.path, 'other')]
  await using hub = await startAcmems(`${local}${tls(identity)}${fleet}`)
  const csr = makeCsr({ names: ['www.fleet.test'] })
  const issuer = (more: string, server = urlOf(hub)) => `[account]\ntype = acmems\nserver = ${server}\n${more}`
  for (const [more, status, said] of [
    [`pin = ${pinOf(other)}`, 503, /is not the one that was pinned/],
    ['', 503, /certificate that is not trusted here/],
    // Not the host's fault, so no 403.
    [
      `pin = ${pinOf(other)}\npin = ${pinOf(identity)}`,
      500,
      /does not take this machine's signature: the signature does not/,
    ],
    [
      `ca-file = ${identity.caFile}\nkey = ${identity.certificateFile}`,
      500,
      /key that requests are signed with cannot/,
    ],
  ] as const) {
    await using gateway = await startAcmems(gatewayConfig(issuer(more)))
    const reply = await postCsr(gateway.signUrl, csr)
    assert.equal(reply.status, status, reply.text)
    assert.match(reply.text, said)
  }
  for (const [more, said] of [
    [issuer('', 'http://192.0.2.1:1313'), /over https:/],
    [issuer(`pin = ${pinOf(identity)}`, 'http://127.0.0.1:1313'), /a pin needs/],
    [issuer(`pin = ${pinOf(identity)}\nca-file = /x`), /not both/],
    ['[account]\ntype = acmems\n', /\[account\] needs server/],
  ] as const)
    await assert.rejects(startAcmems(gatewayConfig(more)), said)
  const nothing = startAcmems(issuer(`pin = ${pinOf(identity)}\n`), { command: 'agent' })
  await assert.rejects(nothing, /has no \[certificate\]/)
  assert.equal((await runCommand(['agent'])).code, 2)
})

async function untilStatus(wanted: number, act: () => Promise<{ status: number; text: string }>): Promise<string> {
  const deadlineMs = performance.now() + 20_000
  for (;;) {
    const { status, text } = await act()
    if (status === wanted) return text
    assert.ok(performance.now() < deadlineMs, text)
    await sleep(500)
  }
}
