// The account at a real CA: made, taken over, found again, lost; and what the CA says when it says no.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { after, describe, type TestContext, test } from 'node:test'
import { isJsonObject, type JsonObject } from '../src/acme/json-object.ts'
import type { AcmeTransport } from '../src/acme-client/transport.ts'
import { systemClock } from '../src/clock.ts'
import type { PluginContext } from '../src/plugin-api.ts'
import { accountDirectory } from '../src/plugins/issuers/account-directory.ts'
import { register } from '../src/plugins/issuers/acme-account.ts'
import { acmeOptions } from '../src/plugins/issuers/acme-plugin.ts'
import { accountKeyOf } from '../src/plugins/keys/file.ts'
import { type Acmems, type AcmemsOptions, startAcmems } from './acmems.ts'
import { makeCsr, postCsr, type SignReply } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { main } from './program.ts'
import { until, untilLogged } from './until.ts'

function requirePeers(t: TestContext): boolean {
  return (['pebble', 'pebble-challtestsrv', 'openssl'] as const).every((name) => requirePeer(t, name) !== undefined)
}

let shared: Promise<Pebble> | undefined

/** One CA for all who need nothing special; every test has a key of its own there. */
function usePebble(): Promise<Pebble> {
  // Requests are counted: none is to be repeated for its nonce.
  shared ??= startPebble({ nonceReject: 0, authzReuse: 0, domainBlocklist: ['blocked.example.test'] })
  return shared
}

after(async () => (await shared)?.stop())

type Ca = { readonly directoryUrl: string; readonly caFile: string | undefined; readonly httpPort: number }

/** Everybody on loopback may have every name; `account` holds more keys of [account]. */
function configFor(ca: Ca, folder: string, account: readonly string[]): string {
  const lines = [`acme-server = ${ca.directoryUrl}`, `dir = ${join(folder, 'account')}`, ...account]
  if (ca.caFile !== undefined) lines.push(`ca-file = ${ca.caFile}`)
  return `[account]
${lines.join('\n')}
[verification "http"]
type = http01
listener = 127.0.0.1:${ca.httpPort}
[storage "none"]
type = none
[auth "lab"]
ip = 127.0.0.0/8
domain = **.example.test
`
}

/** One more issuer at the same CA, with a folder of its own, for the names below `NAME.test`. */
function issuerFor(ca: Ca, folder: string, name: string, more: readonly string[]): string {
  const lines = [`acme-server = ${ca.directoryUrl}`, `ca-file = ${ca.caFile}`, `dir = ${join(folder, name)}`, ...more]
  return `[issuer "${name}"]
type = acme
${lines.join('\n')}
[auth "${name}"]
ip = 127.0.0.0/8
domain = *.${name}.test
issuer = ${name}
`
}

const accepted = ['accept-terms-of-service = yes']

function start(
  ca: Ca,
  folder: string,
  account: readonly string[] = accepted,
  options: AcmemsOptions = {},
): Promise<Acmems> {
  return startAcmems(configFor(ca, folder, account), { folder, ...options })
}

let names = 0

function requestCertificate(acmems: Acmems, domain = 'example.test'): Promise<SignReply> {
  return postCsr(acmems.signUrl, makeCsr({ names: [`host${++names}.${domain}`] }))
}

async function assertIssues(acmems: Acmems): Promise<void> {
  const reply = await requestCertificate(acmems)
  assert.equal(reply.status, 200, reply.text + acmems.log())
}

function readRegistration(folder: string, account = 'account'): JsonObject {
  const value: unknown = JSON.parse(readFileSync(join(folder, account, 'registration.json'), 'utf8'))
  assert.ok(isJsonObject(value))
  return value
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)
const newAccounts = (pebble: Pebble) => pebble.requests().get('POST /sign-me-up') ?? 0

// made and found ---------------------------------------------------------------------------------

