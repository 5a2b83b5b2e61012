import { Command } from 'commander'
import type { StoredEntry } from '../state/certificate-register.ts'
import { chooseCertificate } from './certificate-choice.ts'
import { certificateJson, nextRenewalOf, stateOf } from './certificate-view.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { describeStorage, findKeptChain } from './kept-chain.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { pickUpsJson, servedFacts, servedJson } from './served-view.ts'
import { formatFacts, formatTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean; readonly pem: boolean }

export function certsShowCommand(): Command {
  return withConfigFlags(new Command('show'))
    .summary('show all that is known of a certificate')
    .description("Show all that is known of a certificate: the CA's renewal window, the next attempt, the last error.")
    .argument('<certificate>', 'its id, serial or name')
    .argument('[config...]', 'configuration files')
    .option('--pem', 'print the certificate and its intermediates, and nothing else', false)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems certs show www.example.org /etc/acmems/acmems.ini\n  acmems certs show 3fa94c10 --pem /etc/acmems/acmems.ini\n  acmems certs show www.example.org --json /etc/acmems/acmems.ini',
    )
    .action(showCertificate)
}

async function showCertificate(text: string, files: string[], flags: Flags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const nowMs = desk.clock.nowMs()
  const entry = await chooseCertificate(desk.state.register, text, nowMs)
  const [seen, pickUps] = flags.pem
    ? [[], []]
    : [await desk.state.deployments.sightingsOf(entry), await desk.state.deployments.pickUpsOf(entry)]
  if (!flags.pem && !flags.json) {
    const facts = [...factsOf(desk, entry, nowMs), ...servedFacts(seen, pickUps, entry.serial)]
    process.stdout.write(formatFacts(facts))
    return
  }
  const kept = await findKeptChain(desk, entry)
  if (flags.json)
    printJson({
      ...certificateJson(entry, nowMs),
      keptIn: describeStorage(desk, entry),
      served: servedJson(seen),
      pickUps: pickUpsJson(pickUps),
      pem: kept?.chain.pem,
    })
  else if (kept === undefined) throw new Error(`the certificate is not in ${describeStorage(desk, entry)} any more`)
  else process.stdout.write(kept.chain.pem)
}

function factsOf(desk: Desk, entry: StoredEntry, nowMs: number): [string, string | undefined][] {
  const { plan } = entry
  const next = nextRenewalOf(entry)
  const time = (atMs: number | undefined) => (atMs === undefined ? undefined : formatTime(atMs))
  const window = plan.info && `${formatTime(plan.info.startMs)} to ${formatTime(plan.info.endMs)}`
  return [
    ['names', entry.names.join(' ')],
    ['state', stateOf(entry, nowMs)],
    ['id', entry.id],
    ['serial', entry.serial],
    ['block', entry.block],
    ['issuer', entry.issuer],
    ['issued by', entry.issuedBy],
    ['profile', entry.profile],
    ['valid', `${formatTime(entry.notBeforeMs)} to ${formatTime(entry.notAfterMs)}`],
    ['issued', formatTime(entry.issuedAtMs)],
    ['issued to', entry.remoteAddress],
    ['last asked for', formatTime(entry.askedAtMs)],
    ['superseded', time(entry.supersededAtMs)],
    ['revoked', time(entry.revokedAtMs)],
    ['next renewal', next === undefined ? 'when a host asks' : `${formatTime(next.atMs)} (${next.why})`],
    ["the CA's window", window],
    ['moment in it', time(plan.chosenAtMs)],
    ['explanation', plan.info?.explanationUrl],
    ['latest moment', formatTime(plan.backstopAtMs)],
    ['next look', entry.wakeAtMs === undefined ? 'none' : formatTime(entry.wakeAtMs)],
    ['failures', plan.failures === 0 ? undefined : String(plan.failures)],
    ['last error', entry.lastError],
    ['kept in', describeStorage(desk, entry)],
  ]
}
