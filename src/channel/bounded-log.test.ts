import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Logger } from '../plugin-context.ts'
import { createBoundedLog } from './bounded-log.ts'

test('so many lines a minute, and how many were left out', () => {
  const lines: string[] = []
  const note = (message: string, fields?: object) => lines.push(`${message} ${JSON.stringify(fields ?? {})}`)
  const log: Logger = { debug: note, info: note, warn: note, error: note }
  let nowMs = 7
  const clock = { nowMs: () => 0, monotonicMs: () => nowMs, sleep: async () => undefined }
  const bounded = createBoundedLog(log, clock, 2)
  for (let i = 0; i < 5; i++) bounded.info('asked', { i })
  const first = ['asked {"i":0}', 'asked {"i":1}', 'more of this is only counted for a minute {"after":"asked"}']
  assert.deepEqual(lines, first)
  nowMs += 60_000
  bounded.error('asked again')
  assert.deepEqual(lines.slice(first.length), ['lines were left out {"count":3}', 'asked again {}'])
})