test('the first start makes key and account for us alone; the next one asks for neither', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('account')
  const pebble = await usePebble()
  const [keyFile, registrationFile] = ['account.pem', 'registration.json'].map((name) =>
    join(folder.path, 'account', name),
  )
  assert.ok(keyFile !== undefined && registrationFile !== undefined)
  {
    await using acmems = await start(pebble, folder.path, [...accepted, 'contact = ops@example.org'])
    await until('the registration', () => existsSync(registrationFile))
    assert.deepEqual([keyFile, registrationFile, join(folder.path, 'account')].map(modeOf), ['600', '600', '700'])
    assert.match(readFileSync(keyFile, 'utf8'), /^-----BEGIN [A-Z ]*PRIVATE KEY-----/)
    const { uri, body } = readRegistration(folder.path)
    assert.ok(String(uri).startsWith(new URL(pebble.directoryUrl).origin))
    assert.ok(isJsonObject(body))
    assert.deepEqual(body.contact, ['mailto:ops@example.org'])
    await assertIssues(acmems)
  }
  const [key, asked] = [readFileSync(keyFile), newAccounts(pebble)]
  await using acmems = await start(pebble, folder.path, [])
  await assertIssues(acmems)
  assert.deepEqual(readFileSync(keyFile), key)
  assert.equal(newAccounts(pebble), asked)
})

test('what the Python acmems left is taken over; what is missing or of no use is found again by the key', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('account')
  const pebble = await usePebble()
  // As its cryptography wrote it: PKCS #1, readable by all, in a folder that all can see.
  const keyFile = join(folder.path, 'account', 'account.pem')
  mkdirSync(dirname(keyFile), { mode: 0o755 })
  execFileSync('openssl', ['genrsa', '-traditional', '-out', keyFile, '2048'], { stdio: 'pipe' })
  chmodSync(keyFile, 0o644)
  const key = readFileSync(keyFile, 'utf8')
  assert.match(key, /^-----BEGIN RSA PRIVATE KEY-----/)
  {
    await using acmems = await start(pebble, folder.path)
    await assertIssues(acmems)
    await untilLogged(acmems, /chmod 600/)
  }
  const uri = String(readRegistration(folder.path).uri)

  const { origin } = new URL(pebble.directoryUrl)
  const pythonAcme = JSON.stringify({ body: { contact: [] }, uri, terms_of_service: 'https://ca.example/tos' })
  const registrations = {
    python: pythonAcme,
    lost: undefined,
    v1: JSON.stringify({ body: {}, uri: `${origin}/acme/reg/123` }),
    elsewhere: JSON.stringify({ body: {}, uri: 'https://acme-staging-v02.api.letsencrypt.org/acme/acct/1' }),
    // Its key was moved away, and this one put in its place.
    another: JSON.stringify({
      ...{ body: {}, uri: `${origin}/my-account/0`, directory: pebble.directoryUrl },
      thumbprint: 'of another key',
    }),
    cut: pythonAcme.slice(0, 30),
    empty: '',
  }
  for (const [name, registration] of Object.entries(registrations)) {
    mkdirSync(join(folder.path, name))
    writeFileSync(join(folder.path, name, 'account.pem'), key, { mode: 0o644 })
    if (registration !== undefined) writeFileSync(join(folder.path, name, 'registration.json'), registration)
  }
  const before = newAccounts(pebble)
  // Nobody accepts anything here: an account that is there needs no new one.
  const issuers = Object.keys(registrations).map((name) => issuerFor(pebble, folder.path, name, []))
  await using acmems = await startAcmems(`${configFor(pebble, folder.path, [])}${issuers.join('')}`, {
    folder: folder.path,
  })
  for (const name of Object.keys(registrations)) {
    const reply = await requestCertificate(acmems, `${name}.test`)
    assert.equal(reply.status, 200, `${name}: ${reply.text}`)
    assert.equal(readRegistration(folder.path, name).uri, uri, name)
    assert.equal(readFileSync(join(folder.path, name, 'account.pem'), 'utf8'), key)
  }
  // A look-up for each, except where the registration could be believed.
  assert.equal(newAccounts(pebble) - before, Object.keys(registrations).length - 1)
})

// a CA that comes and goes -----------------------------------------------------------------------

type Relay = AsyncDisposable & { readonly port: number; open(targetUrl: string): Promise<void>; close(): Promise<void> }

