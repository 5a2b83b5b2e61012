// What is at the other end of key = exec: and is no accountd.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createHolderClient } from '../src/remote-key/holder-client.ts'
import { openProcessWire } from '../src/remote-key/process-wire.ts'

test('a login that prints something is told as that, at once', async () => {
  for (const command of ['echo Welcome', 'echo Welcome; sleep 60', 'printf "Welcome\\r\\n"; sleep 60']) {
    const words = ['/bin/sh', '-c', command]
    const client = createHolderClient(async () => openProcessWire(words, { PATH: '/usr/bin:/bin' }), 100)
    const greeting = client.greeting(AbortSignal.timeout(5000))
    await assert.rejects(greeting, /no lacme-accountd, or something else is printed before it.*"Welcome"/, command)
  }
})
