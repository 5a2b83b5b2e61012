import { Command } from 'commander'
import { isInUse } from '../issuance/records.ts'
import { dueAtMs } from '../issuance/renewal-plan.ts'
import { allEntries, nextRenewalOf } from './certificate-view.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { parseNumberOption } from './number-option.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { bucketKey, forecast } from './plan-forecast.ts'
import { formatPlan, heldUp, type Planned, planJson } from './plan-text.ts'
import { createBucketFinder } from './renewal-buckets.ts'
import { printJson } from './table.ts'

type Flags = ConfigFlags & { readonly days: number; readonly json: boolean }

const dayMs = 24 * 3_600_000

/** `acmems plan`: what will be renewed, and where a limit will be in the way. */
export function planCommand(): Command {
  return withConfigFlags(new Command('plan'))
    .summary('say what will be renewed when, and where a limit would be hit')
    .description(
      'Say what will be renewed when, and on which day which rate limit would hold it up. Counted are certificates in\nuse, on the supposition that hosts go on asking and that the CA goes on saying what it says now.',
    )
    .argument('[config...]', 'configuration files')
    .option('--days <n>', 'so far ahead', parseNumberOption, 30)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems plan /etc/acmems/acmems.ini\n  acmems plan --days 90 --json /etc/acmems/acmems.ini',
    )
    .action(showPlan)
}

async function showPlan(files: string[], flags: Flags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const nowMs = desk.clock.nowMs()
  const planned = await planRenewals(desk, nowMs, nowMs + flags.days * dayMs)
  const held = heldUp(planned)
  if (flags.json) printJson(planJson(planned, held, nowMs, flags.days))
  else process.stdout.write(formatPlan(planned, held, flags.days))
}

async function planRenewals(desk: Desk, nowMs: number, untilMs: number): Promise<Planned[]> {
  const { state, config } = desk
  const used = new Map((await state.rates.list(nowMs)).map(({ bucket, fullAtMs }) => [bucketKey(bucket), fullAtMs]))
  const bucketsOf = await createBucketFinder(config)
  const shown = new Map<string, Pick<Planned, 'entry' | 'why'>>()
  const certificates = []
  for await (const entry of allEntries(state.register)) {
    const { id, plan, names, block, issuer, notBeforeMs, notAfterMs } = entry
    const next = nextRenewalOf(entry)
    if ((!isInUse(entry) && plan.asked !== true) || next === undefined) continue
    const due = Math.max(dueAtMs(plan), nowMs)
    if (due > untilMs) continue
    shown.set(id, { entry: { names, block, issuer }, why: next.why })
    const buckets = { first: bucketsOf(entry, true), later: bucketsOf(entry, false) }
    certificates.push({
      ...{ id, notBeforeMs, notAfterMs, dueAtMs: due, leftMs: notAfterMs - Math.min(plan.ownAtMs, plan.backstopAtMs) },
      bucketsOf: (isFirst: boolean) => (isFirst ? buckets.first : buckets.later),
    })
  }
  const seen = new Set<string>()
  return forecast(certificates, used, nowMs, untilMs).flatMap((renewal) => {
    const known = shown.get(renewal.id)
    const why = seen.has(renewal.id) ? 'the one after it' : (known?.why ?? '')
    seen.add(renewal.id)
    return known === undefined ? [] : [{ ...renewal, ...known, why }]
  })
}
