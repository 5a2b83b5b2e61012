// Row 15: the machine's clock is wrong.
import assert from 'node:assert/strict'
import { makeCsrs } from '../../bench/csrs.ts'
import { assertInvariants, ordersAt, startRig } from './rig.ts'
import type { Figures, Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const jumps: Readonly<Record<string, number>> = {
  '+1 h': hourMs,
  '-1 h': -hourMs,
  '+30 d': 30 * dayMs,
  '-30 d': -30 * dayMs,
  '+400 d': 400 * dayMs,
}

/** 35 days: 30 more make them due, and 400 more have ended them; Pebble has the right time. */
async function runJumps(full: boolean): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  await Promise.all(
    Object.entries(jumps).map(async ([name, jumpMs]) => {
      const clock = createTestClock()
      await using rig = await startRig({ clock, caRules: [], pebble: { validityPeriodSeconds: 35 * 24 * 3600 } })
      const csrs = makeCsrs('jump', full ? 20 : 3)
      const texts = new Map<string, string>()
      for (const csr of csrs) texts.set(csr, (await rig.ask(csr)).text)
      await rig.idle()
      const before = ordersAt(rig.pebble)
      clock.jump(jumpMs)
      for (let i = 0; i < 3; i++) {
        for (const [csr, text] of texts) {
          const reply = await rig.ask(csr)
          assert.equal(reply.text, text, `${name}: I1`)
        }
        // The timer looks.
        clock.pass(minuteMs)
        await rig.idle()
        if (i === 1) await rig.restart()
      }
      const extra = ordersAt(rig.pebble) - before
      assert.equal(extra, 0, name)
      assert.deepEqual([Math.abs(jumpMs) < dayMs || /the CA is believed/.test(rig.server.log())], [true], name)
      clock.jump(-jumpMs)
      clock.pass(minuteMs)
      await rig.idle()
      assert.equal(ordersAt(rig.pebble) - before, 0, `${name}, and back`)
      await assertInvariants(rig, { kept: texts })
      figures[`${name}: orders made, certificates withheld`] = `${extra}, 0`
    }),
  )
  return figures
}

/** A machine that starts with a wrong clock, and hosts that want new certificates. */
async function runNew(): Promise<Figures> {
  const figures: Record<string, string | number> = {}
  for (const [name, jumpMs] of Object.entries(jumps)) {
    const clock = createTestClock()
    clock.jump(jumpMs)
    await using rig = await startRig({ clock, caRules: [], pebble: { validityPeriodSeconds: 35 * 24 * 3600 } })
    const [csr = ''] = makeCsrs('new', 1)
    const reply = await rig.ask(csr)
    assert.equal(reply.status, 200, `${name}: ${reply.text}`)
    const again = await rig.ask(csr)
    assert.equal(again.text, reply.text, name)
    figures[name] = 'issued'
  }
  return figures
}

export const clockFaults: readonly Scenario[] = [
  {
    row: 15,
    fault: 'the clock jumps while certificates are good, and back; a restart in between',
    expected: 'no order, nothing withheld: before a certificate is held to have ended the CA’s Date is asked',
    run: runJumps,
  },
  {
    row: 15,
    fault: 'the server starts with a wrong clock, and a host wants a new certificate',
    expected: 'issued, and answered again',
    run: runNew,
  },
]
