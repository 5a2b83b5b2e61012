// scripts/test-env as a person uses it: brought up, asked, and taken down again.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { acceptsTcp, makeTempFolder } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const script = resolve(import.meta.dirname, '../scripts/test-env')

type Status = {
  readonly running: boolean
  readonly processes: readonly { readonly name: string; readonly pid: number | null }[]
  readonly signUrl: string
}

function call(...args: string[]) {
  const { status, stdout, stderr } = spawnSync('sh', [script, ...args], { encoding: 'utf8', timeout: 60_000 })
  return { status, stdout, stderr }
}

function statusOf(folder: string): Status {
  return JSON.parse(call('status', '--json', '--dir', folder).stdout) as Status
}

/** Where the first process of a system does not look after orphans, remains of them stay in the table. */
function hasEnded(pid: number | null): boolean {
  const file = `/proc/${pid}/stat`
  return !existsSync(file) || / Z /.test(readFileSync(file, 'latin1'))
}

/** The first of seven free ports in a row. */
async function freePorts(): Promise<number> {
  const row: number[] = []
  while (row.length < 7) {
    const port = await freePort()
    if (row.length > 0 && port !== (row.at(-1) ?? 0) + 1) row.length = 0
    row.push(port)
  }
  return row[0] ?? 0
}

test('comes up, gives certificates, says how it is, and goes again', async (t) => {
  for (const peer of ['pebble', 'pebble-challtestsrv', 'openssl'] as const) if (!requirePeer(t, peer)) return
  using temp = makeTempFolder('test-env')
  const folder = join(temp.path, 'world')
  assert.equal(call('status', '--dir', folder).status, 3)
  const port = await freePorts()
  try {
    const started = call('start', '--dir', folder, '--port', String(port))
    assert.equal(started.status, 0, started.stderr)
    assert.match(started.stdout, /openssl req .*\| curl --data-binary @- http:\/\/127\.0\.0\.1:\d+\/sign/)
    const status = statusOf(folder)
    assert.equal(status.running, true)
    const reply = await postCsr(status.signUrl, makeCsr({ names: ['by-hand.example.test'] }))
    assert.equal(reply.status, 200, reply.text)
    assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:by-hand.example.test'])
    assert.equal(call('start', '--dir', folder, '--port', String(port)).status, 0, 'a second start changes nothing')
    assert.deepEqual(statusOf(folder), status)

    const other = call('start', '--dir', join(temp.path, 'other'), '--port', String(port))
    assert.equal(other.status, 1)
    assert.match(other.stderr, /port \d+ \(acme\) is taken; choose others with --port/)

    const stopped = call('stop', '--dir', folder)
    assert.equal(stopped.status, 0, stopped.stderr)
    for (const { pid } of status.processes) assert.ok(hasEnded(pid), `${pid} is still there`)
    for (let n = 0; n < 7; n++) assert.ok(!(await acceptsTcp(port + n)))
    assert.equal(call('status', '--dir', folder).status, 3)
  } finally {
    call('stop', '--dir', folder)
  }
})

test('a pid that meanwhile is somebody else is left alone', () => {
  using temp = makeTempFolder('test-env')
  writeFileSync(join(temp.path, 'acmems.pid'), JSON.stringify({ pid: process.pid, startTime: '1' }))
  const { status, stdout } = call('stop', '--dir', temp.path)
  assert.deepEqual({ status, stdout }, { status: 0, stdout: '' })
})

test('a folder with other things in it is not cleared', (t) => {
  for (const peer of ['pebble', 'pebble-challtestsrv', 'openssl'] as const) if (!requirePeer(t, peer)) return
  using temp = makeTempFolder('test-env')
  mkdirSync(join(temp.path, 'photos'))
  const { status, stderr } = call('start', '--dir', temp.path, '--port', '64000')
  assert.equal(status, 1)
  assert.match(stderr, /holds other things/)
  assert.ok(existsSync(join(temp.path, 'photos')))
})
