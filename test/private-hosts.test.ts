// docs/private-hosts.md is true: the public name points at acmems, so a host that nobody reaches gets its certificate.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { runInNamespace } from './network-namespace.ts'
import { requirePeer } from './peers/peers.ts'

test('a host that the CA cannot reach, and what the doctor says of it', (t) => {
  if (!requirePeer(t, 'named') || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  const run = runInNamespace(t, join(import.meta.dirname, 'private-hosts.ts'), '127.0.4.54')
  if (run === undefined) return
  assert.equal(run.status, 0, run.output)
  assert.match(run.output, /has its certificate\nthe doctor sees both views\nby the other view it fails\n/)
})
