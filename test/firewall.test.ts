// Opening ports for the time of a validation, in a network namespace with real firewalls.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { runInNamespace } from './network-namespace.ts'
import { requirePeer } from './peers/peers.ts'

test('the server has them opened for the time of a validation', (t) => {
  if (!requirePeer(t, 'nft') || !requirePeer(t, 'xtables-nft-multi') || !requirePeer(t, 'pebble')) return
  if (!requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  const run = runInNamespace(t, join(import.meta.dirname, 'firewall-server-within.ts'), '127.0.0.53')
  if (run === undefined) return
  assert.equal(run.status, 0, run.output)
})

test('ports are opened in the firewall that rules, and closed whatever happens', (t) => {
  if (!requirePeer(t, 'nft') || !requirePeer(t, 'xtables-nft-multi') || !requirePeer(t, 'xtables-legacy-multi')) return
  if (spawnSync('ip', ['-V']).status !== 0) return t.skip('no ip(8) of iproute2, which lays cables between namespaces')
  const run = runInNamespace(t, join(import.meta.dirname, 'firewall-within.ts'), '127.0.0.53')
  if (run === undefined) return
  assert.equal(run.status, 0, run.output)
})
