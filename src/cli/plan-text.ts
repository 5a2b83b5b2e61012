import { limitMeanings } from '../plugins/issuers/rate-limits.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import { shortId } from './certificate-choice.ts'
import type { ForecastRenewal } from './plan-forecast.ts'
import { formatNames, formatTable, formatTime, isoTime } from './table.ts'

/** More than this is shown by the day. */
const maxListed = 40

/** A renewal that is to come, with what it is shown by. */
export type Planned = ForecastRenewal & {
  readonly entry: Pick<StoredEntry, 'names' | 'block' | 'issuer'>
  readonly why: string
}

export type HeldUp = {
  readonly issuer: string
  readonly limit: string
  readonly subject: string
  readonly firstAtMs: number
  count: number
  lastAtMs: number
}

/** By limit: from when on, how many, and when the last of them gets through. */
export function heldUp(planned: readonly Planned[]): HeldUp[] {
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

/** The whole plan, for scripts. */
export function planJson(planned: readonly Planned[], held: readonly HeldUp[], nowMs: number, days: number) {
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

/** For people. */
export function formatPlan(planned: readonly Planned[], held: readonly HeldUp[], days: number): string {
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
