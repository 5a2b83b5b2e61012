// Questions between our own processes, over a real socket.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { JsonObject } from '../src/acme/json-object.ts'
import { type Answer, type Answering, answerQuestions } from '../src/channel/answerer.ts'
import { AnswerError, type AskerParts, createAsker } from '../src/channel/asker.ts'
import { ownRights } from '../src/channel/permissions.ts'
import { listenOnSocket, removeStaleSocket } from '../src/channel/unix-socket.ts'
import { systemClock } from '../src/clock.ts'
import { makeTempFolder } from './peers/child.ts'

const who = ownRights()

const echo: Answer = async (ask, content) => {
  if (ask === 'fail') throw new TypeError('no, because')
  if (ask === 'slow') await sleep(50)
  return { ask, ...content }
}

async function serve(t: TestContext, answer: Answer = echo) {
  const folder = makeTempFolder('channel')
  const path = join(folder.path, 'S')
  const broken: string[] = []
  const open = new Set<Answering>()
  const accept = (socket: Socket) => {
    const one = answerQuestions(socket, {
      answer,
      maxLineBytes: 1000,
      maxPending: 10,
      onBroken: (why) => void broken.push(why),
    })
    open.add(one)
    void one.closed.then(() => open.delete(one))
    one.tell('hello', { 'name with ü': 'ß' })
  }
  const start = () => listenOnSocket({ place: path, mode: 0o600, gid: undefined, name: 'holder' }, who, accept)
  let listening = await start()
  const stop = async () => {
    for (const one of open) one.close()
    await listening[Symbol.asyncDispose]()
  }
  t.after(async () => {
    await stop()
    folder[Symbol.dispose]()
  })
  const restart = async () => {
    await stop()
    listening = await start()
  }
  return { path, broken, open, stop, restart }
}

function ask(t: TestContext, path: string, more: Partial<AskerParts> = {}) {
  const asker = createAsker({ path, who, clock: systemClock, maxLineBytes: 1000, answerMs: 2000, ...more })
  t.after(() => asker[Symbol.asyncDispose]())
  return asker
}

test('many questions at once get their own answers, as they are ready', async (t) => {
  const { path } = await serve(t)
  const asker = ask(t, path)
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) => asker.ask(n % 3 === 0 ? 'slow' : 'quick', { n, text: 'grün\r\n' })),
  )
  assert.deepEqual(
    answers.map(({ n, text }) => [n, text]),
    answers.map((_, n) => [n, 'grün\r\n']),
  )
  await assert.rejects(asker.ask('fail', {}), (error) => {
    return error instanceof AnswerError && error.remoteName === 'TypeError' && error.message === 'no, because'
  })
})

test('what is told arrives, also after the other side was away', async (t) => {
  const { path, restart } = await serve(t)
  const told: JsonObject[] = []
  const downs: string[] = []
  const asker = ask(t, path, { onTell: (_, content) => void told.push(content), onDown: (why) => void downs.push(why) })
  const staying = asker.stay()
  while (told.length < 1) await sleep(10)
  await restart()
  while (told.length < 2) await sleep(10)
  assert.equal(told[1]?.['name with ü'], 'ß')
  assert.ok(downs.length >= 1)
  assert.deepEqual(await asker.ask('again', {}), { ask: 'again' })
  await asker[Symbol.asyncDispose]()
  await staying
})

test('a question nobody answers ends: in time, or with the other side', async (t) => {
  const { path, open, stop } = await serve(t, () => new Promise(() => undefined))
  const asker = ask(t, path, { answerMs: 100 })
  await assert.rejects(asker.ask('for ever', {}), /no answer within 0.1 s/)
  const lost = assert.rejects(asker.ask('for ever', {}), /closed the connection|EPIPE|no answer/)
  for (const one of open) one.close()
  await lost
  await stop()
  await assert.rejects(asker.ask('anything', {}), /ENOENT|no such file/)
})

test('what is no question ends its own connection, and no other', async (t) => {
  const { path, broken } = await serve(t)
  const asker = ask(t, path)
  for (const nonsense of [
    'no json\r\n',
    '[]\r\n',
    '{"id":"1","ask":"x"}\r\n',
    '{"id":1}\r\n',
    '{"id":1,"ask":"x"}\n',
    `{"id":1,"ask":"${'x'.repeat(2000)}"}\r\n`,
  ]) {
    const socket = connect({ path })
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => undefined)
    socket.on('data', () => undefined)
    socket.write(nonsense)
    await closed
    assert.equal((await asker.ask('still there', {})).ask, 'still there')
  }
  assert.equal(broken.length, 6)
})

test('what the other side says is bounded, too; a socket for everybody is not used', async (t) => {
  const { path } = await serve(t, async () => ({ much: 'x'.repeat(5000) }))
  await assert.rejects(ask(t, path).ask('much', {}), /more than 1000 octets/)
  chmodSync(path, 0o666)
  await assert.rejects(ask(t, path).ask('anything', {}), /everybody can use it/)
})

test('only a socket that nobody listens at is stale', async (t) => {
  const { path } = await serve(t)
  assert.equal(await removeStaleSocket(path), false)
  assert.ok(existsSync(path))
  const killed = `${path}.killed`
  const script = `require('net').createServer().listen(${JSON.stringify(killed)}, () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', script])
  assert.ok(existsSync(killed))
  assert.equal(await removeStaleSocket(killed), true)
  assert.equal(existsSync(killed), false)
  assert.equal(await removeStaleSocket(killed), false)
})
