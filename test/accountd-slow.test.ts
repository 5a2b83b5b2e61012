// A peer of accountd that is slow on purpose, in a time that passes quickly.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startAccountd } from '../src/accountd/accountd.ts'
import { createJournal } from '../src/accountd/journal.ts'
import { openHeldKey } from '../src/accountd/key.ts'
import { readSettings } from '../src/accountd/settings.ts'
import { ownRights } from '../src/channel/permissions.ts'
import { systemClock } from '../src/clock.ts'
import { dial, makeKeyFolder, signingInput } from './accountd-world.ts'
import { until } from './until.ts'

const times = 40
const quickClock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() * times,
  sleep: (ms: number, signal: AbortSignal) => systemClock.sleep(ms / times, signal),
}

test('a line has its time from where it began, however often an octet of it comes', async () => {
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
  await using _ = await startAccountd(settings, { key, journal, clock: quickClock, who, socketGid: undefined })

  const [dribbler, busy] = [await dial(folder.socket), await dial(folder.socket)]
  const line = signingInput({ alg: 'ES256', nonce: 'n', url: 'https://ca.example/x', kid: 'https://ca.example/1' })
  await busy.line()
  await busy.line()
  // Always in the middle of a line, but never in the same one.
  busy.socket.write(line)
  let closed = false
  dribbler.socket.on('close', () => {
    closed = true
  })
  const beganMs = quickClock.monotonicMs()
  await until(
    'its connection ends',
    async () => {
      dribbler.socket.write('a')
      busy.socket.write(`\r\n${line}`)
      assert.ok(await busy.line(), 'who ends his lines is served')
      return closed
    },
    { withinMs: 4000 },
  )
  const lastedMs = quickClock.monotonicMs() - beganMs
  assert.ok(lastedMs >= 25_000, `${lastedMs} ms`)
  assert.match(said, /\[0\] NOSIGN \[half a line for more than 30 s\]/)
  busy.socket.destroy()
})
