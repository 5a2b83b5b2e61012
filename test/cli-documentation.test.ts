// docs/commands.md is true: every command shown there runs, in its order, and prints what is shown.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { checkout, readSnippets } from './documentation.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const file = 'docs/commands.md'

/** What another CA, another machine and another moment print differently. */
function normalise(line: string): string {
  return line
    .replace(/(https?:\/\/|data:)[^\s"]+/g, 'URL')
    .replace(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z/g, 'TIME')
    .replace(/(^|[\s:])\/[\w./-]+/g, '$1PATH')
    .replace(/\b\d+\.\d+\.\d+\.\d+:\d+/g, 'ADDRESS')
    .replace(/(?<![\w-])[\w-]{43}(?![\w-])/g, 'PRINT')
    .replace(/\b[0-9a-f]{12,64}\b/gi, 'HEX')
    .replace(/\s+/g, ' ')
    .trim()
}

test('every command block is marked, so that it is tested', () => {
  const shown = readFileSync(join(checkout, file), 'utf8').match(/```console\n/g)?.length ?? 0
  const marked = readSnippets(file).filter(({ mark }) => mark === 'command')
  assert.equal(marked.length, shown)
  assert.ok(shown > 0)
})

test('what docs/commands.md shows is what is printed', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
  using folder = makeTempFolder('commands')
  const config = accountAndHttp01(pebble).replace('[verification', 'limit-orders = 300/7d\n[verification')
  const block = '[auth "web"]\nip = 127.0.0.1\ndomain = **.example.org\n'
  await using acmems = await startAcmems(`${config}${block}`, { folder: folder.path })
  await pebble.setA('dead.example.org', ['127.0.0.9'])
  for (const names of [['www.example.org', 'example.example.org'], ['mail.example.org'], ['dead.example.org']])
    await postCsr(acmems.signUrl, makeCsr({ names }))
  await untilAsked(acmems.configFile)
  for (const { text } of readSnippets(file).filter(({ mark }) => mark === 'command')) {
    const [command = '', ...lines] = text.trimEnd().split('\n')
    const words = /^\$ acmems (.*)$/.exec(command)?.[1]?.split(' ')
    assert.ok(words !== undefined, command)
    const { code, out, err } = await runCommand(words, '', folder.path)
    assert.equal(code, 0, `${command}: ${err}`)
    const printed = new Set(out.split('\n').map(normalise))
    for (const line of lines) assert.ok(printed.has(normalise(line)), `${command} does not print\n${line}\nbut\n${out}`)
  }
})

/** The server asks the CA for its windows a few seconds after it issued. */
async function untilAsked(configFile: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const all = await runJson<{ renewalInfo?: unknown }[]>(['certs', 'list', configFile])
    if (all.length === 2 && all.every(({ renewalInfo }) => renewalInfo !== undefined)) return
    await sleep(200)
  }
  assert.fail("the CA's windows did not come")
}
