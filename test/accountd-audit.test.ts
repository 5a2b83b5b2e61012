// The audit log of accountd, where it is not one process that writes to one file on a disk with room.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { askOnce, makeKeyFolder, ourAccountd, runStdio, signingInput, startHolder } from './accountd-world.ts'
import { runCommand } from './command.ts'
import { readSoFar, until } from './until.ts'

const header = { alg: 'RS256', nonce: 'n', url: 'https://ca.example/acme/order', kid: 'https://ca.example/acme/acct/1' }
const line = signingInput(header)

test('one process for each connection by ssh, and one for the socket: they write one chain', async () => {
  using folder = makeKeyFolder('accountd-audit')
  const audit = join(folder.path, 'audit')
  await using holder = await startHolder(
    ourAccountd,
    folder.path,
    `privkey = file:${folder.keyFile}\naudit-log = ${audit}\n`,
  )
  const lines = `${line}\r\n`.repeat(50)
  const overSsh = [1, 2, 3].map(() => runStdio(ourAccountd, ['--stdio', '-q', '--config', holder.configFile], lines))
  const overSocket = Array.from({ length: 50 }, () => askOnce(holder.socket, line))
  for (const { code, err } of await Promise.all(overSsh)) assert.deepEqual([code, err], [0, ''])
  for (const signature of await Promise.all(overSocket)) assert.ok(signature)

  assert.equal(statSync(`${audit}.lock`).mode & 0o777, 0o600, 'who can read a file can lock it')

  // One of them goes on in a new file; the others do, too.
  renameSync(audit, `${audit}.1`)
  process.kill(holder.pid, 'SIGHUP')
  await until('the new file', () => existsSync(audit))
  assert.ok(await askOnce(holder.socket, line))
  await runStdio(ourAccountd, ['--stdio', '-q', '--config', holder.configFile], lines)
  await holder.stop()
  const { code, out } = await runCommand(['accountd', 'check-audit', `${audit}.1`, audit])
  assert.equal(code, 0, out)
  assert.match(out, new RegExp(`^${2 * 4 + 3 * 50 + 50 + 1 + 2 + 50} lines`))
})

test('SIGHUP: a log that cannot be opened anew keeps the audit log from nothing', async () => {
  using folder = makeKeyFolder('accountd-hup')
  const [logs, audit] = [join(folder.path, 'logs'), join(folder.path, 'audit')]
  mkdirSync(logs)
  await using holder = await startHolder(
    ourAccountd,
    folder.path,
    `privkey = file:${folder.keyFile}\naudit-log = ${audit}\nlogfile = ${logs}/log\n`,
  )
  renameSync(logs, `${logs}.old`)
  renameSync(audit, `${audit}.1`)
  process.kill(holder.pid, 'SIGHUP')
  await until('it says what it cannot open', () => /ENOENT.*logs\/log/.test(holder.log()), { logs: [holder] })
  assert.ok(await askOnce(holder.socket, line))
  assert.match(readSoFar(audit), /SIGNED/)
  assert.match(readFileSync(`${logs}.old/log`, 'utf8'), /SIGNED/)
})

test('what cannot be written to the audit log is not signed, and it is said which file that is', async () => {
  using folder = makeKeyFolder('accountd-full')
  const [config, audit] = [join(folder.path, 'c.conf'), join(folder.path, 'audit')]
  symlinkSync('/dev/full', audit)
  writeFileSync(config, `privkey = file:${folder.keyFile}\naudit-log = ${audit}\n`)
  const { code, err, out } = await runStdio(ourAccountd, ['--stdio', '-q', '--config', config], `${line}\r\n`)
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /the audit log \/.*\/audit: ENOSPC/)
})
