// What becomes of an account after it was made, and of certificates after they were issued: at a real CA.
import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isJsonObject, type JsonObject } from '../src/acme/json-object.ts'
import { ProblemError } from '../src/acme/problem.ts'
import { fetchAccount, findAccount, listOrders } from '../src/acme-client/accounts.ts'
import { fetchAuthorization } from '../src/acme-client/authorizations.ts'
import { downloadChain } from '../src/acme-client/certificates.ts'
import { answerChallenge } from '../src/acme-client/challenges.ts'
import { changeKey } from '../src/acme-client/key-change.ts'
import { createOrder, fetchOrder, finalizeOrder } from '../src/acme-client/orders.ts'
import { parseRevocationReason, revocationReasons, revokeCertificate } from '../src/acme-client/revocations.ts'
import { type AcmeTransport, createTransport, type Signer } from '../src/acme-client/transport.ts'
import { systemClock } from '../src/clock.ts'
import { createHttpClient } from '../src/http/http-client.ts'
import type { HttpClient, HttpReply, PluginContext } from '../src/plugin-api.ts'
import { accountDirectory, createNextKeyFile } from '../src/plugins/issuers/account-directory.ts'
import {
  type AccountSettings,
  changeContact,
  closeAccount,
  createAccountHolder,
  type OpenAccountKey,
  openAccount,
  rollOverKey,
  type UsableAccount,
} from '../src/plugins/issuers/acme-account.ts'
import { accountKeyOf } from '../src/plugins/keys/file.ts'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { buildCsr, keyOf } from './csr-builder.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

type Ca = { readonly pebble: Pebble; readonly http: HttpClient & AsyncDisposable }

let shared: Promise<Ca> | undefined

/** One CA for all; every test has an account of its own there. Its orders need no answers to its challenges. */
async function useCa(t: TestContext): Promise<Ca | undefined> {
  if (requirePeer(t, 'pebble') === undefined || requirePeer(t, 'pebble-challtestsrv') === undefined) return undefined
  shared ??= startPebble({ alwaysValid: true, authzReuse: 0 }).then((pebble) => ({
    pebble,
    http: createHttpClient([readFileSync(pebble.caFile, 'utf8')]),
  }))
  return shared
}

after(async () => {
  const ca = await shared
  await ca?.http[Symbol.asyncDispose]()
  await ca?.pebble.stop()
})

/** What an operator has: a folder, a configuration, and the way to the CA. */
type Desk = {
  readonly settings: AccountSettings
  readonly transport: AcmeTransport
  readonly context: PluginContext
  readonly openKey: OpenAccountKey
  readonly folder: string
  read(file: string): string | undefined
  /** registration.json */
  registration(): JsonObject
  open(): Promise<UsableAccount>
  /** As the server does, after a start. */
  load(): Promise<UsableAccount>
  rollOver(): Promise<UsableAccount>
}

type Wish = { readonly directoryUrl?: string; readonly http?: HttpClient; readonly keyLocation?: string }

function createDesk({ pebble, http }: Ca, folder: string, wish: Wish = {}): Desk {
  const directoryUrl = wish.directoryUrl ?? pebble.directoryUrl
  const settings: AccountSettings = {
    directoryUrl,
    folder: accountDirectory(folder),
    keyLocation: wish.keyLocation,
    acceptedTerms: ['yes'],
    contact: ['mailto:first@example.org'],
    binding: undefined,
  }
  const silent = () => undefined
  const context: PluginContext = {
    signal: new AbortController().signal,
    clock: systemClock,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    http: wish.http ?? http,
    randomBytes: (length) => new Uint8Array(length),
  }
  const transport = createTransport(directoryUrl, 'acmems-tests', () => systemClock.nowMs())
  const openKey: OpenAccountKey = async (location) =>
    accountKeyOf(createPrivateKey(readFileSync(location.replace(/^file:/, ''))))
  const read = (file: string) => (existsSync(join(folder, file)) ? readFileSync(join(folder, file), 'utf8') : undefined)
  return {
    ...{ settings, transport, context, openKey, folder, read },
    registration() {
      const value: unknown = JSON.parse(read('registration.json') ?? '')
      assert.ok(isJsonObject(value))
      return value
    },
    open: () => openAccount(settings, transport, openKey, context),
    load: () => createAccountHolder(settings, transport, openKey).account(context),
    rollOver: () => rollOverKey(settings, transport, openKey, context),
  }
}

