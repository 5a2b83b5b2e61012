// `metadata = no`: after the answer, or the end of what was in flight, nothing is left of a request in any file.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { parseCsrPem } from '../src/x509/csr.ts'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

/** Behind a proxy that says so, because 127.0.0.1 is everywhere. */
const clientAddress = '198.51.100.77'
const asClient = { 'x-forwarded-for': clientAddress }
const config = (pebble: Pebble, more = '') => `[mgmt]
trusted-proxy = 127.0.0.1
${accountAndHttp01(pebble).replace('[account]\n', '[account]\nlimit-domain = 50/7d\nlimit-same-names = 50/7d\nlimit-failures = 50/1h\n')}
[storage "none"]
type = none
[storage "kept"]
type = state
[logging]
level = debug
format = json
[auth "gateway"]
ip = ${clientAddress}
domain = **.secret.example
storage = none
metadata = no
[auth "normal"]
ip = 203.0.113.5
domain = **.secret.example
storage = kept
${more}`

/** Every way in which what must not be found could be written. */
function tracesOf(csrPem: string, serial?: string): Map<string, string> {
  const csr = parseCsrPem(csrPem)
  const names = csr.identifiers.map(({ value }) => value)
  const spki = csr.publicKey.export({ type: 'spki', format: 'der' })
  const key = createHash('sha256').update(spki)
  const keyHash = key.copy().digest()
  const request = createHash('sha256').update(csr.der).digest()
  const base64 = Buffer.from(csrPem).toString('base64')
  return new Map([
    ['client address', clientAddress],
    ...names.map((name): [string, string] => [`name ${name}`, name]),
    ...names.map((name): [string, string] => [`label of ${name}`, name.split('.')[0] ?? '']),
    ['key hash, hexadecimal', keyHash.toString('hex')],
    ['key hash, base64', keyHash.toString('base64').slice(0, -1)],
    ['request hash', request.toString('hex')],
    ['request', csrPem.split('\n')[2] ?? ''],
    ['request, base64', base64.slice(80, 140)],
    ...(serial === undefined
      ? []
      : ([
          ['serial', serial],
          ['serial, lower case', serial.toLowerCase()],
        ] as [string, string][])),
  ])
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

/** `FILE: WHAT` for everything that is found in the state, the account and the log. */
function findTraces(folder: string, traces: ReadonlyMap<string, string>): string[] {
  return filesBelow(folder)
    .filter((file) => !file.endsWith('acmems.ini'))
    .flatMap((file) => {
      const bytes = readFileSync(file).toString('latin1').toLowerCase()
      return [...traces]
        .filter(([, trace]) => bytes.includes(trace.toLowerCase()))
        .map(([what]) => `${file.slice(folder.length + 1)}: ${what}`)
    })
}

async function until(what: string, isTrue: () => boolean | Promise<boolean>, seconds = 30): Promise<void> {
  for (let round = 0; round < seconds * 10; round++) {
    if (await isTrue()) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.fail(`${what}: not within ${seconds} s`)
}

async function assertClean(folder: string, traces: ReadonlyMap<string, string>): Promise<void> {
  let found: string[] = []
  const isClean = () => {
    found = findTraces(folder, traces)
    return found.length === 0
  }
  await until('nothing is left', isClean, 10).catch(() => assert.deepEqual(found, []))
}

function databaseOf({ folder }: Pick<Acmems, 'folder'>): string {
  return join(folder, 'state', 'state.db')
}

/** Looked at in a server's database while it runs. */
function query(acmems: Pick<Acmems, 'folder'>, sql: string): Record<string, unknown>[] {
  const database = new DatabaseSync(databaseOf(acmems))
  try {
    return database.prepare(sql).all()
  } finally {
    database.close()
  }
}

const _change = query

test('a certificate is forwarded, and nothing about it is left; a failure leaves as little', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble()
  await using acmems = await startAcmems(config(pebble))
  const csr = makeCsr({
    names: ['kitchen.secret.example', 'cellar.secret.example'],
    commonName: 'kitchen.secret.example',
  })
  const reply = await postCsr(acmems.signUrl, csr, asClient)
  assert.equal(reply.status, 200, reply.text)
  const [leaf] = certificatesOf(reply.text)
  assert.ok(leaf !== undefined)
  const traces = tracesOf(csr, leaf.serialNumber)
  const events = () => query(acmems, 'SELECT * FROM audit_events')
  await until('it is in the audit log', () => events().length === 1)
  await assertClean(acmems.folder, traces)
  assert.deepEqual(query(acmems, 'SELECT * FROM orders'), [])
  assert.deepEqual(query(acmems, 'SELECT * FROM order_stories'), [])
  assert.deepEqual(query(acmems, 'SELECT * FROM register'), [])
  const [event] = events()
  assert.equal(event?.kind, 'certificate.forwarded')
  assert.equal(event?.block, 'gateway')
  const aliases = JSON.parse(String(event?.names_json)) as string[]
  assert.deepEqual(
    aliases.map((alias) => alias.slice(0, 5)),
    ['hmac:', 'hmac:'],
  )
  const line = acmems.logLines().find(({ msg, status }) => msg === 'request' && status === 200)
  assert.deepEqual(line?.names, aliases)
  assert.equal(line?.client, undefined)

  await t.test('limits count it under aliases', () => {
    const rows = query(acmems, "SELECT limit_name, subject FROM rate_buckets WHERE limit_name = 'domain'")
    assert.equal(rows.length, 1)
    assert.match(String(rows[0]?.subject), /^hmac:/)
  })

  await t.test('names that cannot be validated, and what the CA said of them', async () => {
    await pebble.setA('attic.secret.example', ['127.0.0.9'])
    const failing = makeCsr({ names: ['attic.secret.example'] })
    const failed = await postCsr(acmems.signUrl, failing, asClient)
    assert.equal(failed.status, 421, failed.text)
    assert.match(failed.text, /attic\.secret\.example/)
    await assertClean(acmems.folder, new Map([...tracesOf(failing), ['where it was looked for', '127.0.0.9']]))
    assert.deepEqual(query(acmems, 'SELECT * FROM order_stories'), [])
  })

  await t.test('names that the block does not cover', async () => {
    const refused = makeCsr({ names: ['garden.elsewhere.example'] })
    assert.equal((await postCsr(acmems.signUrl, refused, asClient)).status, 403)
    const rejected = () => query(acmems, "SELECT * FROM audit_events WHERE kind = 'request.rejected'")
    await until('it is in the audit log', () => rejected().length === 1)
    await assertClean(acmems.folder, tracesOf(refused))
  })

  await t.test('the same at a time when another block, which records, has the same names', async () => {
    await pebble.setA('attic.secret.example', ['127.0.0.1'])
    const gatewayCsr = makeCsr({ names: ['shared.secret.example'] })
    const normalCsr = makeCsr({ names: ['shared.secret.example'] })
    const replies = await Promise.all([
      postCsr(acmems.signUrl, gatewayCsr, asClient),
      postCsr(acmems.signUrl, normalCsr, { 'x-forwarded-for': '203.0.113.5' }),
      // The very same request, too.
      postCsr(acmems.signUrl, gatewayCsr, { 'x-forwarded-for': '203.0.113.5' }),
    ])
    assert.deepEqual(
      replies.map(({ status }) => status),
      [200, 200, 200],
    )
    const serials = replies.map(({ text }) => certificatesOf(text)[0]?.serialNumber ?? '')
    assert.equal(new Set(serials).size, 3)
    await assertClean(
      acmems.folder,
      new Map([
        ['client address', clientAddress],
        ['serial', serials[0] ?? ''],
      ]),
    )
    const stories = query(acmems, 'SELECT serial, names_json FROM order_stories')
    assert.deepEqual(stories.map(({ serial }) => serial).sort(), serials.slice(1).sort())
    assert.equal(query(acmems, 'SELECT id FROM register').length, 2)
    assert.equal(query(acmems, 'SELECT csr_sha256 FROM certificates').length, 2)
    const issued = query(acmems, "SELECT names_json FROM audit_events WHERE kind = 'certificate.issued'")
    assert.deepEqual(
      issued.map((row) => row.names_json),
      Array(2).fill('["shared.secret.example"]'),
    )
    // What looks for traces finds them where they are.
    const control = findTraces(acmems.folder, tracesOf(normalCsr, serials[1]))
    for (const what of ['name shared.secret.example', 'request hash', 'request, base64', 'serial'])
      assert.ok(
        control.some((found) => found.startsWith('state/') && found.endsWith(`: ${what}`)),
        `${what} in ${control}`,
      )
    // Both count: what records is in both buckets of the domain, what does not in one.
    const domains = query(acmems, "SELECT subject, full_at_ms FROM rate_buckets WHERE limit_name = 'domain'")
    const [plain] = domains.filter(({ subject }) => subject === 'secret.example')
    const [alias] = domains.filter(({ subject }) => String(subject).startsWith('hmac:'))
    assert.equal(domains.length, 2)
    assert.ok(Number(alias?.full_at_ms) > Number(plain?.full_at_ms))
  })
})
