// A server whose log cannot be written any more ends when it is told to.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, fstatSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTempFolder } from './peers/child.ts'
import { freePort } from './peers/peers.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const settings = ['mgmt.listener=127.0.0.1:0', 'verification.http.type=http01', 'verification.http.listener=']
const serveAlone = [main, 'serve', ...settings.flatMap((one) => ['--set', one])]

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
  const patience = setTimeout(() => server.kill('SIGKILL'), 30_000)
  assert.deepEqual(await ended, [0, null])
  clearTimeout(patience)
})

test('the terminal is gone, as when its user has logged out: SIGTERM ends the server all the same', async () => {
  using folder = makeTempFolder('hung-up')
  const pidFile = join(folder.path, 'pid')
  const serve = [process.execPath, ...serveAlone].join(' ')
  const terminal = spawn('script', ['-qfec', `echo $$ > ${pidFile}; exec ${serve}`, '/dev/null'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, STATE_DIRECTORY: folder.path },
  })
  let log = ''
  for await (const chunk of terminal.stdout) {
    log += String(chunk)
    if (/ serving/.test(log)) break
  }
  const pid = Number(readFileSync(pidFile, 'utf8'))
  terminal.kill('SIGKILL')
  await once(terminal, 'exit')
  process.kill(pid, 'SIGTERM')
  try {
    await until('its end', () => !existsSync(`/proc/${pid}`), { withinMs: 5000 })
  } finally {
    if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL')
  }
})

test('the journal is told the level of each line', async () => {
  using folder = makeTempFolder('journal')
  const path = join(folder.path, 'journal')
  const journal = openSync(path, 'a')
  const { dev, ino } = fstatSync(journal)
  const lines = async (stream: string) => {
    const server = spawn(process.execPath, serveAlone, {
      stdio: ['ignore', journal, journal],
      env: { ...process.env, JOURNAL_STREAM: stream, STATE_DIRECTORY: folder.path },
    })
    const ended = once(server, 'exit')
    const read = () => readFileSync(path, 'utf8').split('\n').filter(Boolean)
    await until('the start', () => read().some((line) => line.includes('"serving"')))
    server.kill('SIGTERM')
    await ended
    return read()
  }
  const told = await lines(`${dev}:${ino}`)
  assert.ok(told.length > 0 && told.every((line) => /^<[3-7]>\{"level":/.test(line)), told.join('\n'))
  assert.ok(told.some((line) => /^<6>\{"level":"info",.*"serving"\}$/.test(line)))
  truncateSync(path)
  // Another's: as in a shell that systemd started, whose output goes elsewhere.
  assert.ok((await lines('8:1')).every((line) => line.startsWith('{')))
})
