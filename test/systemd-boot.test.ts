// The units as systemd runs them: it boots in a copy of this system, and the Debian package is installed there.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildDeb } from '../scripts/build-deb.ts'
import { checkout } from './documentation.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { bootSystemd } from './systemd-world.ts'

const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? ''

test('systemd runs all parts, each with what it may do and no more', async (t) => {
  if (spawnSync('dpkg-deb', ['--version']).error !== undefined) return t.skip('dpkg-deb is not on this machine')
  if (!existsSync(join(checkout, 'node_modules', `node-linux-${process.arch}`)))
    return t.skip('the Node.js of the package is not installed')
  for (const peer of ['pebble', 'pebble-challtestsrv', 'openssl', 'nft'] as const) if (!requirePeer(t, peer)) return
  await using machine = await bootSystemd()
  if ('reason' in machine) return t.skip(`no systemd of its own: ${machine.reason}`)
  using folder = makeTempFolder('boot')
  const deb = await buildDeb({ architecture, epochS: 1_790_000_000, compression: 'none', outdir: folder.path })
  const within = join(import.meta.dirname, 'systemd-boot-within.ts')
  const args = ['--net', `--target=${machine.pid}`, process.execPath, within, String(machine.pid), deb]
  // Its output is for people, whatever it is run by.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const run = spawnSync('nsenter', [...args, makeNewer(deb, folder.path)], { env, encoding: 'utf8', timeout: 120_000 })
  assert.equal(run.status, 0, run.stdout + run.stderr)
})

/** The same with a later version. */
function makeNewer(deb: string, folder: string): string {
  const tree = join(folder, 'newer')
  execFileSync('dpkg-deb', ['--raw-extract', deb, tree])
  const control = join(tree, 'DEBIAN/control')
  writeFileSync(
    control,
    readFileSync(control, 'utf8').replace(/^Version: .*$/m, (line) => `${line}+newer`),
  )
  execFileSync('dpkg-deb', ['-Znone', '--build', tree, join(folder, 'newer.deb')], { stdio: 'pipe' })
  return join(folder, 'newer.deb')
}
