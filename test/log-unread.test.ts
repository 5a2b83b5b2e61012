// A server whose log cannot be written any more ends when it is told to.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTempFolder } from './peers/child.ts'
import { freePort } from './peers/peers.ts'
import { main } from './program.ts'

test('whoever read the log is gone: SIGTERM ends the server all the same', async () => {
  using folder = makeTempFolder('unread')
  const config = join(folder.path, 'acmems.ini')
  const verification = `[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${await freePort()}\n`
  writeFileSync(
    config,
    `[state]\nurl = sqlite:${folder.path}/state.db\n[mgmt]\nlistener = 127.0.0.1:0\n${verification}`,
  )
  const server = spawn(process.execPath, [main, 'serve', config], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(server, 'exit')
  let log = ''
  for await (const chunk of server.stdout) {
    log += String(chunk)
    // Leaving the loop closes the pipe.
    if (log.includes('"msg":"serving"')) break
  }
  server.kill('SIGTERM')
  const patience = setTimeout(() => server.kill('SIGKILL'), 8000)
  assert.deepEqual(await ended, [0, null])
  clearTimeout(patience)
})
