import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ownTurnAtMs, windowForHost } from './host-window.ts'
import { afterRenewalInfo, planRenewal } from './renewal-plan.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const issuedMs = Date.UTC(2026, 10, 21)

function entryOf(lifetimeMs: number, share = 0.5) {
  const validity = { notBeforeMs: issuedMs, notAfterMs: issuedMs + lifetimeMs }
  return { ...validity, plan: planRenewal(validity, undefined, issuedMs, share) }
}

test('the window ends before our own turn, and begins after the half of the lifetime, or near it', () => {
  for (const lifetimeMs of [5 * 60_000, hourMs, dayMs, 6 * dayMs, 45 * dayMs, 90 * dayMs, 3650 * dayMs]) {
    for (const share of [0, 0.5, 0.999]) {
      const entry = entryOf(lifetimeMs, share)
      const { info, retryAfterMs } = windowForHost(entry, issuedMs)
      assert.ok(info.startMs < info.endMs)
      assert.ok(info.endMs < entry.plan.ownAtMs, String(lifetimeMs))
      assert.ok(info.startMs >= issuedMs + 0.45 * lifetimeMs)
      assert.ok(retryAfterMs >= 60_000 && retryAfterMs <= hourMs)
    }
  }
})

test('a window of the CA is kept to, and its explanation handed on', () => {
  const entry = entryOf(90 * dayMs)
  const info = { startMs: issuedMs + 50 * dayMs, endMs: issuedMs + 52 * dayMs, explanationUrl: 'https://ca.example/' }
  for (const share of [0, 0.01, 0.5, 0.99]) {
    const plan = afterRenewalInfo(entry.plan, { outcome: 'window', info, retryAfterMs: undefined }, issuedMs, share)
    const said = windowForHost({ ...entry, plan }, issuedMs).info
    assert.ok(said.startMs >= info.startMs && said.endMs <= info.endMs && said.startMs < said.endMs)
    assert.ok(said.endMs <= (plan.chosenAtMs ?? 0) + 1000)
    assert.equal(said.explanationUrl, info.explanationUrl)
  }
})

test('a window that the CA begins too late, or never, does not count', () => {
  const entry = entryOf(90 * dayMs)
  const info = { startMs: issuedMs + 400 * dayMs, endMs: issuedMs + 402 * dayMs }
  const plan = afterRenewalInfo(entry.plan, { outcome: 'window', info, retryAfterMs: undefined }, issuedMs, 0.5)
  const said = windowForHost({ ...entry, plan }, issuedMs).info
  assert.ok(said.endMs < plan.backstopAtMs && said.startMs > plan.backstopAtMs - 4 * dayMs)
})

test('at once: revoked, asked for by the operator, or a window of the CA in the past', () => {
  const entry = entryOf(90 * dayMs)
  const nowMs = issuedMs + 10 * dayMs
  const past = { startMs: nowMs - 2 * hourMs, endMs: nowMs - hourMs }
  const plan = afterRenewalInfo(entry.plan, { outcome: 'window', info: past, retryAfterMs: undefined }, nowMs, 0.5)
  for (const one of [
    { ...entry, revokedAtMs: nowMs - 5 },
    { ...entry, plan: { ...entry.plan, asked: true as const } },
    { ...entry, plan },
  ])
    assert.ok(windowForHost(one, nowMs).info.endMs < nowMs)
})

test('who asks is left the time to come; who does not, or stopped, is not waited for', () => {
  const entry = entryOf(90 * dayMs)
  const { ownAtMs, backstopAtMs } = entry.plan
  assert.equal(ownTurnAtMs(entry), ownAtMs)
  assert.equal(ownTurnAtMs({ ...entry, watchedAtMs: ownAtMs - 5 * hourMs }), ownAtMs + 2 * hourMs)
  assert.equal(ownTurnAtMs({ ...entry, watchedAtMs: ownAtMs - 25 * hourMs }), ownAtMs)
  const asked = { ...entry.plan, asked: true as const }
  assert.equal(ownTurnAtMs({ ...entry, plan: asked, watchedAtMs: ownAtMs }), 0)
  const late = { ...entry.plan, ownAtMs: backstopAtMs + dayMs }
  assert.equal(ownTurnAtMs({ ...entry, plan: late, watchedAtMs: backstopAtMs }), backstopAtMs)

  const nowMs = issuedMs + 10 * dayMs
  const past = { startMs: nowMs - 2 * dayMs, endMs: nowMs - dayMs }
  const plan = afterRenewalInfo(entry.plan, { outcome: 'window', info: past, retryAfterMs: undefined }, nowMs, 0.5)
  assert.equal(ownTurnAtMs({ ...entry, plan, watchedAtMs: nowMs - hourMs }), nowMs + 2 * hourMs)
  const told = afterRenewalInfo(plan, { outcome: 'window', info: past, retryAfterMs: undefined }, nowMs + hourMs, 0.5)
  assert.equal(told.learnedAtMs, nowMs, 'the same window again is no news')
})