/** An account in a folder of its own. */
async function makeAccount(ca: Ca, folder: string): Promise<Desk & { readonly accountUrl: string }> {
  const desk = createDesk(ca, folder)
  const { accountUrl } = await desk.load()
  return { ...desk, accountUrl }
}

let names = 0
const nextName = () => `care${++names}.example.test`

function orderAs(desk: Desk, signer: Signer): Promise<unknown> {
  const request = { identifiers: [{ type: 'dns' as const, value: nextName() }] }
  return createOrder(desk.transport, signer, request, desk.context)
}

/** From order to certificate; the CA believes every answer. */
async function issue({ transport, context }: Desk, signer: Signer, key: KeyObject): Promise<X509Certificate> {
  const name = nextName()
  let { order } = await createOrder(transport, signer, { identifiers: [{ type: 'dns', value: name }] }, context)
  for (const url of order.authorizationUrls) {
    const [challenge] = (await fetchAuthorization(transport, signer, url, context)).challenges
    assert.ok(challenge !== undefined)
    await answerChallenge(transport, signer, challenge, context)
  }
  for (let looks = 0; order.status !== 'valid' && looks < 200; looks++) {
    if (order.status === 'ready') {
      await finalizeOrder(transport, signer, order, buildCsr({ names: [name], key: keyOf(key) }), context)
    } else await sleep(20)
    order = (await fetchOrder(transport, signer, order.url, context)).order
  }
  assert.ok(order.status === 'valid', order.status)
  return new X509Certificate((await downloadChain(transport, signer, order.certificateUrl, context)).chainPem)
}

const generateEcKey = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve }).privateKey

const problem = (message: RegExp, code?: string) => (error: unknown) => {
  assert.ok(error instanceof ProblemError, String(error))
  assert.match(error.message, message)
  if (code !== undefined) assert.equal(error.code, code)
  return true
}

/** The way to the CA, with something on it that meddles. */
function meddle(
  http: HttpClient,
  path: string,
  act: (forward: () => Promise<HttpReply>) => Promise<HttpReply>,
): HttpClient {
  return {
    request(url, request) {
      const forward = () => http.request(url, request)
      return new URL(url).pathname === path ? act(forward) : forward()
    },
  }
}

/** The CA's directory without one of its entries. */
const withoutEntry = (http: HttpClient, entry: string) =>
  meddle(http, '/dir', async (forward) => {
    const reply = await forward()
    const text = JSON.stringify({ ...JSON.parse(new TextDecoder().decode(reply.body)), [entry]: undefined })
    return { ...reply, body: Buffer.from(text) }
  })

// show, contact, orders --------------------------------------------------------------------------

test('the account as the CA sees it, and another contact', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const account = await desk.open()
  assert.equal(account.accountUrl, desk.accountUrl)
  const shown = await fetchAccount(desk.transport, account, desk.context)
  assert.deepEqual([shown.url, shown.status, shown.contact], [desk.accountUrl, 'valid', ['mailto:first@example.org']])

  const contact = ['mailto:second@example.org', 'mailto:third@example.org']
  const changed = await changeContact(desk.settings, desk.transport, account, contact, desk.context)
  assert.deepEqual(changed.contact, contact)
  assert.deepEqual((await fetchAccount(desk.transport, account, desk.context)).contact, contact)
  assert.deepEqual(desk.registration(), {
    uri: desk.accountUrl,
    body: { status: 'valid', contact },
    directory: ca.pebble.directoryUrl,
    thumbprint: account.thumbprint,
  })

  const wrong = changeContact(desk.settings, desk.transport, account, ['tel:+49123'], desk.context)
  await assert.rejects(wrong, problem(/tel/, 'unsupportedContact'))
  assert.deepEqual((await fetchAccount(desk.transport, account, desk.context)).contact, contact)

  const none = await changeContact(desk.settings, desk.transport, account, [], desk.context)
  assert.deepEqual(none.contact, [])
})

