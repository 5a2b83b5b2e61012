import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createAuditLog } from './audit-log.ts'
import type { PluginContext } from './plugin-api.ts'
import type { AuditEvent } from './state/audit-events.ts'

function createWorld() {
  const written: AuditEvent[] = []
  const warnings: string[] = []
  const world = { nowMs: 0, full: false }
  const warn = (message: string) => void warnings.push(message)
  const context = { clock: { nowMs: () => world.nowMs }, log: { warn } } as unknown as PluginContext
  const events = {
    async add(batch: readonly AuditEvent[]) {
      if (world.full) throw new Error('the disk is full')
      written.push(...batch)
    },
    list: async () => [],
    removeOlder: async () => undefined,
  }
  return { world, written, warnings, log: createAuditLog(events, context) }
}

const event = (kind: string, atMs = 0): AuditEvent => ({
  ...{ kind, atMs, names: ['a.example.org'], block: undefined, remoteAddress: '192.0.2.1', facts: {} },
})

test('everything is written, also what came while it was written, and what is left at the end', async () => {
  const { log, written } = createWorld()
  for (let i = 0; i < 250; i++) log.note(event('certificate.issued', i))
  await log[Symbol.asyncDispose]()
  assert.deepEqual(
    written.map(({ atMs }) => atMs),
    Array.from({ length: 250 }, (_, i) => i),
  )
})

test('whoever has requests refused fills no disk: the first of a minute are written, the others counted', async () => {
  const { log, written, world } = createWorld()
  for (let i = 0; i < 5000; i++) log.note(event('request.rejected'))
  log.note(event('certificate.issued'))
  world.nowMs = 60_000
  log.note(event('request.rejected'))
  await log[Symbol.asyncDispose]()
  assert.equal(written.length, 60 + 1 + 1 + 1)
  assert.deepEqual(written.at(-2)?.facts, { more: 4940 })
  assert.ok(written.some(({ kind }) => kind === 'certificate.issued'))
})

test('a state that cannot be written is said, and the next event is written again', async () => {
  const { log, written, warnings, world } = createWorld()
  world.full = true
  log.note(event('certificate.issued'))
  await new Promise((resolve) => setImmediate(resolve))
  world.full = false
  log.note(event('certificate.issued'))
  await log[Symbol.asyncDispose]()
  assert.equal(warnings.length, 1)
  assert.equal(written.length, 1)
})
