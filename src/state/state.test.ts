// The contracts of the state on a real database in a folder of its own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Kysely } from 'kysely'
import { type MigrationProvider, Migrator } from 'kysely/migration'
import { answer, key, leaseMs, need, nowMs, testStateContract, type World } from '../../test/state-contract.ts'
import { migrations } from './migrations.ts'
import type { Schema } from './schema.ts'
import { signatureNonces } from './signature-nonces.ts'
import { nodeSqliteDialect, openSqlite } from './sqlite-dialect.ts'
import { openState, type State } from './state.ts'

const open = (url: string, now = () => nowMs): Promise<State> => openState(url, now, assert.ifError)

function makeFolder(mode = 0o700): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'acmems-state-'))
  chmodSync(path, mode)
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

/** Handles on one file, as several processes have them; closed with the folder. */
function makeWorld(mode?: number): World & { readonly folder: string } {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(makeFolder(mode)).path
  const url = `sqlite:${join(folder, 'state.db')}`
  return {
    folder,
    open: async (now) => stack.use(await open(url, now)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

testStateContract('SQLite', () => makeWorld())

test('what was kept is there after a restart', async () => {
  using folder = makeFolder()
  const url = `sqlite:${join(folder.path, 'new', 'folder', 'state.db')}`
  for (const expected of [undefined, 'CHAIN']) {
    await using state = await open(url)
    assert.equal(await state.certificates.findChain(key), expected)
    await state.certificates.saveChain(key, 'CHAIN')
  }
})

// what was deleted -------------------------------------------------------------------------------

/** Found in the database and in what lies beside it. */
const countIn = (folder: string, text: string) =>
  readdirSync(folder).reduce((sum, name) => sum + readFileSync(join(folder, name), 'latin1').split(text).length - 1, 0)

test('what was deleted is in no file, not even where SQLite leaves copies; the rest stays', async () => {
  await using world = makeWorld()
  const state = await world.open()
  const path = join(world.folder, 'state.db')
  const database = openSqlite(path, 'NORMAL')
  let seed = 1
  const upTo = (count: number) => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % count
  }
  const insert = database.prepare('INSERT INTO answers VALUES (?, ?, ?, ?, ?, NULL, NULL)')
  const lengthen = database.prepare('UPDATE answers SET key_authorization = ? WHERE token = ?')
  let left = 0
  for (let round = 0; round < 100 && left === 0; round++) {
    const tokens: string[] = []
    for (let nth = 0; nth < 60; nth++) {
      const word = nth % 2 === 0 ? 'SECRET' : 'public'
      const token = `${upTo(1e9)} ${word}`
      insert.run('http-01', token, `${round} ${nth}`, word.repeat(1 + upTo(150)), nowMs + 1000)
      if (word === 'SECRET') tokens.push(token)
      if (upTo(3) === 0) lengthen.run('SECRET'.repeat(1 + upTo(400)), tokens[upTo(tokens.length)] ?? '')
    }
    database.exec("DELETE FROM answers WHERE token LIKE '% SECRET'")
    if (round % 3 === 0) database.exec("DELETE FROM answers WHERE token LIKE '%1 public'")
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    left = countIn(world.folder, 'SECRET')
  }
  assert.ok(left > 0, 'secure_delete alone is not enough')
  database.close()
  const rows = () => openRows(path)
  const before = rows()
  assert.ok(before.length > 20)
  await state.scrubbing.run()
  assert.equal(state.scrubbing.isDue, false)
  assert.equal(countIn(world.folder, 'SECRET'), 0)
  assert.deepEqual(rows(), before)
})

function openRows(path: string): unknown[] {
  const database = openSqlite(path, 'NORMAL')
  try {
    return database.prepare('SELECT * FROM answers ORDER BY host').all()
  } finally {
    database.close()
  }
}

test('while somebody reads, overwriting waits and holds up nobody', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await state.answers.put(answer)
  const reader = openSqlite(join(world.folder, 'state.db'), 'NORMAL')
  reader.exec('BEGIN')
  reader.prepare('SELECT * FROM answers').all()
  await state.answers.remove(answer)
  const startedMs = performance.now()
  await state.scrubbing.run()
  assert.equal(state.scrubbing.isDue, true)
  assert.ok(performance.now() - startedMs < 5000)
  reader.close()
  await state.scrubbing.run()
  assert.equal(state.scrubbing.isDue, false)
  assert.equal(countIn(world.folder, answer.token), 0)
})

// the file ---------------------------------------------------------------------------------------

test('nobody else can read the file, nor what the database keeps beside it', async () => {
  // A folder that others may look into, as systemd makes one with its defaults.
  await using world = makeWorld(0o755)
  const state = await world.open()
  await state.answers.put(answer)
  const modes = readdirSync(world.folder).map(
    (name) => `${name} ${(statSync(join(world.folder, name)).mode & 0o777).toString(8)}`,
  )
  assert.deepEqual(
    modes.filter((entry) => !entry.endsWith(' 600')),
    [],
  )
  assert.ok(
    modes.some((entry) => entry.startsWith('state.db ')),
    modes.join(),
  )
})

test('what can be done about a state that cannot be used is said', async () => {
  await assert.rejects(open('postgres://127.0.0.1:1/acmems'), /ECONNREFUSED.*; see whether PostgreSQL is there/)
  using folder = makeFolder()
  const damaged = join(folder.path, 'damaged.db')
  writeFileSync(damaged, 'This is no database.')
  await assert.rejects(open(`sqlite:${damaged}`), /restore a backup, or move it away/)
})

test('a folder that has to be made is ours alone', async () => {
  using folder = makeFolder(0o755)
  const made = join(folder.path, 'a', 'b')
  await using _ = await open(`sqlite:${join(made, 'state.db')}`)
  assert.equal(statSync(made).mode & 0o777, 0o700)
})

test('processes that start at once on a new file all start', async () => {
  using folder = makeFolder()
  const script = `const { openState } = await import(${JSON.stringify(import.meta.resolve('./state.ts'))})
    const state = await openState(process.argv[1], () => ${nowMs}, () => undefined)
    const need = { ...${JSON.stringify(need)}, postedBytes: new Uint8Array(1) }
    const won = await state.orders.claim(need, String(process.pid), ${nowMs}, ${nowMs + leaseMs})
    await state[Symbol.asyncDispose]()
    console.log(won === undefined ? 'lost' : 'won')`
  const run = () =>
    new Promise<string>((resolve) => {
      const url = `sqlite:${join(folder.path, 'state.db')}`
      const child = spawn(process.execPath, [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '-e',
        script,
        url,
      ])
      let output = ''
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (chunk) => {
          output += String(chunk)
        })
      }
      child.on('close', () => resolve(output.trim()))
    })
  const outputs = await Promise.all([run(), run(), run(), run()])
  assert.deepEqual(outputs.sort(), ['lost', 'lost', 'lost', 'won'])
})