test("the account's orders, over several pages and no more than asked for", async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const account = await desk.open()
  const { ordersUrl } = await fetchAccount(desk.transport, account, desk.context)
  assert.ok(ordersUrl !== undefined)
  const list = (maxPages: number) => listOrders(desk.transport, account, ordersUrl, desk.context, maxPages)
  assert.deepEqual(await list(5), [])
  // Pebble has three on a page.
  const made = []
  for (let i = 0; i < 7; i++) {
    const request = { identifiers: [{ type: 'dns' as const, value: nextName() }] }
    made.push((await createOrder(desk.transport, account, request, desk.context)).order.url)
  }
  assert.deepEqual((await list(5)).sort(), made.sort())
  assert.equal((await list(1)).length, 3)
  assert.equal((await list(2)).length, 6)
})

test('a folder without key or account: nothing is made, and the next command is named', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = createDesk(ca, join(folder.path, 'account'))
  await assert.rejects(desk.open(), problem(/no account key at .*acmems register/, 'userActionRequired'))
  assert.ok(!existsSync(desk.folder))
  const keyFile = join(folder.path, 'other.pem')
  writeFileSync(keyFile, generateEcKey().export({ type: 'pkcs8', format: 'pem' }))
  const other = createDesk(ca, desk.folder, { keyLocation: `file:${keyFile}` })
  await assert.rejects(other.open(), problem(/no account at .*acmems register/, 'userActionRequired'))
})

// key rollover -----------------------------------------------------------------------------------

test('a new key: it orders, the old one is refused, and both are in their files', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const holder = createAccountHolder(desk.settings, desk.transport, desk.openKey)
  const old = await holder.account(desk.context)
  const oldPem = desk.read('account.pem')
  const rolled = await desk.rollOver()
  assert.equal(rolled.accountUrl, desk.accountUrl)
  assert.notEqual(rolled.thumbprint, old.thumbprint)

  await issue(desk, rolled, generateEcKey())
  await assert.rejects(orderAs(desk, old), ProblemError)
  assert.equal(await findAccount(desk.transport, old.key, desk.context), undefined)

  assert.deepEqual(readdirSync(desk.folder).sort(), ['account.pem', 'account.previous.pem', 'registration.json'])
  assert.equal(desk.read('account.previous.pem'), oldPem)
  for (const file of ['account.pem', 'account.previous.pem'])
    assert.equal(statSync(join(desk.folder, file)).mode & 0o777, 0o600)
  // One that has the account in hand notices, and one that starts finds the same.
  for (const account of [await holder.account(desk.context), await desk.load()]) {
    assert.deepEqual([account.thumbprint, account.accountUrl], [rolled.thumbprint, desk.accountUrl])
    await orderAs(desk, account)
  }
  const newPem = desk.read('account.pem')
  const again = await desk.rollOver()
  assert.equal(desk.read('account.previous.pem'), newPem)
  await orderAs(desk, again)
})

test('a server that runs goes on with the key that somebody else rolled over', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const dir = join(folder.path, 'account')
  const config = accountAndHttp01(ca.pebble).replace('[account]\n', `[account]\ndir = ${dir}\n`)
  await using acmems = await startAcmems(
    `${config}[storage "none"]\ntype = none\n[auth "lab"]\nip = 127.0.0.0/8\ndomain = **.example.test\n`,
    { folder: folder.path },
  )
  const ask = async () => {
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: [nextName()] }))
    assert.equal(reply.status, 200, reply.text)
  }
  await ask()
  await createDesk(ca, dir).rollOver()
  await ask()
})

