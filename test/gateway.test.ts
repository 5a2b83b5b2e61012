// `metadata = no`: after the answer, or the end of what was in flight, nothing is left of a request in any file.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { parseCsrPem } from '../src/x509/csr.ts'
import { type Acmems, accountAndHttp01, startAcmems } from './acmems.ts'
import { runJson } from './command.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { startPostgres } from './peers/postgres.ts'
import { until } from './until.ts'

/** Behind a proxy that says so, because 127.0.0.1 is everywhere. */
const clientAddress = '198.51.100.77'
const asClient = { 'x-forwarded-for': clientAddress }
/** As docs/gateway.md has it, for these names. */
const documented = readSnippet('docs/gateway.md', 'configuration')
  .replace(/[\s\S]*(?=\[auth)/, '')
  .replace('**.example.org', '**.secret.example')
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
${documented}[auth "normal"]
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

async function assertClean(folder: string, traces: ReadonlyMap<string, string>): Promise<void> {
  let found: string[] = []
  const isClean = () => {
    found = findTraces(folder, traces)
    return found.length === 0
  }
  await until('nothing is left', isClean).catch(() => assert.deepEqual(found, []))
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

const change = query

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
  const line = await until('its line', () =>
    acmems.logLines().find(({ msg, status }) => msg === 'request' && status === 200),
  )
  assert.deepEqual(line.names, aliases)
  assert.equal(line.client, undefined)

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
    // Who knows a name finds what is written down under its alias.
    const about = await runJson<{ kind: string }[]>(['audit', '--name', 'shared.secret.example', acmems.configFile])
    assert.deepEqual(about.map(({ kind }) => kind).sort(), [
      'certificate.forwarded',
      'certificate.issued',
      'certificate.issued',
    ])
    const { limits } = await runJson<{ limits: { subject: string; limit: string; used: number }[] }>([
      'limits',
      acmems.configFile,
    ])
    assert.deepEqual(
      limits.filter(({ limit }) => limit === 'domain').map(({ subject, used }) => ({ subject, used })),
      [{ subject: 'secret.example', used: 4 }],
    )
    // Both count: what records is in both buckets of the domain, what does not in one.
    const domains = query(acmems, "SELECT subject, full_at_ms FROM rate_buckets WHERE limit_name = 'domain'")
    const [plain] = domains.filter(({ subject }) => subject === 'secret.example')
    const [alias] = domains.filter(({ subject }) => String(subject).startsWith('hmac:'))
    assert.equal(domains.length, 2)
    assert.ok(Number(alias?.full_at_ms) > Number(plain?.full_at_ms))
  })
})

/** Killed once the CA was told, while it looks. */
async function killInFlight(acmems: Acmems, csr: string): Promise<void> {
  const asked = postCsr(acmems.signUrl, csr, asClient).then(
    () => assert.fail('it was answered'),
    () => undefined,
  )
  await until('the answer is presented', () => query(acmems, 'SELECT token FROM answers').length === 1)
  await until(
    'the order is saved',
    () => query(acmems, 'SELECT 1 FROM orders WHERE order_url IS NOT NULL').length === 1,
  )
  process.kill(acmems.pid, 'SIGKILL')
  await asked
  await until('it is dead', () => acmems.hasEnded())
}

test('killed in flight: the host goes on with its order when it asks again, and then nothing is left', async (t: TestContext) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble({ sleep: true, sleepTimeSeconds: 3, alwaysValid: true, nonceReject: 0 })
  using folder = makeTempFolder('gateway')
  const csr = makeCsr({ names: ['kitchen.secret.example'] })
  await using killed = await startAcmems(config(pebble), { folder: folder.path })
  await killInFlight(killed, csr)
  const traces = tracesOf(csr)
  // The need must be there to be gone on with: without it the search would prove nothing either.
  const inFlight = findTraces(folder.path, traces)
  assert.ok(
    inFlight.some((found) => found.includes('state.db') && found.endsWith('name kitchen.secret.example')),
    String(inFlight),
  )

  await using again = await startAcmems(config(pebble), { folder: folder.path })
  // Nobody is there to be given a certificate: the order waits for its host.
  await new Promise((resolve) => setTimeout(resolve, 7000))
  assert.equal(pebble.issuedCount(), 0)
  const reply = await postCsr(again.signUrl, csr, asClient)
  assert.equal(reply.status, 200, reply.text)
  assert.equal(pebble.issuedCount(), 1)
  assert.equal(pebble.requests().get('POST /order-plz'), 1)
  await assertClean(folder.path, tracesOf(csr, certificatesOf(reply.text)[0]?.serialNumber))
  assert.deepEqual(query(again, 'SELECT * FROM answers'), [])
})

test('killed in flight, and the host does not come back: given up after hours, and then nothing is left', async (t: TestContext) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble({ sleep: true, sleepTimeSeconds: 3 })
  using folder = makeTempFolder('gateway')
  const csr = makeCsr({ names: ['cellar.secret.example'] })
  await using killed = await startAcmems(config(pebble), { folder: folder.path })
  await killInFlight(killed, csr)
  const [row] = query(killed, 'SELECT resume_at_ms - began_at_ms AS patience FROM orders')
  assert.equal(row?.patience, 2 * 3_600_000)
  // The configuration may have changed by then: it was not to be recorded, and is not.
  await using again = await startAcmems(config(pebble).replace('metadata = no\n', ''), { folder: folder.path })
  assert.equal(query(again, 'SELECT need FROM orders').length, 1)
  change(again, 'UPDATE orders SET resume_at_ms = 1')
  await until('it is given up', () => query(again, 'SELECT need FROM orders').length === 0)
  await assertClean(folder.path, tracesOf(csr))
  assert.deepEqual(query(again, 'SELECT * FROM answers'), [])
  assert.deepEqual(query(again, 'SELECT * FROM order_stories'), [])
  const line = await until('its line', () => again.logLines().find(({ msg }) => msg === 'an order was abandoned'))
  assert.match(String(line.names), /^hmac:/)
})