/** One address for CAs that come and go behind it. */
async function startRelay(): Promise<Relay> {
  const port = await freePort()
  const sockets = new Set<Socket>()
  let server: Server | undefined
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((done) => (server === undefined ? done() : server.close(() => done())))
    server = undefined
  }
  return {
    port,
    async open(targetUrl) {
      await close()
      server = createServer((near) => {
        const far = connect(Number(new URL(targetUrl).port), '127.0.0.1')
        for (const socket of [near, far]) {
          sockets.add(socket)
          socket.on('error', () => undefined)
          socket.on('close', () => {
            sockets.delete(socket)
            near.destroy()
            far.destroy()
          })
        }
        near.pipe(far).pipe(near)
      })
      await new Promise<void>((ready) => server?.listen(port, '127.0.0.1', ready))
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

// At once, because acmems takes its time: it tries more than once.
describe('an account that cannot be had', { concurrency: true }, () => {
  test('a CA that is down at the start: the server starts, says which CA, and goes on when it is there', async (t) => {
    if (!requirePeers(t)) return
    using folder = makeTempFolder('account')
    const pebble = await usePebble()
    await using relay = await startRelay()
    const directoryUrl = `https://127.0.0.1:${relay.port}/dir`
    await using acmems = await start({ ...pebble, directoryUrl }, folder.path)
    const reply = await requestCertificate(acmems)
    assert.equal(reply.status, 503)
    assert.ok(Number(reply.headers.get('retry-after')) > 0)
    assert.ok(reply.text.includes(`127.0.0.1:${relay.port}`), reply.text)
    assert.doesNotMatch(reply.text, /\bat .*\(|\.ts/, 'no stack')
    await relay.open(pebble.directoryUrl)
    // It is not asked at every request; after a second it is.
    await until('its being asked again', async () => (await requestCertificate(acmems)).status === 200, {
      everyMs: 200,
    })
    await assertIssues(acmems)
  })

  test('a CA that is not trusted: the answer says which CA, and that it is a matter of certificates', async (t) => {
    if (!requirePeers(t)) return
    using folder = makeTempFolder('account')
    const pebble = await usePebble()
    const ca = { ...pebble, caFile: undefined, httpPort: await freePort() }
    await using acmems = await start(ca, folder.path, accepted, { env: noTrust })
    const reply = await requestCertificate(acmems)
    assert.equal(reply.status, 503)
    assert.ok(reply.text.includes(new URL(pebble.directoryUrl).host), reply.text)
    assert.match(reply.text, /certificate|UNABLE_TO_VERIFY|SELF_SIGNED|trust/i)
    assert.ok(!existsSync(join(folder.path, 'account', 'registration.json')))
  })

  test('without accepted terms nothing is made, and the answer says what to do', async (t) => {
    if (!requirePeers(t)) return
    using folder = makeTempFolder('account')
    const pebble = await usePebble()
    await using acmems = await start({ ...pebble, httpPort: await freePort() }, folder.path, [])
    const reply = await requestCertificate(acmems)
    assert.equal(reply.status, 500)
    assert.match(reply.text, /acmems register|accept-terms-of-service/)
    assert.ok(!existsSync(join(folder.path, 'account', 'account.pem')))
  })

  test('a key that no CA takes is refused by name', async (t) => {
    if (!requirePeers(t)) return
    using folder = makeTempFolder('account')
    const pebble = await usePebble()
    mkdirSync(join(folder.path, 'account'))
    execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', join(folder.path, 'account', 'account.pem')])
    await using acmems = await start({ ...pebble, httpPort: await freePort() }, folder.path)
    const reply = await requestCertificate(acmems)
    assert.equal(reply.status, 500)
    await until('the reason in the log', () => /RSA of at least 2048 bits, P-256 or P-384/.test(acmems.log()))
  })
})

test('a CA that forgot our account while we run: the next request makes it again', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('account')
  const httpPort = await freePort()
  await using former = await startPebble({ httpPort })
  await using restarted = await startPebble({ httpPort })
  // Each has TLS of its own; one file trusts both.
  const caFile = join(folder.path, 'ca.pem')
  writeFileSync(caFile, readFileSync(former.caFile, 'utf8') + readFileSync(restarted.caFile, 'utf8'))
  await using relay = await startRelay()
  await relay.open(former.directoryUrl)
  const ca = { directoryUrl: `https://127.0.0.1:${relay.port}/dir`, caFile, httpPort }
  await using acmems = await start(ca, folder.path)
  await assertIssues(acmems)
  const { uri } = readRegistration(folder.path)
  await former.stop()
  await relay.open(restarted.directoryUrl)
  await Promise.all([assertIssues(acmems), assertIssues(acmems), assertIssues(acmems)])
  assert.notEqual(readRegistration(folder.path).uri, uri)
  assert.equal(restarted.issuedCount(), 3)
  assert.doesNotMatch(restarted.log(), /There are now [2-9] accounts/)
})

test('terms are the same however their address is spelled', async () => {
  const spell = acmeOptions['accept-terms-of-service'].parse
  for (const [byCa, byOperator] of [
    ['https://ca.example', 'https://ca.example'],
    ['https://ca.example/', 'https://ca.example'],
    ['https://CA.example/terms', 'https://ca.example/terms'],
  ] as const) {
    using folder = makeTempFolder('terms')
    const body = { status: 'valid' }
    const urls = {
      newNonceUrl: 'https://ca.example/n',
      newAccountUrl: 'https://ca.example/a',
      newOrderUrl: 'https://ca.example/o',
    }
    const transport: AcmeTransport = {
      directory: async () => ({
        ...urls,
        externalAccountRequired: false,
        profiles: new Map(),
        termsOfServiceUrl: byCa,
      }),
      post: async (url) => ({
        status: 201,
        bodyText: JSON.stringify(body),
        location: url,
        retryAfterMs: undefined,
        links: new Map(),
      }),
      get: () => Promise.reject(new Error('nothing here is unsigned')),
      timeMs: async () => undefined,
    }
    const settings = {
      ...{ directoryUrl: 'https://ca.example/d', folder: accountDirectory(folder.path), keyLocation: undefined },
      ...{ acceptedTerms: [spell(byOperator)], contact: [], binding: undefined },
    }
    const silent = () => undefined
    const context: PluginContext = {
      ...{ signal: new AbortController().signal, clock: systemClock, randomBytes: (length) => new Uint8Array(length) },
      log: { debug: silent, info: silent, warn: silent, error: silent },
      http: { request: () => Promise.reject(new Error('not here')) },
    }
    const key = accountKeyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
    assert.equal((await register(settings, transport, key, context)).status, 'valid', byCa)
  }
})

// external account binding -----------------------------------------------------------------------

const macKey = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W'

test('a CA that binds accounts: with its key id and key it works, else it is said what is wrong', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('account')
  await using pebble = await startPebble({ eab: { 'kid-1': macKey } })
  const otherKey = Buffer.from('x'.repeat(32)).toString('base64url')
  const issuers = Object.entries({
    without: [],
    wrongkey: ['eab-kid = kid-1', `eab-hmac-key = ${otherKey}`],
    wrongkid: ['eab-kid = kid-2', `eab-hmac-key = ${macKey}`],
    right: ['eab-kid = kid-1', `eab-hmac-key = ${macKey}`],
  }).map(([name, lines]) => issuerFor(pebble, folder.path, name, [...accepted, ...lines]))
  await using acmems = await startAcmems(`${configFor(pebble, folder.path, accepted)}${issuers.join('')}`, {
    folder: folder.path,
  })
  const ask = (name: string) => requestCertificate(acmems, `${name}.test`)
  const [without, wrongKey, wrongKid, right] = [
    await ask('without'),
    await ask('wrongkey'),
    await ask('wrongkid'),
    await ask('right'),
  ]
  assert.equal(right.status, 200, right.text)
  assert.equal(without.status, 500)
  assert.match(without.text, /eab-kid/)
  assert.match(wrongKey.text, /external account binding/)
  assert.match(wrongKid.text, /kid.*not known|kid-2/)
  assert.ok(!acmems.log().includes(macKey) && !acmems.log().includes(otherKey))
  // Our account is no matter of the host that asks for a certificate: a 403 would send it to look at its own block.
  for (const reply of [wrongKey, wrongKid]) assert.ok(reply.status >= 500, `${reply.status}: ${reply.text}`)
})

// trust ------------------------------------------------------------------------------------------

const noTrust = { ACME_CAFILE: '', LEGO_CA_CERTIFICATES: '' }

for (const variable of ['ACME_CAFILE', 'LEGO_CA_CERTIFICATES']) {
  test(`${variable} alone makes a CA's own TLS trusted`, async (t) => {
    if (!requirePeers(t)) return
    const pebble = await usePebble()
    using folder = makeTempFolder('account')
    const env = { ...noTrust, [variable]: pebble.caFile }
    await using acmems = await start({ ...pebble, caFile: undefined }, folder.path, accepted, { env })
    await assertIssues(acmems)
  })
}

// what the CA refuses ----------------------------------------------------------------------------

test('what the CA refuses is told in its own words', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('account')
  const pebble = await usePebble()
  await using acmems = await start(pebble, folder.path)

  await t.test('a name whose address nobody answers at', async () => {
    await pebble.setA('dead.example.test', ['127.0.0.9'])
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['dead.example.test', 'alive.example.test'] }))
    assert.equal(reply.status, 421, reply.text)
    assert.match(reply.text, /dead\.example\.test.*refused/)
    assert.doesNotMatch(reply.text, /alive\.example\.test/)
  })

  await t.test('a name that it will not have', async () => {
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['a.blocked.example.test'] }))
    assert.equal(reply.status, 403, reply.text)
    assert.match(reply.text, /forbidden|policy|blocked/i)
  })

  await t.test('a request with nothing but a common name', async () => {
    // Pebble wants every name among the alternative ones; others take the common name.
    const reply = await postCsr(acmems.signUrl, makeCsr({ commonName: 'cn.example.test' }))
    assert.ok(reply.status >= 400 && reply.status < 500, `${reply.status}: ${reply.text}`)
    assert.match(reply.text, /names|identifiers|CSR/)
    await until('the name in the log', () => acmems.log().includes('cn.example.test'))
  })

  await t.test('and the next request is served', () => assertIssues(acmems))
})

