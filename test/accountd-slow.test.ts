// Peers of accountd that are slow on purpose, in a time that the test lets pass.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startAccountd } from '../src/accountd/accountd.ts'
import { createJournal } from '../src/accountd/journal.ts'
import { openHeldKey } from '../src/accountd/key.ts'
import { readSettings } from '../src/accountd/settings.ts'
import { ownRights } from '../src/channel/permissions.ts'
import { dial, makeKeyFolder, signingInput } from './accountd-world.ts'
import { createTestClock } from './reliability/test-clock.ts'

test('a line has its time from where it began, however often an octet of it comes; who says nothing has for ever', async () => {
  const clock = createTestClock()
  using folder = makeKeyFolder('accountd-slow', 'P-256')
  const who = ownRights()
  const runner = { uid: who.uid, gid: 0, user: 'me', group: 'us', home: '/', environment: {} }
  const settings = readSettings(
    { config: '/dev/null', privkey: `file:${folder.keyFile}`, socket: folder.socket },
    runner,
  )
  let said = ''
  using journal = createJournal(
    'usual',
    undefined,
    () => 0,
    (text) => {
      said += text
    },
  )
  const { signal } = new AbortController()
  const askPassphrase = () => Promise.reject(new Error('nobody is there'))
  const key = await openHeldKey(settings, { who, environment: {}, signal, askPassphrase })
  await using _ = await startAccountd(settings, { key, journal, clock, who, socketGid: undefined })

  const [dribbler, busy, silent] = [await dial(folder.socket), await dial(folder.socket), await dial(folder.socket)]
  const line = signingInput({ alg: 'ES256', nonce: 'n', url: 'https://ca.example/x', kid: 'https://ca.example/1' })
  for (const { line: greeting } of [busy, busy, silent, silent]) await greeting()
  // Always in the middle of a line, but never in the same one.
  busy.socket.write(line)
  let closed = false
  dribbler.socket.on('close', () => {
    closed = true
  })
  let passedMs = 0
  while (!closed && passedMs < 60_000) {
    dribbler.socket.write('a')
    busy.socket.write(`\r\n${line}`)
    assert.ok(await busy.line(), 'who ends his lines is served')
    clock.pass(1000)
    passedMs += 1000
  }
  // It is looked every five seconds.
  assert.ok(closed && passedMs >= 30_000 && passedMs <= 42_000, `${passedMs} ms`)
  assert.match(said, /\[0\] NOSIGN \[half a line for more than 30 s\]/)
  silent.socket.write(`${line}\r\n`)
  assert.ok(await silent.line())
  busy.socket.destroy()
  silent.socket.destroy()
})
