import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { main } from './program.ts'

test('who has read enough of what a command prints ends it without complaint', () => {
  const script = '{ "$0" "$1" config-reference; echo "ended with $?" >&2; } | head -n 1'
  const { stdout, stderr } = spawnSync('sh', ['-c', script, process.execPath, main], { encoding: 'utf8' })
  assert.match(stdout, /^\[account\]\n$/)
  assert.equal(stderr, 'ended with 0\n')
})
