import { Command, InvalidArgumentError } from 'commander'
import type { AuditEvent, AuditWish } from '../state/audit-events.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { parseCountOption } from './number-option.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { formatNames, formatTable, formatTime, isoTime, printJson } from './table.ts'

type Flags = ConfigFlags & {
  readonly json: boolean
  readonly max: number
  readonly since?: number
  readonly kind?: string
  readonly name?: string
}

const dayMs = 86_400_000
const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: dayMs, w: 7 * dayMs }

/** `acmems audit`: who got what, and who was refused. */
export function auditCommand(): Command {
  return withConfigFlags(new Command('audit'))
    .summary('list what happened: certificates issued, requests refused, what was changed by hand')
    .description(
      'List what happened, the newest first: certificates that were issued and revoked, requests that were refused or\nfailed, and what was done to accounts. Kept for 400 days.',
    )
    .argument('[config...]', 'configuration files')
    .option('--since <age>', 'not older than this: 90m, 12h, 7d, 4w', parseAge)
    .option(
      '--kind <kind>',
      'only these: certificate.issued, certificate.revoked, request.rejected, issuance.failed, …',
    )
    .option('--name <name>', 'only those about this name')
    .option('--max <n>', 'so many at most', parseCountOption, 50)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems audit --since 7d /etc/acmems/acmems.ini\n  acmems audit --kind request.rejected /etc/acmems/acmems.ini\n  acmems audit --name www.example.org --json /etc/acmems/acmems.ini',
    )
    .action(listEvents)
}

async function listEvents(files: string[], flags: Flags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const wish: AuditWish = {
    ...(flags.since === undefined ? {} : { sinceMs: desk.clock.nowMs() - flags.since }),
    ...(flags.kind === undefined ? {} : { kind: flags.kind }),
  }
  const events = await eventsAbout(desk.state, wish, flags)
  if (flags.json) printJson(events.map((event) => ({ at: isoTime(event.atMs), ...withoutTime(event) })))
  else if (events.length === 0) process.stdout.write('nothing happened\n')
  else
    process.stdout.write(
      formatTable(
        ['TIME', 'EVENT', 'NAMES', 'BLOCK', 'FROM', 'FACTS'],
        events.map((event) => [
          formatTime(event.atMs),
          event.kind,
          formatNames(event.names),
          event.block ?? '',
          event.remoteAddress ?? 'here',
          Object.entries(event.facts)
            .map(([key, fact]) => `${key}=${fact}`)
            .join(' '),
        ]),
      ),
    )
}

/** Who knows a name finds also what is only written down under its alias. */
async function eventsAbout({ audit, aliases }: Desk['state'], wish: AuditWish, flags: Flags): Promise<AuditEvent[]> {
  const name = flags.name?.toLowerCase()
  if (name === undefined) return await audit.list(flags.max, wish)
  const named = await audit.list(flags.max, { ...wish, name })
  const alias = aliases.current?.(name)
  const aliased = alias === undefined ? [] : await audit.list(flags.max, { ...wish, name: alias })
  return [...named, ...aliased].sort((left, right) => right.atMs - left.atMs).slice(0, flags.max)
}

function withoutTime({ kind, names, block, remoteAddress, facts }: AuditEvent) {
  return { kind, names, block, remoteAddress, facts }
}

function parseAge(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,5})([mhdw])$/.exec(text) ?? []
  const each = unitMs[unit]
  if (each === undefined) throw new InvalidArgumentError('It must be like 90m, 12h, 7d or 4w.')
  return Number(count) * each
}