/** Files as a crash leaves them, by what the CA knows. */
const crashes: readonly {
  readonly when: string
  readonly caTookIt: boolean
  leave(folder: string, pem: { readonly old: string; readonly next: string }): void
}[] = [
  { when: 'before the request', caTookIt: false, leave: () => undefined },
  { when: 'after the request', caTookIt: true, leave: () => undefined },
  {
    when: 'when the old key was put aside',
    caTookIt: true,
    leave: (folder, { old }) => writeFileSync(join(folder, 'account.previous.pem'), old, { mode: 0o600 }),
  },
  {
    when: 'when the old key was moved aside',
    caTookIt: true,
    leave: (folder) => renameSync(join(folder, 'account.pem'), join(folder, 'account.previous.pem')),
  },
  {
    when: 'when the new key had become account.pem',
    caTookIt: true,
    leave(folder, { old, next }) {
      writeFileSync(join(folder, 'account.previous.pem'), old, { mode: 0o600 })
      writeFileSync(join(folder, 'account.pem'), next)
    },
  },
]

/** An account whose rollover got as far as `crash`. */
async function interrupt(ca: Ca, folder: string, { caTookIt, leave }: (typeof crashes)[number]) {
  const desk = await makeAccount(ca, folder)
  const account = await desk.open()
  const old = desk.read('account.pem') ?? ''
  const next = await createNextKeyFile(desk.settings.folder)
  const newKey = accountKeyOf(createPrivateKey(next))
  const change = { accountUrl: desk.accountUrl, oldKey: account.key, newKey }
  if (caTookIt) await changeKey(desk.transport, change, desk.context)
  leave(folder, { old, next })
  return { ...desk, old, next }
}

for (const crash of crashes) {
  test(`a rollover that ended ${crash.when} is settled at the next use`, async (t) => {
    const ca = await useCa(t)
    if (ca === undefined) return
    using folder = makeTempFolder('care')
    for (const use of ['load', 'open'] as const) {
      const path = join(folder.path, use)
      mkdirSync(path)
      const desk = await interrupt(ca, path, crash)
      const account = await desk[use]()
      assert.equal(account.accountUrl, desk.accountUrl)
      await orderAs(desk, account)
      assert.equal(desk.read('account.next.pem'), undefined)
      assert.equal(desk.read('account.pem'), crash.caTookIt ? desk.next : desk.old)
      if (crash.caTookIt) assert.equal(desk.read('account.previous.pem'), desk.old)
      else assert.equal(desk.read('account.unused.pem'), desk.next)
      // Settled once, and for all.
      await orderAs(desk, await desk.load())
    }
  })

  test(`a rollover after one that ended ${crash.when} brings a new key in any case`, async (t) => {
    const ca = await useCa(t)
    if (ca === undefined) return
    using folder = makeTempFolder('care')
    const desk = await interrupt(ca, folder.path, crash)
    await orderAs(desk, await desk.rollOver())
    assert.notEqual(desk.read('account.pem'), desk.old)
    assert.equal(desk.read('account.previous.pem'), desk.old)
    assert.equal(desk.read('account.next.pem'), undefined)
  })

  test(`a rollover that ended ${crash.when}, and a CA that is away: no key is lost`, async (t) => {
    const ca = await useCa(t)
    if (ca === undefined) return
    using folder = makeTempFolder('care')
    const desk = await interrupt(ca, folder.path, crash)
    const files = () => readdirSync(desk.folder).map((file) => [file, desk.read(file)])
    const before = files()
    const nowhere = `https://127.0.0.1:${await freePort()}/dir`
    const away = createDesk(ca, folder.path, { directoryUrl: nowhere })
    const wasOver = desk.read('account.pem') === desk.next
    for (const use of wasOver ? [away.rollOver] : [away.load, away.open, away.rollOver])
      await assert.rejects(use(), problem(/did not answer/, 'serverInternal'))
    assert.deepEqual(files(), before)
    if (wasOver) {
      // It needs nobody to say so.
      const http = { request: () => Promise.reject(new Error('no network')) }
      assert.equal((await createDesk(ca, folder.path, { http }).load()).accountUrl, desk.accountUrl)
      assert.equal(desk.read('account.next.pem'), undefined)
    }
    await orderAs(desk, await desk.load())
  })
}

