import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { makeTempFolder } from '../test/peers/child.ts'
import { lockFolder } from './folder-lock.ts'

const module = resolve(import.meta.dirname, 'folder-lock.ts')

/** Another process with the lock, until its standard input ends. */
async function holdElsewhere(folder: string) {
  const code = `import { lockFolder } from ${JSON.stringify(module)}
const lock = await lockFolder(${JSON.stringify(folder)})
process.stdout.write(lock === undefined ? 'no' : 'yes')
process.stdin.resume()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [answer] = await once(child.stdout, 'data')
  return { child, got: String(answer) }
}

test('one at a time, in one process and in two', async () => {
  using temp = makeTempFolder('lock')
  const folder = join(temp.path, 'made', 'when needed')
  {
    await using first = await lockFolder(folder)
    assert.ok(first)
    assert.equal(await lockFolder(folder), undefined)
    const { child, got } = await holdElsewhere(folder)
    assert.equal(got, 'no')
    child.stdin.end()
    await once(child, 'exit')
    // The other one's look has not let it go.
    assert.equal(await lockFolder(folder), undefined)
  }
  await using again = await lockFolder(folder)
  assert.ok(again)
  // Nothing is written, so a full disk keeps nobody from it.
  assert.deepEqual(
    readdirSync(folder).map((file) => [file, statSync(join(folder, file)).size]),
    [['lock.db', 0]],
  )
  // Who may read it could hold it, too.
  assert.equal(statSync(join(folder, 'lock.db')).mode & 0o777, 0o600)
})

test('of a process that was killed nothing stays', async () => {
  using temp = makeTempFolder('lock')
  const { child, got } = await holdElsewhere(temp.path)
  assert.equal(got, 'yes')
  assert.equal(await lockFolder(temp.path), undefined)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await using lock = await lockFolder(temp.path)
  assert.ok(lock)
})

test('sixteen at once: one has it', async () => {
  using temp = makeTempFolder('lock')
  const locks = await Promise.all(Array.from({ length: 16 }, () => lockFolder(temp.path)))
  assert.equal(locks.filter((lock) => lock !== undefined).length, 1)
  for (const lock of locks) await lock?.[Symbol.asyncDispose]()
})
