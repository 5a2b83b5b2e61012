import { Command } from 'commander'
import { isInUse } from '../issuance/records.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import { chooseCertificate } from './certificate-choice.ts'
import { allEntries } from './certificate-view.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { renewHere } from './renew-here.ts'
import { type Renewal, waitForRenewals } from './renewal-watch.ts'
import { runningServers } from './running-servers.ts'
import { formatNames, isoTime, printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & { readonly all: boolean; readonly wait: boolean; readonly json: boolean }

export function certsRenewCommand(): Command {
  return withConfigFlags(new Command('renew'))
    .summary('renew certificates now')
    .description(
      'Renew certificates now, though they are still good. A server that runs on this state does it; where none runs\nthis command does it itself, and listens where the CA asks for the names.\nAn argument with a slash in it or with .ini at its end is a configuration file, every other one a certificate.',
    )
    .argument('[certificate...]', 'ids, serials or names, then configuration files')
    .option('--all', 'every certificate that is in use', false)
    .option('--no-wait', 'leave it to the server, and do not wait for what comes of it')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems certs renew www.example.org /etc/acmems/acmems.ini\n  acmems certs renew 3fa94c10 mail.example.org ./acmems.ini\n  acmems certs renew --all --no-wait /etc/acmems/acmems.ini',
    )
    .action(renewCertificates)
}

async function renewCertificates(words: string[], flags: Flags): Promise<void> {
  const isFile = (word: string) => word.includes('/') || word.endsWith('.ini')
  const wanted = words.filter((word) => !isFile(word))
  if (flags.all === wanted.length > 0)
    throw new UsageError('say which certificates (ids, serials or names), or --all for every one in use')
  await using desk = await openDesk(words.filter(isFile), flags)
  const entries = await chooseEntries(desk, wanted)
  const nowMs = desk.clock.nowMs()
  const servers = await runningServers(desk.state, nowMs)
  if (servers.length === 0 && flags.wait) {
    report(await renewHere(desk, entries, tellProgress), flags.json)
    return
  }
  for (const { id } of entries) await desk.state.register.askRenewal(id, nowMs)
  if (flags.wait) report(await waitForRenewals(desk, entries, tellProgress), flags.json)
  else if (flags.json) printJson(entries.map(({ id, names }) => ({ id, names, outcome: 'asked' })))
  else {
    const who = servers.length === 0 ? 'no server runs now: it is done when one starts' : 'the server does it'
    process.stdout.write(`${entries.length} to be renewed; ${who}\n`)
  }
}

async function chooseEntries({ state, clock }: Desk, wanted: readonly string[]): Promise<StoredEntry[]> {
  const chosen = new Map<string, StoredEntry>()
  for (const text of wanted) {
    const entry = await chooseCertificate(state.register, text, clock.nowMs())
    chosen.set(entry.id, entry)
  }
  if (wanted.length === 0)
    for await (const entry of allEntries(state.register)) if (isInUse(entry)) chosen.set(entry.id, entry)
  return [...chosen.values()]
}

/** On a terminal only: a script wants the outcome. */
function tellProgress(entry: StoredEntry, what: string): void {
  if (process.stderr.isTTY === true) process.stderr.write(`${formatNames(entry.names)}: ${what}\n`)
}

function report(renewals: readonly Renewal[], json: boolean): void {
  if (renewals.some(({ outcome }) => outcome !== 'renewed')) process.exitCode = 1
  if (json) {
    printJson(
      renewals.map(({ entry: { id, names, serial }, notAfterMs, ...renewal }) => ({
        ...{ id, names, replaced: serial },
        ...renewal,
        notAfter: isoTime(notAfterMs),
      })),
    )
    return
  }
  if (renewals.length === 0) process.stdout.write('no certificate is in use: nothing to renew\n')
  for (const { entry, outcome, serial, notAfterMs, reason } of renewals) {
    const names = formatNames(entry.names)
    const good = notAfterMs === undefined ? '' : `, good until ${new Date(notAfterMs).toISOString()}`
    if (outcome === 'renewed') process.stdout.write(`${names}: renewed, ${entry.serial} -> ${serial}${good}\n`)
    else process.stderr.write(`${names}: ${outcome}: ${reason}\n`)
  }
}
