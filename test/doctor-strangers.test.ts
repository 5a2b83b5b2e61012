// acmems doctor --processes as root, and a process of somebody who has nothing but the looks of a server.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { groupIdOf, idOf, runAs, users, whyNoParts } from './parts-world.ts'
import { makeTempFolder, startChild } from './peers/child.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const skip = whyNoParts()
const stranger = users.server

test('who looks like a server has root do nothing for him', { skip }, async () => {
  using folder = makeTempFolder('strangers')
  chmodSync(folder.path, 0o755)
  const own = join(folder.path, 'own')
  mkdirSync(own)
  const ran = join(own, 'ran')
  mkdirSync(ran, { mode: 0o777 })
  chmodSync(ran, 0o777)
  writeFileSync(
    join(own, 'plugin.mjs'),
    `import { writeFileSync } from 'node:fs'\nwriteFileSync('${ran}/plugin', '')\nexport default []\n`,
  )
  writeFileSync(join(own, 'a.ini'), '[setup]\nplugin = plugin.mjs\n')
  // In the place of what root would run in his file system.
  writeFileSync(join(own, 'setpriv'), `#!/bin/sh\ncp /proc/self/status ${ran}/status.$$\n`, { mode: 0o755 })
  // Tells a terminal to do something.
  const loud = join(own, 'a\x1b]0;b\x07')
  mkdirSync(loud)
  for (const path of [own, join(own, 'a.ini'), loud]) chownSync(path, idOf(stranger), groupIdOf(stranger))
  const rest = 'setTimeout(() => {}, 30_000)'
  const words = ['-e', rest, '/x/acmems.js', 'serve', join(own, 'a.ini')]
  const canUnshare = runAs(stranger, 'unshare', ['-Ur', '-m', 'true']).status === 0
  const script = canUnshare
    ? `exec unshare -Ur -m sh -c 'mount --bind ${own}/setpriv /usr/bin/setpriv; mount --bind ${own}/setpriv /bin/sh; exec "$@"' sh "$@"`
    : 'exec "$@"'
  const drop = [`--reuid=${idOf(stranger)}`, `--regid=${groupIdOf(stranger)}`, '--clear-groups', '--no-new-privs']
  const pids: number[] = []
  await using children = new AsyncDisposableStack()
  for (const [cwd, first] of [
    ['/', ['sh', '-c', script, 'sh']],
    [loud, []],
  ] as const) {
    const child = startChild('setpriv', [...drop, ...first, process.execPath, ...words], {
      ...{ env: {}, cwd, logFile: join(folder.path, `${pids.length}.log`) },
    })
    children.use(child)
    pids.push(child.pid)
  }
  const doctor = () =>
    spawnSync(process.execPath, [main, 'doctor', '--processes', ...pids.flatMap((pid) => ['--pid', `${pid}`])], {
      ...{ encoding: 'utf8', timeout: 20_000 },
    })
  let seen = doctor()
  await until('both', async () => {
    seen = doctor()
    if (pids.every((pid) => seen.stdout.includes(`server ${pid}: BROKEN`))) return true
    await sleep(100)
    return false
  })
  assert.equal(seen.status, 1)
  assert.deepEqual(readdirSync(ran), [])
  assert.match(seen.stderr, /is not looked at: .*\/a\.ini.* belongs to user/)
  assert.doesNotMatch(seen.stdout, /[^\n\P{Cc}]/u)
  if (canUnshare) assert.match(seen.stdout, /not tried: it has ended, or is in a user namespace of its own/)
})
