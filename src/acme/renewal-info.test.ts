import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseRenewalInfo } from './renewal-info.ts'

const suggestedWindow = { start: '2025-01-02T04:00:00Z', end: '2025-01-03T04:00:00Z' }
const window = { startMs: Date.UTC(2025, 0, 2, 4), endMs: Date.UTC(2025, 0, 3, 4) }

test("RFC 9773's example", () => {
  const explanationURL = 'https://acme.example.com/docs/ari'
  assert.deepEqual(parseRenewalInfo({ suggestedWindow, explanationURL }), { ...window, explanationUrl: explanationURL })
})

test('times with offsets and fractions are the same moments', () => {
  const shifted = { start: '2025-01-02T05:00:00.000+01:00', end: '2025-01-03T04:00:00.0Z' }
  assert.deepEqual(parseRenewalInfo({ suggestedWindow: shifted }), window)
})

test('a window that ends before it starts, or at its start, is none', () => {
  const { start, end } = suggestedWindow
  assert.throws(() => parseRenewalInfo({ suggestedWindow: { start: end, end: start } }), TypeError)
  assert.throws(() => parseRenewalInfo({ suggestedWindow: { start, end: start } }), TypeError)
})

test('what lacks something is none', () => {
  for (const body of [undefined, null, 1, '', [], {}, { suggestedWindow: null }, { suggestedWindow: [] }])
    assert.throws(() => parseRenewalInfo(body), TypeError)
  for (const wrong of [{}, { start: suggestedWindow.start }, { end: suggestedWindow.end }, { start: 1, end: 2 }])
    assert.throws(() => parseRenewalInfo({ suggestedWindow: wrong }))
  assert.throws(() => parseRenewalInfo({ suggestedWindow: { start: 'soon', end: 'later' } }))
})

test('an explanation that is no address for a person is left out, and does no harm', () => {
  for (const explanationURL of [
    'javascript:alert(1)',
    'https://ca.example/\u001b[31m',
    'https://ca.example/a b',
    `https://ca.example/${'x'.repeat(3000)}`,
    '',
  ])
    assert.deepEqual(parseRenewalInfo({ suggestedWindow, explanationURL }), window)
})

test('whatever comes: a window in the right order, or an error', () => {
  const text = fc.oneof(
    fc.string(),
    fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  )
  const body = fc.oneof(
    fc.jsonValue(),
    fc.record({ suggestedWindow: fc.record({ start: text, end: text }), explanationURL: fc.string() }),
  )
  fc.assert(
    fc.property(body, (any) => {
      try {
        const { startMs, endMs } = parseRenewalInfo(any)
        assert.ok(startMs < endMs)
      } catch (error) {
        assert.ok(error instanceof Error && !(error instanceof assert.AssertionError))
      }
    }),
  )
})