test('an answer that is lost on the way: both keys stay, and the next use goes on with the right one', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  const lost = async () => Promise.reject(new Error('connection reset'))
  for (const [name, act] of [
    ['request', lost],
    ['answer', (forward: () => Promise<HttpReply>) => forward().then(lost)],
  ] as const) {
    using folder = makeTempFolder('care')
    const desk = await makeAccount(ca, folder.path)
    const old = desk.read('account.pem')
    const { keyChangeUrl = '' } = await desk.transport.directory(desk.context)
    const cut = createDesk(ca, folder.path, { http: meddle(ca.http, new URL(keyChangeUrl).pathname, act) })
    // A busy CA refuses a nonce now and then, and it is the second try that is cut.
    await assert.rejects(cut.rollOver(), problem(/connection reset.*both are kept/, 'serverInternal'))
    assert.deepEqual([desk.read('account.pem') === old, desk.read('account.next.pem') !== undefined], [true, true])
    const next = desk.read('account.next.pem')
    await orderAs(desk, await desk.load())
    const healed = desk.read('account.pem')
    if (name === 'request') assert.equal(healed, old)
    // The answer that was lost may have been a refusal of the nonce.
    else assert.ok(healed === next || healed === old)
  }
})

test('a CA that refuses: the account has its old key, and nothing stands in the way of the next try', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const [pem, registration] = [desk.read('account.pem'), desk.read('registration.json') ?? '']
  writeFileSync(join(folder.path, 'registration.json'), registration.replace(desk.accountUrl, `${desk.accountUrl}0`))
  await assert.rejects(desk.rollOver(), ProblemError)
  assert.deepEqual([desk.read('account.pem'), desk.read('account.next.pem')], [pem, undefined])
  writeFileSync(join(folder.path, 'registration.json'), registration)
  await orderAs(desk, await desk.rollOver())
})

test('a key that has an account already is refused, and the account is named', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  mkdirSync(join(folder.path, 'other'))
  const desk = await makeAccount(ca, folder.path)
  const other = await (await makeAccount(ca, join(folder.path, 'other'))).open()
  const account = await desk.open()
  const { keyChangeUrl = '' } = await desk.transport.directory(desk.context)
  // As RFC 8555 has it. Pebble 2.10 says 200 instead, and leaves the account as it is.
  const conflict = meddle(ca.http, new URL(keyChangeUrl).pathname, async (forward) => {
    const reply = await forward()
    const headers = new Map([...reply.headers, ['location', [other.accountUrl]] as const])
    return { ...reply, headers, ...(reply.status < 400 ? { status: 409 } : {}) }
  })
  for (const http of [ca.http, conflict]) {
    const { transport, context } = createDesk(ca, folder.path, { http })
    const change = { accountUrl: desk.accountUrl, oldKey: account.key, newKey: other.key }
    await assert.rejects(changeKey(transport, change, context), (error) => {
      assert.ok(String(error).includes(`${other.accountUrl}:`), String(error))
      return problem(/has another account with this key/, 'malformed')(error)
    })
    await orderAs(desk, account)
    await orderAs(desk, other)
  }
})