test('a CA that is away: what is noted of it says nothing of who asked; stopped, the server leaves one clean file', async (t: TestContext) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble()
  using folder = makeTempFolder('gateway')
  const csr = makeCsr({ names: ['attic.secret.example'] })
  const acmems = await startAcmems(
    `${config(pebble).replace(/\[auth "gateway"\]\n/, '[auth "gateway"]\nissuer = gone\n')}[issuer "gone"]
type = acme
acme-server = http://127.0.0.1:9/attic.secret.example
accept-terms-of-service = yes
fallback = standby
[issuer "standby"]
type = local
`,
    { folder: folder.path },
  )
  await using _ = acmems
  const reply = await postCsr(acmems.signUrl, csr, asClient)
  assert.equal(reply.status, 200, reply.text)
  const [outage] = query(acmems, 'SELECT reason FROM outages')
  assert.match(String(outage?.reason), /^the issuer fails/)
  // What was begun at the first issuer is given up, because the second one has answered.
  await until('nothing is in flight', () => query(acmems, 'SELECT need FROM orders').length === 0)
  await acmems.stop()
  const serial = certificatesOf(reply.text)[0]?.serialNumber
  const traces = tracesOf(csr, serial)
  // The address of the issuer is the configuration's own.
  for (const what of ['name attic.secret.example', 'label of attic.secret.example']) traces.delete(what)
  assert.deepEqual(findTraces(folder.path, traces), [])
})

test('PostgreSQL: no row of any table says anything, and dead rows are vacuumed', async (t: TestContext) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'postgres')) return
  await using pebble = await startPebble()
  await using postgres = await startPostgres()
  const url = await postgres.createDatabase('gateway')
  await using acmems = await startAcmems(`[state]\nurl = ${url}\n${config(pebble)}`)
  await pebble.setA('attic.secret.example', ['127.0.0.9'])
  const csrs = ['kitchen', 'attic', 'cellar'].map((label) => makeCsr({ names: [`${label}.secret.example`] }))
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await using _ = { [Symbol.asyncDispose]: () => client.end() }
  // First, and to its end: what a request leaves that is recorded is vacuumed with what is not to be, and not for itself.
  const openCsr = makeCsr({ names: ['open.secret.example'] })
  const recorded = await postCsr(acmems.signUrl, openCsr, { 'x-forwarded-for': '203.0.113.5' })
  await until('its end', async () => (await client.query('SELECT FROM orders')).rowCount === 0)
  const replies = await Promise.all(csrs.map((csr) => postCsr(acmems.signUrl, csr, asClient)))
  assert.deepEqual(
    [...replies, recorded].map(({ status }) => status),
    [200, 421, 200, 200],
  )
  const traces = new Map(
    csrs.flatMap((csr, index) => [...tracesOf(csr, certificatesOf(replies[index]?.text ?? '')[0]?.serialNumber)]),
  )
  const dump = async () => {
    const tables = await client.query<{ name: string }>(
      "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'",
    )
    const rows: string[] = []
    for (const { name } of tables.rows)
      for (const { row } of (await client.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)).rows)
        rows.push(`${name}: ${row}`)
    return rows
  }
  const events = async () => (await dump()).filter((row) => row.startsWith('audit_events')).length
  await until('all is in the audit log', async () => (await events()) === 4)
  const rows = await dump()
  const found = rows.filter((row) =>
    [...traces.values()].some((trace) => row.toLowerCase().includes(trace.toLowerCase())),
  )
  assert.deepEqual(found, [])
  assert.equal(rows.filter((row) => row.includes('open.secret.example')).length > 3, true)
  // What lies in the tables: the statistics' n_dead_tup is an estimate, told late.
  await client.query('CREATE EXTENSION pgstattuple')
  const dead = async () => {
    const { rows: tables } = await client.query<{ dead: string }>(
      "SELECT (pgstattuple(name)).dead_tuple_count::text AS dead FROM unnest(ARRAY['orders', 'answers']) AS name",
    )
    return tables.reduce((sum, table) => sum + Number(table.dead), 0)
  }
  await until('dead rows are vacuumed', async () => (await dead()) === 0)
  await assertClean(acmems.folder, traces)
})

test('metadata = no with a storage that keeps is an error that says what to write', async () => {
  const load = async (storage: string) => {
    using folder = makeTempFolder('config')
    const file = join(folder.path, 'acmems.ini')
    writeFileSync(file, `[auth "gateway"]\nip = 192.0.2.1\ndomain = a.example\nmetadata = no\n${storage}`)
    const sources = { environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }
    return await loadConfig({ ...sources, files: [file] })
  }
  await assert.rejects(
    load(''),
    /acmems\.ini:4: .*metadata = no needs a storage that keeps nothing, and "state" is of type state; write storage = none/,
  )
  await assert.rejects(
    load('storage = none\nregister-boxes = yes\n'),
    /:6: .*metadata = no and register-boxes contradict/,
  )
  await assert.rejects(load('storage = none\nprobe = caller:443\n'), /:6: .*metadata = no and probe contradict/)
  assert.equal((await load('storage = none\n')).blocks[0]?.values.metadata, false)
  const named = await load('storage = nothing\n[storage "nothing"]\ntype = none\n')
  assert.equal(named.blocks[0]?.values.metadata, false)
})