// acmems register --------------------------------------------------------------------------------

type Outcome = { readonly code: number | null; readonly out: string; readonly err: string }

function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { env: { ...process.env, ...noTrust, ...env } })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => {
      out += String(chunk)
    })
    child.stderr.on('data', (chunk) => {
      err += String(chunk)
    })
    child.on('error', fail)
    child.on('close', (code) => done({ code, out, err }))
  })
}

type Desk = {
  readonly configFile: string
  readonly keyFile: string
  readonly folder: string
  /** A command as it would be typed. */
  type(line: string): Promise<Outcome>
}

function createDesk(pebble: Pebble, folder: string, account: readonly string[] = []): Desk {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const [name, args] of [
    ['acmems', ''],
    ['acme-register', 'acme-register '],
  ] as const) {
    writeFileSync(join(bin, name), `#!/bin/sh\nexec '${process.execPath}' '${main}' ${args}"$@"\n`, { mode: 0o755 })
  }
  const configFile = join(folder, 'acmems.ini')
  writeFileSync(configFile, configFor(pebble, folder, account))
  return {
    ...{ configFile, folder, keyFile: join(folder, 'account', 'account.pem') },
    type: (line) => run('/bin/sh', ['-c', line], { PATH: `${bin}:${process.env.PATH}` }),
  }
}