test('keys of other kinds, and a change that was made already', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const { transport, context, accountUrl, ...desk } = await makeAccount(ca, folder.path)
  let oldKey = (await desk.open()).key
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  for (const newKey of [rsa, generateEcKey('P-384'), generateEcKey()].map(accountKeyOf)) {
    await changeKey(transport, { accountUrl, oldKey, newKey }, context)
    await changeKey(transport, { accountUrl, oldKey, newKey }, context)
    const { url } = (await findAccount(transport, newKey, context)) ?? {}
    assert.equal(url, accountUrl)
    oldKey = newKey
  }
})

test('a key elsewhere, and a CA without key rollover: said, and nothing is written', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const before = readdirSync(desk.folder)
  const elsewhere = createDesk(ca, folder.path, { keyLocation: `file:${join(folder.path, 'account.pem')}` })
  await assert.rejects(elsewhere.rollOver(), problem(/account key is at file:.*outside/, 'userActionRequired'))
  const without = createDesk(ca, folder.path, { http: withoutEntry(ca.http, 'keyChange') })
  await assert.rejects(without.rollOver(), problem(/no keyChange/, 'userActionRequired'))
  assert.deepEqual(readdirSync(desk.folder), before)
})

test('an interrupted rollover at another CA: its key stays, and is not made the account of this one', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = createDesk(ca, folder.path)
  const pem = generateEcKey().export({ type: 'pkcs8', format: 'pem' })
  writeFileSync(join(folder.path, 'account.pem'), pem, { mode: 0o600 })
  const next = await createNextKeyFile(desk.settings.folder)
  await assert.rejects(desk.rollOver(), problem(/knows neither .*account\.next\.pem/, 'userActionRequired'))
  await orderAs(desk, await desk.load())
  assert.deepEqual([desk.read('account.pem'), desk.read('account.next.pem')], [pem, next])
})

test("an account's key that is missing is not replaced by one of an interrupted rollover, nor by a fresh one", async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const next = await createNextKeyFile(desk.settings.folder)
  renameSync(join(folder.path, 'account.pem'), join(folder.path, 'mislaid.pem'))
  for (const use of [desk.load, desk.open, desk.rollOver])
    await assert.rejects(use(), problem(/account\.pem is missing.*put the account's key back/, 'userActionRequired'))
  assert.deepEqual([desk.read('account.pem'), desk.read('account.next.pem')], [undefined, next])
  renameSync(join(folder.path, 'mislaid.pem'), join(folder.path, 'account.pem'))
  await orderAs(desk, await desk.load())
})

// the end of an account --------------------------------------------------------------------------

test('a deactivated account: every use says so and what to do, and a new one can be made', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const path = join(folder.path, 'account')
  const desk = await makeAccount(ca, path)
  const account = await desk.open()
  assert.equal((await closeAccount(desk.settings, desk.transport, account, desk.context)).status, 'deactivated')
  const { uri, body } = desk.registration()
  assert.ok(isJsonObject(body))
  assert.deepEqual([uri, body.status], [desk.accountUrl, 'deactivated'])

  for (const use of [desk.open, desk.load, desk.rollOver])
    await assert.rejects(use(), (error) => {
      assert.ok(String(error).includes(desk.accountUrl))
      return problem(/is deactivated.*new key.*acmems register --gen-key/, 'userActionRequired')(error)
    })
  await assert.rejects(orderAs(desk, account), problem(/deactivated/, 'unauthorized'))

  // The same without the registration, by the CA's own words.
  const registration = desk.read('registration.json') ?? ''
  writeFileSync(join(path, 'registration.json'), '')
  for (const use of [desk.open, desk.load]) await assert.rejects(use(), problem(/deactivated/, 'userActionRequired'))
  writeFileSync(join(path, 'registration.json'), registration)

  renameSync(path, join(folder.path, 'former'))
  const renewed = await desk.load()
  assert.notEqual(renewed.accountUrl, desk.accountUrl)
  await orderAs(desk, renewed)
})

// revocation -------------------------------------------------------------------------------------

