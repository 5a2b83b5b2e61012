import { Command } from 'commander'
import { isInUse } from '../issuance/records.ts'
import { dueAtMs } from '../issuance/renewal-plan.ts'
import { limitMeanings } from '../plugins/issuers/rate-limits.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import { shortId } from './certificate-choice.ts'
import { allEntries, nextRenewalOf } from './certificate-view.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { parseNumberOption } from './number-option.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { bucketKey, type ForecastRenewal, forecast } from './plan-forecast.ts'
import { createBucketFinder } from './renewal-buckets.ts'
import { formatNames, formatTable, formatTime, isoTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly days: number; readonly json: boolean }

const dayMs = 24 * 3_600_000
/** More than this is shown by the day. */
const maxListed = 40

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

type Planned = ForecastRenewal & {
  readonly entry: Pick<StoredEntry, 'names' | 'block' | 'issuer'>
  readonly why: string
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

type HeldUp = {
  readonly issuer: string
  readonly limit: string
  readonly subject: string
  readonly firstAtMs: number
  count: number
  lastAtMs: number
}

/** By limit: from when on, how many, and when the last of them gets through. */
function heldUp(planned: readonly Planned[]): HeldUp[] {
  const found = new Map<string, HeldUp>()
  for (const { heldUpBy, wantedAtMs, atMs, entry } of planned) {
    if (heldUpBy === undefined) continue
    const key = `${entry.issuer}\0${heldUpBy.limit}\0${heldUpBy.subject}`
    const known = found.get(key) ?? {
      ...{ issuer: entry.issuer, limit: heldUpBy.limit, subject: heldUpBy.subject },
      ...{ firstAtMs: wantedAtMs, count: 0, lastAtMs: atMs },
    }
    known.count += 1
    known.lastAtMs = Math.max(known.lastAtMs, atMs)
    found.set(key, known)
  }
  return [...found.values()]
}

function dayOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10)
}

function countByDay(planned: readonly Planned[]): { day: string; renewals: number; heldUp: number }[] {
  const days = new Map<string, { day: string; renewals: number; heldUp: number }>()
  for (const { wantedAtMs, heldUpBy } of planned) {
    const day = dayOf(wantedAtMs)
    const counted = days.get(day) ?? { day, renewals: 0, heldUp: 0 }
    counted.renewals += 1
    if (heldUpBy !== undefined) counted.heldUp += 1
    days.set(day, counted)
  }
  return [...days.values()]
}

function planJson(planned: readonly Planned[], held: readonly HeldUp[], nowMs: number, days: number) {
  return {
    from: isoTime(nowMs),
    days,
    perDay: countByDay(planned),
    renewals: planned.map(({ id, entry, wantedAtMs, atMs, why, heldUpBy, tooLate }) => ({
      ...{ id, ...entry, wanted: isoTime(wantedAtMs), at: isoTime(atMs), why, heldUpBy, tooLate },
    })),
    limits: held.map(({ firstAtMs, lastAtMs, ...limit }) => ({
      ...limit,
      day: dayOf(firstAtMs),
      first: isoTime(firstAtMs),
      last: isoTime(lastAtMs),
    })),
  }
}

function formatPlan(planned: readonly Planned[], held: readonly HeldUp[], days: number): string {
  if (planned.length === 0) return `nothing is to be renewed in the next ${days} days\n`
  const late = planned.filter(({ tooLate }) => tooLate)
  return [
    planned.length > maxListed ? formatDays(planned) : formatRenewals(planned),
    `\n${planned.length} renewals in the next ${days} days; `,
    held.length === 0 ? 'no limit is hit\n' : `limits are hit:\n\n${formatHeldUp(held)}`,
    ...late
      .slice(0, maxListed)
      .map(({ entry, atMs }) => `${formatNames(entry.names)} ends before it can be renewed, at ${formatTime(atMs)}\n`),
  ].join('')
}

function formatDays(planned: readonly Planned[]): string {
  const rows = countByDay(planned).map(({ day, renewals, heldUp: held }) => [day, String(renewals), String(held)])
  return formatTable(['DAY', 'RENEWALS', 'HELD UP'], rows)
}

function formatRenewals(planned: readonly Planned[]): string {
  const rows = planned.map(({ id, entry, wantedAtMs, atMs, why, heldUpBy }) => {
    const limit = heldUpBy === undefined ? '' : `held up until ${formatTime(atMs)} by ${heldUpBy.limit}`
    return [formatTime(wantedAtMs), shortId(id), formatNames(entry.names), entry.block, entry.issuer, why, limit]
  })
  return formatTable(['WHEN', 'ID', 'NAMES', 'BLOCK', 'ISSUER', 'WHY', ''], rows)
}

function formatHeldUp(held: readonly HeldUp[]): string {
  return formatTable(
    ['DAY', 'ISSUER', 'LIMIT', 'SUBJECT', 'HELD UP', 'LAST AT'],
    held.map(({ firstAtMs, issuer, limit, subject, count, lastAtMs }) => [
      dayOf(firstAtMs),
      issuer,
      limitMeanings[limit] ?? limit,
      subject,
      String(count),
      formatTime(lastAtMs),
    ]),
  )
}