/** The line to type next, as it was printed. */
function nextCommand({ out, err }: Outcome): string {
  const line = /(?:^|\s)((?:acmems register|acme-register) .*--accept-terms-of-service=.*)$/m.exec(out)?.[1]
  assert.ok(line !== undefined, out + err)
  return line
}

test('acmems register: key, terms, account, step by step', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('register')
  const pebble = await usePebble()
  const desk = createDesk(pebble, folder.path)

  const first = await desk.type(`acmems register --gen-key --register --email a@example.org ${desk.configFile}`)
  assert.match(first.out, /^Generate private key \.\.\. done\nInitialize ACME client \.\.\. done\n/)
  assert.equal(modeOf(desk.keyFile), '600')
  const terms = /terms of service at (\S+)/.exec(first.out)?.[1]
  assert.ok(terms !== undefined && URL.canParse(terms), first.out)
  assert.ok(!existsSync(join(folder.path, 'account', 'registration.json')), 'nothing was agreed to yet')

  const command = nextCommand(first)
  assert.ok(command.startsWith('acmems register ') && command.includes(terms), command)
  const second = await desk.type(command)
  assert.equal(second.code, 0, second.err)
  assert.match(second.out, /^Load private key \.\.\. done\nInitialize ACME client \.\.\. done\n/)
  const { uri } = readRegistration(folder.path)
  assert.ok(second.out.includes(String(uri)), second.out)

  const third = await desk.type(`acmems register ${desk.configFile}`)
  assert.equal(third.code, 0, third.err)
  assert.match(third.out, /is registered/)
  assert.ok(third.out.includes(String(uri)), third.out)

  const key = readFileSync(desk.keyFile)
  const again = await desk.type(`acmems register --gen-key --register ${desk.configFile}`)
  assert.notEqual(again.code, 0)
  assert.match(again.err, /account\.pem.*never overwritten/)
  assert.deepEqual(readFileSync(desk.keyFile), key)
})