/** `Valid` or `Revoked`, and why, as the CA's operator sees it. */
async function statusAt(pebble: Pebble, { serialNumber }: X509Certificate): Promise<JsonObject> {
  // Pebble knows serials without leading zeros.
  const status: unknown = JSON.parse(
    await pebble.manage(`/cert-status-by-serial/${serialNumber.toLowerCase().replace(/^0+/, '')}`),
  )
  assert.ok(isJsonObject(status))
  return status
}

test('revoked by the account, with a reason, and again', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const account = await desk.open()
  const certificate = await issue(desk, account, generateEcKey())
  const revoke = (reason: number | undefined) =>
    revokeCertificate(desk.transport, account, certificate.raw, reason, desk.context)
  assert.equal((await statusAt(ca.pebble, certificate)).Status, 'Valid')
  await assert.rejects(revoke(7), problem(/reason/i, 'badRevocationReason'))
  assert.equal((await statusAt(ca.pebble, certificate)).Status, 'Valid')
  assert.equal(await revoke(revocationReasons.superseded), 'revoked')
  const { Status, Reason } = await statusAt(ca.pebble, certificate)
  assert.deepEqual([Status, Reason], ['Revoked', 4])
  assert.equal(await revoke(undefined), 'already revoked')
})

test('revoked by its own key, without an account; by another key it is refused', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  mkdirSync(join(folder.path, 'other'))
  const desk = await makeAccount(ca, folder.path)
  const account = await desk.open()
  const stranger = await (await makeAccount(ca, join(folder.path, 'other'))).open()
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  for (const key of [generateEcKey(), rsa]) {
    const certificate = await issue(desk, account, key)
    const revokeAs = (signer: Signer, reason?: number) =>
      revokeCertificate(desk.transport, signer, certificate.raw, reason, desk.context)
    for (const signer of [stranger, { key: accountKeyOf(generateEcKey()) }])
      await assert.rejects(revokeAs(signer), problem(/./, 'unauthorized'))
    assert.equal((await statusAt(ca.pebble, certificate)).Status, 'Valid')
    assert.equal(await revokeAs({ key: accountKeyOf(key) }, revocationReasons.keyCompromise), 'revoked')
    const { Status, Reason } = await statusAt(ca.pebble, certificate)
    assert.deepEqual([Status, Reason], ['Revoked', 1])
    assert.equal(await revokeAs(account), 'already revoked')
  }
})

test('what was never issued, and a CA that revokes nothing', async (t) => {
  const ca = await useCa(t)
  if (ca === undefined) return
  using folder = makeTempFolder('care')
  const desk = await makeAccount(ca, folder.path)
  const account = await desk.open()
  const unknown = new X509Certificate(await ca.pebble.root()).raw
  await assert.rejects(revokeCertificate(desk.transport, account, unknown, undefined, desk.context), ProblemError)
  const { transport, context } = createDesk(ca, folder.path, { http: withoutEntry(ca.http, 'revokeCert') })
  const revocation = revokeCertificate(transport, account, unknown, undefined, context)
  await assert.rejects(revocation, problem(/no revokeCert/, 'userActionRequired'))
})

test('reasons as people write them', () => {
  const spelled = {
    keyCompromise: 1,
    KEYCOMPROMISE: 1,
    'key-compromise': 1,
    key_compromise: 1,
    unspecified: 0,
    '0': 0,
    '1': 1,
    ' superseded ': 4,
    'Cessation of operation': 5,
    affiliationchanged: 3,
    '3': 3,
    cACompromise: 2,
    '10': 10,
  }
  for (const [text, code] of Object.entries(spelled)) assert.equal(parseRevocationReason(text), code, text)
  for (const text of ['', '7', '11', '-1', '01', '1.0', '1e0', 'compromise', 'keycompromise1', 'toString', '٣'])
    assert.throws(() => parseRevocationReason(text), /no reason.*unspecified, keyCompromise, .*cessationOfOperation/)
})