test('what is no database of ours is not touched, and the message says where it is', async () => {
  using folder = makeFolder()
  const path = join(folder.path, 'state.db')
  writeFileSync(path, 'this is somebody’s diary, and longer than a header of a hundred octets would be; '.repeat(20))
  await assert.rejects(open(`sqlite:${path}`), (error: Error) => error.message.includes(path))
})

test('what is no address of a state is refused with an example of one', async () => {
  for (const url of ['', 'sqlite:', '/var/lib/state.db', 'mysql://x', 'file:/x'])
    await assert.rejects(open(url), /sqlite:\/path/, url)
})

test('more nonces than can be remembered are refused, until old ones are over', async () => {
  using folder = makeFolder()
  let atMs = nowMs
  await using db = new Kysely<Schema>({
    dialect: nodeSqliteDialect(openSqlite(join(folder.path, 'state.db'), 'NORMAL')),
  })
  await new Migrator({ db, provider: migrations, allowUnorderedMigrations: true }).migrateToLatest()
  const nonces = signatureNonces(db, () => atMs, 8)
  const use = (keyId: string, i: number) => nonces.use(keyId, `nonce ${i}`, nowMs + 1000)
  for (let i = 0; i < 4; i++) assert.equal(await use('greedy', i), true)
  // One key alone cannot take what the others need.
  for (let i = 0; i < 2; i++) await assert.rejects(use('greedy', 9), /signed by greedy/)
  for (let i = 0; i < 4; i++) assert.equal(await use(`key ${i}`, i), true)
  for (let i = 0; i < 2; i++) await assert.rejects(use('another', 0), /more signed requests/)
  atMs = nowMs + 1000
  for (const keyId of ['another', 'greedy']) {
    assert.equal(await use(keyId, 9), true)
    assert.equal(await use(keyId, 9), false)
  }
})

test('a state that was made before there were signatures gets what it lacks', async () => {
  using folder = makeFolder()
  const path = join(folder.path, 'state.db')
  const former = { '2026-11-22 signatures': undefined }
  const provider: MigrationProvider = {
    getMigrations: async () =>
      Object.fromEntries(Object.entries(await migrations.getMigrations()).filter(([name]) => !(name in former))),
  }
  {
    await using db = new Kysely<Schema>({ dialect: nodeSqliteDialect(openSqlite(path, 'FULL')) })
    const { error } = await new Migrator({ db, provider }).migrateToLatest()
    assert.ifError(error)
  }
  await using state = await open(`sqlite:${path}`)
  assert.equal(await state.nonces.use('key', 'nonce', nowMs + 1000), true)
})