test('acme-register: the same under its old name', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('register')
  const desk = createDesk(await usePebble(), folder.path)
  const command = nextCommand(await desk.type(`acme-register --gen-key --register ${desk.configFile}`))
  assert.ok(command.startsWith('acme-register '), command)
  const second = await desk.type(command)
  assert.deepEqual([second.code, /Register \.\.\. done/.test(second.out)], [0, true], second.out + second.err)
})

test('register: the command that it prints is for a shell, and does all that was asked for', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('register')
  const desk = createDesk(await usePebble(), folder.path)
  const configFile = join(folder.path, "the host's own.ini")
  renameSync(desk.configFile, configFile)
  const asked = '--email a@example.org --email b@example.org --lenient --set mgmt.max-size=8k'
  const first = await desk.type(`acmems register --gen-key --register ${asked} "${configFile}"`)
  const second = await desk.type(nextCommand(first))
  assert.equal(second.code, 0, second.err)
  const { body } = readRegistration(folder.path)
  assert.ok(isJsonObject(body))
  assert.deepEqual(body.contact, ['mailto:a@example.org', 'mailto:b@example.org'])
})

test('register: other terms are no agreement; terms in the file are one', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('register')
  const pebble = await usePebble()
  const desk = createDesk(pebble, folder.path)
  const other = await desk.type(
    `acmems register --gen-key --accept-terms-of-service=https://ca.example/other ${desk.configFile}`,
  )
  assert.match(other.out, /You need to accept/)
  assert.ok(!existsSync(join(folder.path, 'account', 'registration.json')))
  writeFileSync(desk.configFile, configFor(pebble, folder.path, accepted))
  const agreed = await desk.type(`acmems register ${desk.configFile}`)
  assert.deepEqual([agreed.code, /Register \.\.\. done/.test(agreed.out)], [0, true], agreed.out + agreed.err)
  // From here on nobody needs to say it again.
  await using acmems = await start(pebble, folder.path, [])
  await assertIssues(acmems)
})

test('register: what is missing is said, and nothing is made', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('register')
  const pebble = await usePebble()
  const desk = createDesk(pebble, folder.path)
  const noKey = await desk.type(`acmems register ${desk.configFile}`)
  assert.notEqual(noKey.code, 0)
  assert.match(noKey.err, /account\.pem not found.*--gen-key/)
  const noIssuer = await desk.type(`acmems register --gen-key --issuer other ${desk.configFile}`)
  assert.notEqual(noIssuer.code, 0)
  assert.match(noIssuer.err, /other/)
  assert.ok(!existsSync(join(folder.path, 'account')))
  const nowhere = `127.0.0.1:${await freePort()}`
  writeFileSync(desk.configFile, configFor({ ...pebble, directoryUrl: `https://${nowhere}/dir` }, folder.path, []))
  const down = await desk.type(`acmems register --gen-key ${desk.configFile}`)
  assert.notEqual(down.code, 0)
  assert.ok(down.err.includes(nowhere), down.err)
  assert.doesNotMatch(down.err, /\n\s+at /, 'no stack')
})
