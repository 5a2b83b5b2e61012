// lacme itself says what a configuration means (`--debug`): our reading of the same files is no other.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readLacmeSetup } from '../src/lacme/lacme-setup.ts'
import type { Runner } from '../src/lacme/specifiers.ts'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { needPeer, peersFolder, requirePeer } from './peers/peers.ts'

const runner: Runner = { uid: 0, gid: 0, user: 'root', group: 'root', home: '/root', environment: {} }
const root = join(peersFolder(), 'root')
const libraries = ['usr/share/perl5', 'usr/lib/*/perl5/*'].flatMap((path) => globSync(path, { cwd: root }))

function runLacme(args: readonly string[]) {
  const include = libraries.flatMap((path) => ['-I', join(root, path)])
  return spawnSync(needPeer('perl').path, ['-T', ...include, needPeer('lacme').path, ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  })
}

/** What lacme says that each section has; without keys it asks nobody for anything. */
function meaningOf(configFile: string): Record<string, Record<string, string>> {
  const { stderr } = runLacme([`--config=${configFile}`, '--debug', 'newOrder'])
  const sections: Record<string, Record<string, string>> = {}
  let current: Record<string, string> = {}
  for (const line of stderr.split('\n')) {
    const name = /^Configuration option for (.*):$/.exec(line)?.[1]
    const [, key, value = ''] = /^ {4}([\w-]+) = (.*)$/.exec(line) ?? []
    if (name !== undefined) {
      current = {}
      sections[name] = current
    } else if (key !== undefined) current[key] = value
  }
  return sections
}

async function ourMeaningOf(configFile: string): Promise<Record<string, Record<string, string>>> {
  const { certificates } = await readLacmeSetup(configFile, runner)
  return Object.fromEntries(
    certificates.map(({ name, values }) => [
      name,
      Object.fromEntries([...values].map(([key, { text }]) => [key, text])),
    ]),
  )
}

/** Any of these lines may stand anywhere. */
const pieces = [
  'hash = sha256',
  '  notify=a ; b',
  'notify = c ;d',
  'notify = e;f ; ',
  'min-days = 5 ; ',
  'subject = /CN=a.example.org/O=x = y',
  'subjectAltName =',
  'CAfile =   ',
  'mode = 0644\t;\tcomment',
  '# comment',
  '   ; comment',
  '',
  '[one]',
  ' [ two ] ',
  '[three] ; comment',
  '[*.x y]',
  'owner = "root"',
  'chown = nobody',
  'certificate = none/a.crt',
]

/** The same numbers every time. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
}

test('lacme and we read the same', async (t) => {
  if (!requirePeer(t, 'perl') || !requirePeer(t, 'lacme')) return
  const started = runLacme(['--version'])
  if (started.status !== 0) return t.skip(`lacme does not start here: ${started.stderr.split('\n')[0]}`)
  let compared = 0
  for (let round = 1; round <= 40; round++) {
    using folder = makeTempFolder('lacme-itself')
    const pick = numbers(round)
    const text = () =>
      Array.from({ length: pick(14) }, () => pieces[pick(pieces.length)] ?? '').join(['\n', '\r\n'][pick(2)])
    mkdirSync(join(folder.path, 'c.d'))
    writeFileSync(join(folder.path, 'lacme.conf'), 'config-certs = b.conf  c.d a.conf ; x\n[client]\n[accountd]\n')
    for (const file of ['b.conf', 'a.conf', 'c.d/2.conf', 'c.d/10.conf', 'c.d/README'])
      writeFileSync(join(folder.path, file), text())
    const theirs = meaningOf(join(folder.path, 'lacme.conf'))
    assert.deepEqual(await ourMeaningOf(join(folder.path, 'lacme.conf')), theirs, `round ${round}`)
    compared += Object.keys(theirs).length
  }
  assert.ok(compared > 80, `${compared} sections`)
})

test("the configuration that lacme's package brings is taken over, and what is missing in it is named", async (t) => {
  if (!requirePeer(t, 'lacme')) return
  const shipped = join(root, 'etc/lacme')
  if (!existsSync(shipped)) return t.skip('lacme is installed here: its configuration may be another')
  using folder = makeTempFolder('lacme-shipped')
  const output = join(folder.path, 'acmems.ini')
  const { code, err } = await runCommand(['import', 'lacme', shipped, '--output', output])
  assert.equal(code, 3, err)
  assert.match(err, /left out: the account key, as no privkey is there/)
  assert.match(err, /left out: listen = \/run\/lacme-www\.socket/)
  assert.match(err, /0 certificates were taken over; 2 things left out/)
  const checked = await runCommand(['check-config', output])
  assert.deepEqual([checked.code, checked.err], [0, ''])
  assert.match(checked.out, /issuer "default": acme https:\/\/acme-v02\.api\.letsencrypt\.org\/directory/)
})
