// Rows 5, 6 and 31: answers that do not come, come too slowly, are none, or are too much.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeCsrs } from '../../bench/csrs.ts'
import { type Acmems, startAcmems } from '../acmems.ts'
import type { Rule } from '../faults/rule.ts'
import * as faults from '../faults/scenarios.ts'
import { makeCsr, postCsr } from '../host.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { askUntilGiven, assertInvariants, calm, configFor, ordersAt, startProxy, startRig } from './rig.ts'
import { type Figures, percent, quantile, rounded, type Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

/** A silent CA is waited for 30 s: what took less did not wait for it, on however busy a machine. */
const beforeGivingUpMs = 25_000

async function startProcess(pebble: Pebble, rules: readonly Rule[] = []) {
  await using stack = new AsyncDisposableStack()
  const proxy = stack.use(await startProxy(pebble, rules))
  const acmems = stack.use(await startAcmems(configFor(pebble, proxy)))
  const owned = stack.move()
  return { proxy, acmems, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** A request hangs at the CA; kept certificates are answered, and the server is told to stop. */
async function runHanging(rules: readonly Rule[]): Promise<Figures> {
  await using pebble = await startPebble({ ...calm, httpPort: await freePort() })
  await using started = await startProcess(pebble)
  const { proxy, acmems } = started
  const [kept = '', hanging = ''] = makeCsrs('hanging', 2)
  const first = await postCsr(acmems.signUrl, kept)
  assert.equal(first.status, 200, first.text)
  proxy.setRules(rules)
  const hung = postCsr(acmems.signUrl, hanging).catch(() => undefined)
  await sleep(300)
  const times: number[] = []
  for (let i = 0; i < 20; i++) {
    const startedMs = performance.now()
    const reply = await postCsr(acmems.signUrl, kept)
    times.push(performance.now() - startedMs)
    assert.equal(reply.text, first.text, 'I1')
  }
  const stopMs = await measureStop(acmems)
  await hung
  assert.ok(quantile(times, 1) < beforeGivingUpMs, `${quantile(times, 1)} ms for a kept certificate`)
  return {
    'slowest kept certificate meanwhile (ms)': rounded(quantile(times, 1)),
    'time to stop (s)': rounded(stopMs / 1000),
  }
}

async function measureStop(acmems: Acmems): Promise<number> {
  const startedMs = performance.now()
  process.kill(acmems.pid, 'SIGTERM')
  while (!acmems.hasEnded() && performance.now() - startedMs < 30_000) await sleep(50)
  const elapsedMs = performance.now() - startedMs
  assert.ok(elapsedMs < beforeGivingUpMs, `it took ${elapsedMs} ms to stop`)
  return elapsedMs
}

async function runOtherCa(): Promise<Figures> {
  await using other = await startPebble({ ...calm, alwaysValid: true })
  const config = `[issuer "other"]\ntype = acme\nacme-server = ${other.directoryUrl}\nca-file = ${other.caFile}\naccept-terms-of-service = yes\n[auth "others"]\nip = 127.0.0.0/8\ndomain = *.other.test\nissuer = other\n`
  await using rig = await startRig({ config, rules: faults.silent(1) })
  const hung = rig.ask(makeCsrs('stuck', 1)[0] ?? '').catch(() => undefined)
  const startedMs = performance.now()
  const reply = await rig.ask(makeCsr({ names: ['a.other.test'] }))
  const elapsedMs = performance.now() - startedMs
  assert.equal(reply.status, 200, reply.text)
  assert.ok(elapsedMs < beforeGivingUpMs, `${elapsedMs} ms for a certificate of the other CA`)
  rig.setRules([])
  await rig.server.stop()
  await hung
  return { 'a certificate of the other CA (s)': rounded(elapsedMs / 1000) }
}

/** How long a host waits at most, and what it gets then. */
async function runWaits(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  for (const delayMs of full ? [5000, 30_000, 120_000] : [1000]) {
    await using rig = await startRig({ rules: faults.slow(delayMs) })
    const [csr = ''] = makeCsrs('slow', 1)
    const startedMs = performance.now()
    const reply = await rig.ask(csr)
    const elapsedMs = performance.now() - startedMs
    assert.ok(elapsedMs < 200_000)
    rig.setRules([])
    const given = await rig.askUntilGiven(csr, { pauseMs: 2000, maxAsks: 100 })
    assert.equal(given.reply.status, 200, given.reply.text)
    await assertInvariants(rig)
    figures[`${delayMs / 1000} s: answered after (s)`] = `${rounded(elapsedMs / 1000)}, with ${reply.status}`
  }
  return figures
}

const otherType: Rule[] = [{ action: { do: 'headers', replace: { 'Content-Type': 'text/plain' } } }]

async function runSpoilt(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  const [count, speed] = full ? [20, 1] : [2, 8]
  const faultsByName: Record<string, readonly Rule[]> = {
    truncated: faults.truncated(0.3),
    HTML: faults.htmlAnswers(0.3),
    empty: faults.emptyAnswers(0.3),
    'wrong content type': otherType,
  }
  await Promise.all(
    Object.entries(faultsByName).map(async ([name, rules]) => {
      const clock = createTestClock(speed)
      await using rig = await startRig({ rules, clock })
      const csrs = makeCsrs('spoilt', count)
      const given = await Promise.all(csrs.map((csr) => rig.askUntilGiven(csr, { pauseMs: 1000 / speed })))
      const successes = given.filter(({ reply }) => reply.status === 200).length
      assert.equal(successes, count, `${name}: ${given.find(({ reply }) => reply.status !== 200)?.reply.text}`)
      assert.equal(rig.pebble.issuedCount(), count, name)
      rig.setRules([])
      const orders = ordersAt(rig.pebble)
      // As with row 7: a longer list of orders is read in part only.
      if (!full) assert.equal(orders, count, `${name}: orders`)
      await assertInvariants(rig, { invalidOrders: orders - count })
      const worstMs = Math.max(...given.map(({ elapsedMs }) => elapsedMs)) * speed
      figures[`${name}: hosts that got their certificate`] = percent(successes, count)
      figures[`${name}: orders a certificate`] = rounded(orders / count)
      figures[`${name}: longest time (s)`] = rounded(worstMs / 1000)
    }),
  )
  return figures
}

async function runTooMuch(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  await using pebble = await startPebble({ ...calm, httpPort: await freePort(), alwaysValid: true })
  const faultsByName: Record<string, readonly Rule[]> = {
    'endless answer': faults.endless(1),
    'JSON 100,000 deep': faults.deepJson(100_000),
    '100,000 Link headers': faults.manyLinks(100_000),
  }
  await Promise.all(
    Object.entries(faultsByName).map(async ([name, rules]) => {
      const proxy = await startProxy(pebble)
      await using _ = proxy
      // Its own port for http-01: nobody looks there.
      const config = configFor({ ...pebble, httpPort: await freePort() }, proxy)
      await using acmems = await startAcmems(config)
      const [fresh, ...csrs] = makeCsrs('much', full ? 22 : 5)
      assert.equal((await postCsr(acmems.signUrl, csrs[0] ?? '')).status, 200)
      const beforeMb = residentMb(acmems.pid)
      proxy.setRules(rules)
      const asked = Promise.allSettled(csrs.slice(1).map((csr) => postCsr(acmems.signUrl, csr)))
      await Promise.race([asked, sleep(full ? 60_000 : 6000)])
      const grownMb = peakMb(acmems.pid) - beforeMb
      assert.ok(grownMb < 300, `${name}: ${grownMb} MB more`)
      proxy.setRules([])
      const given = await askUntilGiven(() => postCsr(acmems.signUrl, fresh ?? ''))
      assert.equal(given.reply.status, 200, given.reply.text)
      figures[`${name}: memory grew by (MB)`] = Math.round(grownMb)
    }),
  )
  return figures
}

function statusOf(pid: number, field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(match?.[1]) / 1024
}

const residentMb = (pid: number) => statusOf(pid, 'VmRSS')
const peakMb = (pid: number) => statusOf(pid, 'VmHWM')

export const slowCa: readonly Scenario[] = [
  {
    row: 5,
    fault: 'the CA accepts connections and says nothing',
    expected: 'kept certificates are answered at once; the server stops within some ten seconds',
    run: () => runHanging(faults.silent(1)),
  },
  {
    row: 5,
    fault: 'the CA answers one byte a second',
    expected: 'the same',
    run: () => runHanging(faults.dripping(1)),
  },
  {
    row: 5,
    fault: 'one of two CAs says nothing',
    expected: 'the other goes on',
    run: runOtherCa,
  },
  {
    row: 5,
    fault: 'every answer is late',
    expected:
      'a request to the CA lasts 30 seconds at most, a host waits some two minutes at most; it goes on where it was',
    run: runWaits,
  },
  {
    row: 6,
    fault: '30 % of the answers are truncated, HTML, or empty; all have a wrong Content-Type',
    expected: 'tried again as if the CA had failed; nothing crashes; one certificate a need',
    run: runSpoilt,
  },
  {
    row: 31,
    fault: 'an endless answer, JSON of 100,000 levels, 100,000 Link headers',
    expected: 'cut off at 1 MiB or refused: memory stays bounded; it goes on when the CA is well again',
    run: runTooMuch,
  },
]
