import { Command } from 'commander'
import { availableAtMs, remainingIn } from '../acme/rate-limit.ts'
import type { AliasOf } from '../issuance/discretion.ts'
import type { Outage } from '../issuance/records.ts'
import { limitMeanings } from '../plugins/issuers/rate-limits.ts'
import type { StoredBucket } from '../state/rate-ledger.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { issuerNames } from './issuer-names.ts'
import { openDesk } from './open-installation.ts'
import { formatSecond, formatSpan, formatTable, formatTime, isoTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean }

/** `acmems limits`: what the CAs still allow, and which of them are away. */
export function limitsCommand(): Command {
  return withConfigFlags(new Command('limits'))
    .summary("show what is used of the CAs' rate limits, and which CAs are away")
    .description(
      'Show what is used of the rate limits of each CA, by the ledger of the state (the CA itself is not asked), and\nwhich issuers do not work now. What is not shown is wholly unused.',
    )
    .argument('[config...]', 'configuration files')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems limits /etc/acmems/acmems.ini\n  acmems limits --json /etc/acmems/acmems.ini',
    )
    .action(showLimits)
}

async function showLimits(files: string[], flags: Flags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const nowMs = desk.clock.nowMs()
  const issuerName = issuerNames(desk.config)
  const stored = withTotals(await desk.state.rates.list(nowMs), desk.state.aliases.current)
  const limits = stored.map((one) => limitView(one, issuerName, nowMs))
  const outages = (await desk.state.outages.list()).map((outage) => outageView(outage, issuerName))
  if (flags.json) {
    printJson({
      limits: limits.map(({ freeAtMs, ...limit }) => ({ ...limit, freeAt: isoTime(freeAtMs) })),
      outages: outages.map(outageJson),
    })
    return
  }
  process.stdout.write(
    limits.length === 0
      ? 'no limit is used\n'
      : formatTable(
          ['ISSUER', 'LIMIT', 'SUBJECT', 'USED', 'OF', 'FREE'],
          limits.map((limit) => [
            limit.issuer,
            limit.meaning,
            limit.subject,
            String(limit.used),
            `${limit.capacity} in ${formatSpan(limit.periodSeconds * 1000)}`,
            limit.freeAtMs <= nowMs ? 'now' : formatSecond(limit.freeAtMs),
          ]),
        ),
  )
  if (outages.length > 0) process.stdout.write(`\n${formatOutages(outages)}`)
}

/** The bucket with the alias has also what was not recorded: where its name is known it is shown, once. */
function withTotals(stored: readonly StoredBucket[], aliasOf: AliasOf | undefined): readonly StoredBucket[] {
  if (aliasOf === undefined) return stored
  const keyOf = ({ bucket }: StoredBucket, subject: string) => `${bucket.issuerKey} ${bucket.limit} ${subject}`
  const all = new Map(stored.map((one) => [keyOf(one, one.bucket.subject), one]))
  const shown = new Map(all)
  for (const [key, one] of all) {
    const aliasKey = keyOf(one, aliasOf(one.bucket.subject))
    const total = all.get(aliasKey)
    if (total === undefined) continue
    shown.set(key, { ...one, fullAtMs: Math.max(one.fullAtMs, total.fullAtMs) })
    shown.delete(aliasKey)
  }
  return [...shown.values()]
}

function limitView({ bucket, fullAtMs }: StoredBucket, issuerName: (key: string) => string, nowMs: number) {
  const { issuerKey, limit, subject, capacity, periodMs } = bucket
  return {
    issuer: issuerName(issuerKey),
    limit,
    meaning: limitMeanings[limit] ?? limit,
    subject,
    used: capacity - remainingIn(bucket, fullAtMs, nowMs),
    capacity,
    periodSeconds: periodMs / 1000,
    freeAtMs: Math.max(nowMs, availableAtMs(bucket, fullAtMs, nowMs, 0)),
  }
}

export type OutageView = Omit<Outage, 'issuerKey'> & { readonly issuer: string }

export function outageView({ issuerKey, ...outage }: Outage, issuerName: (key: string) => string): OutageView {
  return { issuer: issuerName(issuerKey), ...outage }
}

export function outageJson({ sinceMs, untilMs, ...outage }: OutageView) {
  return { ...outage, since: isoTime(sinceMs), triedAgainAt: isoTime(untilMs) }
}

function formatOutages(outages: readonly OutageView[]): string {
  return formatTable(
    ['AWAY', 'SINCE', 'FAILURES', 'TRIED AGAIN', 'REASON'],
    outages.map(({ issuer, sinceMs, failures, untilMs, reason }) => [
      issuer,
      formatTime(sinceMs),
      String(failures),
      formatSecond(untilMs),
      reason,
    ]),
  )
}
