// The contracts of the state on a real database in a folder of its own.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { AnswerRecord } from '../acme/answer-record.ts'
import type { Need, OrderOutcome, OrderRecord, SavedStep } from '../issuance/records.ts'
import type { Progress } from '../plugin-api.ts'
import type { Csr } from '../x509/csr.ts'
import { openState, type State } from './state.ts'

const nowMs = Date.UTC(2026, 10, 21)
const leaseMs = 60_000

const open = (url: string): Promise<State> => openState(url, () => nowMs, assert.ifError)

function makeFolder(mode = 0o700): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'acmems-state-'))
  chmodSync(path, mode)
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

type World = AsyncDisposable & { readonly url: string; readonly folder: string; open(): Promise<State> }

/** Handles on one file, as several processes have them; closed with the folder. */
function makeWorld(mode?: number): World {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(makeFolder(mode)).path
  const url = `sqlite:${join(folder, 'state.db')}`
  return {
    ...{ url, folder },
    open: async () => stack.use(await open(url)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

// answers ----------------------------------------------------------------------------------------

const answer: AnswerRecord = {
  type: 'http-01',
  token: 'token-1',
  host: 'www.example.org',
  keyAuthorization: 'token-1.thumbprint',
  expiresAtMs: nowMs + 1000,
}

test('an answer is found by exactly its type, token and host', async () => {
  await using world = makeWorld()
  const { answers } = await world.open()
  await answers.put(answer)
  assert.equal(await answers.find(answer, nowMs), answer.keyAuthorization)
  for (const other of [
    { type: 'tls-alpn-01' },
    { token: 'token-2' },
    { token: 'TOKEN-1' },
    { host: 'example.org' },
    { token: "' OR 1=1 --" },
  ] as const)
    assert.equal(await answers.find({ ...answer, ...other }, nowMs), undefined, JSON.stringify(other))
})

test('the same answer twice is one; a new one takes the place of the old', async () => {
  await using world = makeWorld()
  const { answers } = await world.open()
  await answers.put(answer)
  await answers.put(answer)
  await answers.put({ ...answer, keyAuthorization: 'token-1.other', expiresAtMs: nowMs + 5000 })
  assert.equal(await answers.find(answer, nowMs + 4000), 'token-1.other')
  await answers.remove(answer)
  assert.equal(await answers.find(answer, nowMs), undefined)
})

test('removing takes that one and no other, and nothing is no failure', async () => {
  await using world = makeWorld()
  const { answers } = await world.open()
  const others: AnswerRecord[] = [
    { ...answer, host: 'other.example.org' },
    { ...answer, token: 'token-2' },
    { ...answer, type: 'tls-alpn-01' },
  ]
  for (const one of [answer, ...others]) await answers.put(one)
  await answers.remove(answer)
  await answers.remove(answer)
  assert.equal(await answers.find(answer, nowMs), undefined)
  for (const one of others) assert.equal(await answers.find(one, nowMs), one.keyAuthorization)
})

test('what has expired is not told, and is gone after a start', async () => {
  await using world = makeWorld()
  const { answers } = await world.open()
  await answers.put(answer)
  await answers.put({ ...answer, token: 'old', expiresAtMs: nowMs - 1 })
  assert.equal(await answers.find(answer, nowMs + 999), answer.keyAuthorization)
  assert.equal(await answers.find(answer, nowMs + 1000), undefined)
  assert.equal(await answers.find({ ...answer, token: 'old' }, nowMs - 2), answer.keyAuthorization)
  const { answers: later } = await world.open()
  assert.equal(await later.find({ ...answer, token: 'old' }, nowMs - 2), undefined)
  assert.equal(await later.find(answer, nowMs), answer.keyAuthorization)
})

// certificates -----------------------------------------------------------------------------------

const csr = { der: Buffer.from('request') } as Pick<Csr, 'der'> as Csr
const key = { csr, issuerKey: 'acme:https://ca.example/directory', profile: undefined }

test('a chain is found by its request, issuer and profile', async () => {
  await using world = makeWorld()
  const { certificates } = await world.open()
  assert.equal(await certificates.findChain(key), undefined)
  await certificates.saveChain(key, 'CHAIN')
  assert.equal(await certificates.findChain({ ...key, csr: { ...csr, der: Buffer.from('request') } }), 'CHAIN')
  const others = [
    { ...key, issuerKey: 'acme:https://staging.example/directory' },
    { ...key, profile: 'shortlived' },
    { ...key, csr: { ...csr, der: Buffer.from('another request') } },
  ]
  for (const other of others) assert.equal(await certificates.findChain(other), undefined)
})

test('a chain kept later takes the place of the earlier; another process sees it a second later', async () => {
  using folder = makeFolder()
  let atMs = nowMs
  const openLater = () => openState(`sqlite:${join(folder.path, 'state.db')}`, () => atMs, assert.ifError)
  await using one = await openLater()
  await using two = await openLater()
  await one.certificates.saveChain(key, 'FIRST')
  await one.certificates.saveChain(key, 'SECOND')
  assert.equal(await one.certificates.findChain(key), 'SECOND', 'at once, where it was kept')
  await two.certificates.saveChain(key, 'THIRD')
  atMs += 1000
  assert.equal(await one.certificates.findChain(key), 'THIRD')
})

test('what was kept is there after a restart', async () => {
  using folder = makeFolder()
  const url = `sqlite:${join(folder.path, 'new', 'folder', 'state.db')}`
  for (const expected of [undefined, 'CHAIN']) {
    await using state = await open(url)
    assert.equal(await state.certificates.findChain(key), expected)
    await state.certificates.saveChain(key, 'CHAIN')
  }
})

// orders -----------------------------------------------------------------------------------------

const need: Need = {
  ...{ id: 'need-1', issuerKey: 'ca', names: ['www.example.org'], block: 'web' },
  ...{ postedBytes: Buffer.from('posted'), remoteAddress: '192.0.2.1' },
}

const step = (progress: Progress, orderUrl?: string): SavedStep => ({
  ...{ progress, orderUrl, recoverable: false },
  steps: [{ atMs: nowMs, note: 'a step' }],
})

/** As claimed for the first time. */
const claimed = {
  ...{ need, progress: undefined, orderUrl: undefined, steps: [], attempts: 1 },
  beganAtMs: nowMs,
}

const issued: OrderOutcome = { outcome: 'issued', serial: '01' }

function claim(state: State, holder: string, atMs = nowMs, wanted = need): Promise<OrderRecord | undefined> {
  return state.orders.claim(wanted, holder, atMs, atMs + leaseMs)
}

test('a claimed need has its holder until it lets go, or its lease ends', async () => {
  await using world = makeWorld()
  const state = await world.open()
  assert.deepEqual(await claim(state, 'a'), claimed)
  assert.equal(await claim(state, 'b'), undefined)
  assert.equal(await claim(state, 'b', nowMs + leaseMs - 1), undefined)
  assert.equal((await claim(state, 'b', nowMs + leaseMs))?.attempts, 2)
  await state.orders.release(need.id, 'b', [], nowMs, nowMs)
  assert.equal((await claim(state, 'c'))?.attempts, 3)
})

test('other needs are free', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await claim(state, 'a')
  assert.ok(await claim(state, 'b', nowMs, { ...need, id: 'need-2' }))
})

test('the next claim gets what was saved last', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await claim(state, 'a')
  await state.orders.save(
    need.id,
    'a',
    step({ order: { url: 'https://ca.example/1' }, polls: 1 }),
    nowMs,
    nowMs + leaseMs,
  )
  await state.orders.save(
    need.id,
    'a',
    step({ order: { url: 'https://ca.example/1' }, polls: 2, ü: [null] }),
    nowMs,
    nowMs + leaseMs,
  )
  await state.orders.release(need.id, 'a', [], nowMs, nowMs)
  assert.deepEqual((await claim(state, 'b'))?.progress, { order: { url: 'https://ca.example/1' }, polls: 2, ü: [null] })
})

test('saving lengthens the lease', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await claim(state, 'a')
  await state.orders.save(need.id, 'a', step({}), nowMs + leaseMs - 1, nowMs + 2 * leaseMs)
  assert.equal(await claim(state, 'b', nowMs + leaseMs + 1), undefined)
})

