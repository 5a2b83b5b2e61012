// dns-01 in a whole Internet of names: the way from the root, every server at port 53.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { runInNamespace } from './network-namespace.ts'
import { requirePeer } from './peers/peers.ts'

test('all servers of a zone are found, from the root, and waited for', (t) => {
  if (!requirePeer(t, 'named') || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  const run = runInNamespace(t, join(import.meta.dirname, 'dns-hierarchy.ts'), '127.0.3.53')
  if (run === undefined) return
  assert.equal(run.status, 0, run.output)
  assert.match(run.output, /delegated, by a late and beside a dead server: good\nby the machine's resolver: good\n/)
})
