// The commands on PostgreSQL: the same questions to the state as on SQLite.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { planRenewal } from '../src/issuance/renewal-plan.ts'
import { openState } from '../src/state/state.ts'
import { runCommand, runJson } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { startPostgres } from './peers/postgres.ts'

const dayMs = 24 * 3_600_000

test('certs, orders, plan and limits on PostgreSQL', async (t) => {
  if (!requirePeer(t, 'postgres')) return
  await using postgres = await startPostgres()
  const url = await postgres.createDatabase('commands')
  using folder = makeTempFolder('commands')
  const config = join(folder.path, 'acmems.ini')
  writeFileSync(config, `[account]\ntype = local\n[state]\nurl = ${url}\n`)
  const nowMs = Date.now()
  {
    await using state = await openState(url, () => nowMs)
    for (let i = 0; i < 3; i++) {
      const need = {
        ...{ id: String(i).repeat(64), issuerKey: 'local:x', names: [`n${i}.example`], block: 'b' },
        ...{ postedBytes: Buffer.from(''), remoteAddress: '192.0.2.1' },
      }
      const record = await state.orders.claim(need, 'h', nowMs, nowMs + 1000)
      assert.ok(record !== undefined)
      const outcome =
        i === 0 ? ({ outcome: 'failed', reason: 'no' } as const) : ({ outcome: 'issued', serial: `A${i}` } as const)
      await state.orders.finish(record, 'h', outcome, nowMs)
      const validity = { notBeforeMs: nowMs - 50 * dayMs, notAfterMs: nowMs + 40 * dayMs }
      const plan = planRenewal(validity, undefined, nowMs, 0)
      await state.register.record(
        {
          ...{ ...need, ...validity, issuer: 'default', storage: 'default', profile: undefined, issuedBy: 'local:x' },
          ...{ serial: `A${i}`, issuedAtMs: nowMs, askedAtMs: nowMs, plan },
        },
        false,
      )
    }
  }
  type Named = { readonly names: readonly string[]; readonly serial: string }
  const [all, shown, failed, order, plan, limits, several] = await Promise.all([
    runJson<Named[]>(['certs', 'list', config]),
    runCommand(['certs', 'show', 'n1.example', config]),
    runJson<Named[]>(['orders', 'list', '--failed', config]),
    runJson<Named>(['orders', 'show', '22222222', config]),
    runJson<{ renewals: Named[] }>(['plan', config]),
    runJson<{ limits: unknown[] }>(['limits', config]),
    runCommand(['certs', 'show', 'n9.example', config]),
  ])
  assert.deepEqual(
    all.map(({ serial }) => serial),
    ['A0', 'A1', 'A2'],
  )
  assert.match(shown.out, /^serial +A1$/m)
  assert.deepEqual(
    failed.map(({ names }) => names),
    [['n0.example']],
  )
  assert.deepEqual([order.serial, plan.renewals.length, limits.limits], ['A2', 3, []])
  assert.equal(several.code, 1)
})
