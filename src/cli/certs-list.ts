import { Command } from 'commander'
import type { StoredEntry } from '../state/certificate-register.ts'
import { subjectKey } from '../state/deployments.ts'
import { shortId } from './certificate-choice.ts'
import { allEntries, certificateJson, nextRenewalOf, stateOf } from './certificate-view.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { parseNumberOption } from './number-option.ts'
import { openDesk } from './open-installation.ts'
import { describeServed, servedJson } from './served-view.ts'
import { formatNames, formatTable, formatTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean; readonly expiring?: number; readonly name?: string }

const dayMs = 24 * 3_600_000

export function certsListCommand(): Command {
  return withConfigFlags(new Command('list'))
    .summary('list the certificates, the nearest end first')
    .description(
      'List the certificates, the nearest end first, and when and why each is renewed next.\nStates: in use; not asked for (by any host since it was issued); superseded (a newer request for the same\nnames came); failing (its renewal failed last); revoked; expired.',
    )
    .argument('[config...]', 'configuration files')
    .option('--expiring <days>', 'only what ends within so many days', parseNumberOption)
    .option('--name <name>', 'only what has this name; * stands for anything')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      "\nExamples:\n  acmems certs list /etc/acmems/acmems.ini\n  acmems certs list --expiring 14 /etc/acmems/acmems.ini\n  acmems certs list --name '*.example.org' --json /etc/acmems/acmems.ini",
    )
    .action(listCertificates)
}

async function listCertificates(files: string[], flags: Flags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const nowMs = desk.clock.nowMs()
  const isWanted = createFilter(flags, nowMs)
  const sightings = await desk.state.deployments.allSightings()
  const [rows, values]: [string[][], unknown[]] = [[], []]
  for await (const entry of allEntries(desk.state.register)) {
    if (!isWanted(entry)) continue
    const isSuperseded = ['superseded', 'revoked', 'expired'].includes(stateOf(entry, nowMs))
    const seen = isSuperseded ? [] : (sightings.get(subjectKey(entry)) ?? [])
    if (flags.json) values.push({ ...certificateJson(entry, nowMs), served: servedJson(seen) })
    else rows.push(rowOf(entry, nowMs, describeServed(seen, entry.serial)))
  }
  if (flags.json) printJson(values)
  else if (rows.length === 0) process.stdout.write('no certificates\n')
  else
    process.stdout.write(
      formatTable(
        ['ID', 'NAMES', 'BLOCK', 'ISSUER', 'SERIAL', 'NOT AFTER', 'NEXT RENEWAL', 'WHY', 'SERVED', 'STATE'],
        rows,
      ),
    )
}

function createFilter({ expiring, name }: Flags, nowMs: number): (entry: StoredEntry) => boolean {
  const pattern = name === undefined ? undefined : globPattern(name.toLowerCase().replace(/\.$/, ''))
  return ({ notAfterMs, names }) =>
    (expiring === undefined || notAfterMs - nowMs <= expiring * dayMs) &&
    (pattern === undefined || names.some((one) => pattern.test(one)))
}

function globPattern(text: string): RegExp {
  const literal = (part: string) => part.replace(/[^\w]/g, '\\$&')
  return new RegExp(`^${text.split('*').map(literal).join('.*')}$`)
}

function rowOf(entry: StoredEntry, nowMs: number, served: string): string[] {
  const next = nextRenewalOf(entry)
  const state = stateOf(entry, nowMs)
  return [
    shortId(entry.id),
    formatNames(entry.names),
    entry.block,
    entry.issuer,
    shortId(entry.serial),
    formatTime(entry.notAfterMs),
    next === undefined ? '-' : formatTime(next.atMs),
    next?.why ?? '-',
    served,
    state === 'failing' ? `failing: ${entry.lastError}` : state,
  ]
}