test('who lost the lease cannot save, finish or release for who has it now', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await claim(state, 'a')
  assert.ok(await claim(state, 'b', nowMs + leaseMs))
  await state.orders.save(need.id, 'b', step({ of: 'b' }), nowMs, nowMs + 3 * leaseMs)
  await assert.rejects(state.orders.save(need.id, 'a', step({ of: 'a' }), nowMs, nowMs + 9 * leaseMs), /lease/)
  await state.orders.finish(claimed, 'a', issued, nowMs)
  await state.orders.release(need.id, 'a', [], nowMs, nowMs)
  assert.equal(await claim(state, 'c', nowMs + 2 * leaseMs), undefined, 'b still has it')
  assert.deepEqual((await claim(state, 'c', nowMs + 3 * leaseMs))?.progress, { of: 'b' })
})

test('saving what was never claimed, or is finished, is a lost lease', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await assert.rejects(state.orders.save(need.id, 'a', step({}), nowMs, nowMs + leaseMs), /lease/)
  await claim(state, 'a')
  await state.orders.finish(claimed, 'a', issued, nowMs)
  await assert.rejects(state.orders.save(need.id, 'a', step({}), nowMs, nowMs + leaseMs), /lease/)
})

test('a finished need begins anew', async () => {
  await using world = makeWorld()
  const state = await world.open()
  await claim(state, 'a')
  await state.orders.save(need.id, 'a', step({ old: true }), nowMs, nowMs + leaseMs)
  await state.orders.finish(claimed, 'a', issued, nowMs)
  assert.deepEqual(await claim(state, 'b'), claimed)
})

test('of many claims at once, over two handles on one file, one wins', async () => {
  await using world = makeWorld()
  const states = [await world.open(), await world.open()]
  for (let round = 0; round < 20; round++) {
    const wanted = { ...need, id: `need-${round}` }
    const claims = await Promise.all(
      Array.from({ length: 8 }, (_, i) => {
        const state = states[i % 2]
        assert.ok(state !== undefined)
        return claim(state, `holder-${i}`, nowMs, wanted)
      }),
    )
    assert.equal(claims.filter((record) => record !== undefined).length, 1)
  }
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
