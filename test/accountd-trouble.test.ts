// acmems accountd where something is not as it should be: a full disk, a locked agent, a peer that never ends its line.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chownSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkAuditChain } from '../src/accountd/audit-chain.ts'
import { createHolderClient } from '../src/remote-key/holder-client.ts'
import { openSocketWire } from '../src/remote-key/socket-wire.ts'
import { askOnce, makeKeyFolder, ourAccountd, runStdio, signingInput, startHolder } from './accountd-world.ts'
import { descriptorsOf } from './parts-world.ts'
import { startChild, waitUntilReady } from './peers/child.ts'
import { until } from './until.ts'

const kid = 'https://ca.example/acct/1'
const good = signingInput({ alg: 'RS256', nonce: 'n', url: 'https://ca.example/order/1', kid })

test('what the audit log cannot take is not signed; when it can again, the chain goes on', async () => {
  using folder = makeKeyFolder('accountd-full')
  const [audit, former] = [join(folder.path, 'audit'), join(folder.path, 'audit.1')]
  const config = `privkey = file:${folder.keyFile}\naudit-log = ${audit}\n`
  await using holder = await startHolder(ourAccountd, folder.path, config)
  const reopened = async (file: string) => {
    process.kill(holder.pid, 'SIGHUP')
    await until('the audit log is another one', () => [...descriptorsOf(holder.pid).values()].includes(file))
  }
  assert.ok(await askOnce(holder.socket, good))
  renameSync(audit, former)
  // A disk that has no room left.
  symlinkSync('/dev/full', audit)
  await reopened('/dev/full')
  assert.equal(await askOnce(holder.socket, good), undefined)
  assert.match(holder.log(), /NOSIGN \[the audit log .*: ENOSPC.*\] header=.*\nError: the audit log .*: ENOSPC/)
  rmSync(audit)
  await reopened(audit)
  assert.ok(await askOnce(holder.socket, good))
  await holder.stop()
  assert.deepEqual(
    [checkAuditChain([former, audit]).flaw, readFileSync(audit, 'utf8').match(/"SIGNED"/g)?.length],
    [undefined, 1],
  )
})

test('an agent that is locked signs nothing, and the audit log has it', async (t) => {
  if (spawnSync('ssh-agent', ['-h']).error !== undefined) return t.skip('there is no ssh-agent here')
  using folder = makeKeyFolder('accountd-agent')
  const [socket, audit] = [join(folder.path, 'agent'), join(folder.path, 'audit')]
  await using agent = startChild('ssh-agent', ['-D', '-a', socket], {
    ...{ cwd: folder.path, env: {}, logFile: join(folder.path, 'agent.log') },
  })
  const env = { ...process.env, SSH_AUTH_SOCK: socket }
  await waitUntilReady(agent, 'ssh-agent', async () => spawnSync('ssh-add', ['-l'], { env }).status !== 2)
  const file = join(folder.path, 'acme')
  spawnSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-C', 'acme', '-f', file])
  assert.equal(spawnSync('ssh-add', ['-q', file], { env }).status, 0)
  await using holder = await startHolder(
    ourAccountd,
    folder.path,
    `privkey = ssh-agent:${socket}/acme\naudit-log = ${audit}\n`,
  )
  assert.ok(await askOnce(holder.socket, good))
  assert.equal(spawnSync('ssh-add', ['-q', '-D'], { env }).status, 0)
  assert.equal(await askOnce(holder.socket, good), undefined)
  const events = () =>
    readFileSync(audit, 'utf8')
      .trim()
      .split('\n')
      .map((line): string => JSON.parse(line).event)
  await until('the refusal', () => events().length > 3)
  assert.deepEqual(events(), ['START', 'SIGNED', 'SIGNED', 'NOSIGN'])
})

test('another key at the same socket is not used until whoever asks begins anew', async () => {
  using folder = makeKeyFolder('accountd-other')
  using other = makeKeyFolder('accountd-other', 'P-256')
  const open = async (signal: AbortSignal) => openSocketWire(folder.socket, signal)
  const [client, begun] = [createHolderClient(open, 2000), createHolderClient(open, 2000)]
  const signal = AbortSignal.timeout(60_000)
  const first = await startHolder(ourAccountd, folder.path, `privkey = file:${folder.keyFile}\n`)
  assert.equal((await client.sign(Buffer.from(good), signal)).length, 256)
  await first.stop()
  await using second = await startHolder(ourAccountd, folder.path, `privkey = file:${other.keyFile}\n`)
  await assert.rejects(
    client.sign(Buffer.from(good), signal),
    /holds another key than before: reload the configuration/,
  )
  await assert.rejects(client.sign(Buffer.from(good), signal), /holds another key than before/)
  assert.doesNotMatch(second.log(), /SIGNED/)
  assert.equal((await begun.sign(Buffer.from(good), signal)).length, 64)
})

test('the socket is for socket-group, whatever its folder says', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can give a socket to any group')
  using folder = makeKeyFolder('accountd-group')
  const run = join(folder.path, 'run')
  mkdirSync(run, { mode: 0o755 })
  chownSync(run, 0, 60)
  const config = `privkey = file:${folder.keyFile}\nsocket-mode = 0660\nsocket-group = `
  await using holder = await startHolder(ourAccountd, folder.path, `${config}mail\n`, { socket: join(run, 'S') })
  const { gid, mode } = statSync(holder.socket)
  assert.deepEqual(
    [gid, mode & 0o777],
    [Number(spawnSync('getent', ['group', 'mail']).stdout.toString().split(':')[2]), 0o660],
  )
  writeFileSync(holder.configFile, `${config}nobody-of-that-name\n`)
  const args = ['--config', holder.configFile, '--socket', join(run, 'T')]
  const refused = await runStdio(ourAccountd, args, '')
  assert.equal(refused.code, 1)
  assert.match(refused.err, /socket-group = nobody-of-that-name: there is no such group/)
})

test('gpg itself opens a key that it locked', async (t) => {
  if (spawnSync('gpg', ['--version']).error !== undefined) return t.skip('there is no gpg here')
  using folder = makeKeyFolder('accountd-gpg')
  const [home, phrase, locked] = ['g', 'phrase', 'account.pem.gpg'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(home, { mode: 0o700 })
  writeFileSync(phrase, 'open sesame\n', { mode: 0o600 })
  const gpg = [
    '--homedir',
    home,
    '--batch',
    '--quiet',
    '--no-symkey-cache',
    '--pinentry-mode',
    'loopback',
    '--passphrase-file',
    phrase,
  ]
  const made = spawnSync('gpg', [...gpg, '--symmetric', '-o', locked, folder.keyFile], { encoding: 'utf8' })
  assert.equal(made.status, 0, made.stderr)
  // Its agent stays.
  using _agent = { [Symbol.dispose]: () => spawnSync('gpgconf', ['--homedir', home, '--kill', 'gpg-agent']) }
  const config = join(folder.path, 'c.conf')
  const opened = async () => {
    writeFileSync(config, `privkey = gpg:${locked}\ngpg = gpg ${gpg.join(' ')}\n`)
    return await runStdio(ourAccountd, ['--stdio', '--config', config], `${good}\r\n`)
  }
  const { out, err } = await opened()
  assert.equal(out.split('\r\n')[2]?.length, 342, err)
  writeFileSync(phrase, 'wrong\n')
  const wrong = await opened()
  assert.deepEqual([wrong.code, wrong.out], [1, ''])
  assert.match(wrong.err, /gpg could not decrypt .*account\.pem\.gpg: .*decryption failed/)
})
