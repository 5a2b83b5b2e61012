// docs/accountd.md is true: its commands run, its configuration means what it says.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readSettings } from '../src/accountd/settings.ts'
import { parseWords } from '../src/plugins/keys/exec.ts'
import { askOnce, signingInput } from './accountd-world.ts'
import { checkout, readSnippet, readSnippets } from './documentation.ts'
import { makeTempFolder } from './peers/child.ts'
import { until } from './until.ts'

const file = 'docs/accountd.md'
const runner = { uid: 0, gid: 0, user: 'root', group: 'root', home: '/root', environment: {} }

test('the first steps lead to an accountd that signs', async () => {
  using folder = makeTempFolder('accountd-docs')
  symlinkSync(join(checkout, 'acmems'), join(folder.path, 'acmems'))
  chmodSync(folder.path, 0o755)
  const script = `${readSnippet(file, 'accountd first steps')}trap 'kill $!' TERM\nwait\n`
  const shell = spawn('sh', ['-c', script], {
    cwd: folder.path,
    env: { ...process.env, PATH: `${folder.path}:${process.env.PATH}` },
    stdio: 'ignore',
  })
  const socket = join(folder.path, 'run', 'S.lacme')
  await until('the socket', () => existsSync(socket))
  const line = signingInput({ alg: 'ES256', nonce: 'n', url: 'https://ca.example/x', kid: 'https://ca.example/1' })
  assert.equal((await askOnce(socket, line))?.length, 86)
  shell.kill('SIGTERM')
  await until('its end', () => !existsSync(socket))
})

test('the configuration shown can be used', () => {
  using folder = makeTempFolder('accountd-docs')
  const path = join(folder.path, 'accountd.conf')
  const shown = readSnippets(file).filter(({ mark }) => mark === 'accountd.conf')
  assert.equal(shown.length, 1)
  writeFileSync(path, shown[0]?.text ?? '')
  const settings = readSettings({ config: path }, runner)
  assert.deepEqual(
    [settings.policy.reach, settings.policy.origins],
    ['issuing', ['https://acme-v02.api.letsencrypt.org']],
  )
  assert.equal(settings.policy.names?.patterns.length, 3)
  assert.deepEqual([settings.socketMode, settings.orderRate], [0o660, { count: 50, periodMs: 86_400_000 }])
})

test('words of a command', () => {
  for (const [text, words] of [
    ['ssh -T host acmems accountd --stdio', ['ssh', '-T', 'host', 'acmems', 'accountd', '--stdio']],
    [`a 'b c' "d 'e" f'g h'i ""`, ['a', 'b c', "d 'e", 'fg hi', '']],
    ['a $HOME `id` ;x', ['a', '$HOME', '`id`', ';x']],
  ] as const)
    assert.deepEqual(parseWords(text), words)
  for (const text of ['', '  ', "a 'b", 'a b"c'])
    assert.throws(() => parseWords(text), /quote without|no command/, text)
})
