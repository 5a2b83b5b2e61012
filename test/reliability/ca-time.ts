// The CA lives in a test's time: what it dates is dated by the test's clock.
import type { Clock } from '../../src/plugin-api.ts'
import { forgeChain } from '../faults/certificate-scenarios.ts'
import type { Rule } from '../faults/rule.ts'

const dayMs = 24 * 3_600_000

/** @param certificatesForMs its certificates begin now and last so long; absent: they are Pebble's own */
export function caAt(clock: Pick<Clock, 'nowMs'>, certificatesForMs?: number): Rule[] {
  const date = (inMs = 0) => new Date(clock.nowMs() + inMs)
  const rules: Rule[] = [
    { action: () => ({ do: 'headers', replace: { Date: date().toUTCString() } }) },
    {
      endpoint: ['newOrder', 'order', 'finalize', 'authorization'],
      action: {
        do: 'replaceJson',
        body: (object) => (object.expires === undefined ? object : { ...object, expires: date(dayMs).toISOString() }),
      },
    },
  ]
  if (certificatesForMs === undefined) return rules
  return [
    ...rules,
    {
      endpoint: 'certificate',
      action: {
        do: 'replaceBody',
        body: (chain) =>
          forgeChain(chain, { notBeforeMs: clock.nowMs() - 1000, notAfterMs: clock.nowMs() + certificatesForMs }),
      },
    },
  ]
}
