import { Command } from 'commander'
import { auditEventOf } from '../audit-log.ts'
import { wakeAtMs } from '../issuance/renewal-plan.ts'
import type { Look, Managed } from '../managed/upkeep.ts'
import type { IssuanceEvent } from '../plugin-api.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { runningServers } from './running-servers.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & { readonly force: boolean; readonly dryRun: boolean; readonly json: boolean }
type Done = { readonly name: string; readonly look: Look | { readonly outcome: 'planned'; readonly why: string } }

/** `acmems renew`: what a server does by timer for its [certificate] sections, once. */
export function renewCommand(): Command {
  return withConfigFlags(new Command('renew'))
    .summary('get, renew and install the certificates of this machine, once')
    .description(
      'Look after the [certificate] sections once: get what is missing or due, install it, run the hooks. No server is\nneeded: where the CA asks for a name this command answers, for as long as it runs. For cron: it says nothing\nwhen there is nothing to do.\nAn argument with a slash in it or with .ini at its end is a configuration file, every other one a certificate.',
    )
    .argument('[name...]', 'names of [certificate] sections (default: all), then configuration files')
    .option('--force', 'renew now, though it is not due, and do not wait after failures', false)
    .option('--dry-run', 'only say what would be done', false)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems renew /etc/acmems/acmems.ini\n  acmems renew web --force /etc/acmems/acmems.ini\n  acmems renew --dry-run /etc/acmems/acmems.ini',
    )
    .action(renew)
}

async function renew(words: string[], flags: Flags): Promise<void> {
  const isFile = (word: string) => word.includes('/') || word.endsWith('.ini')
  await using desk = await openDesk(words.filter(isFile), flags, { state: 'made' })
  desk.stopOnSignal()
  const { createCertificateWork, createIssuanceOver } = await import('../certificate-work.ts')
  const { openManagedCertificates } = await import('../managed-certificates.ts')
  const runtime = await desk.openRuntime()
  const { state } = desk
  const parts = { ...desk, boxes: state.boxes, issuers: runtime.issuers }
  const managed = await openManagedCertificates(desk.config.certificates, parts)
  const chosen = choose(
    managed,
    words.filter((word) => !isFile(word)),
  )
  const events: IssuanceEvent[] = []
  const { renewals, upkeep } = createCertificateWork({
    ...desk,
    issuance: createIssuanceOver(desk),
    runtime: () => runtime,
    managed: () => chosen,
    tell: (event) => events.push(event),
    progress: tellProgress,
  })
  if (flags.dryRun) {
    const done: Done[] = []
    for (const one of chosen) {
      const why = (await upkeep.plan(one, flags)) ?? (await isDue(desk, one))
      const name = one.section.name
      done.push({ name, look: why === undefined ? { outcome: 'in order' } : { outcome: 'planned', why } })
    }
    report(done, [], flags.json)
    return
  }
  await using _ = await openResponders(desk, runtime)
  const done: Done[] = []
  for (const one of chosen) done.push({ name: one.section.name, look: await lookAfter(one) })
  const hookFailures = await upkeep.runHooks()
  await state.audit.add(events.map(auditEventOf))
  for (const event of events) await runtime.notify(event)
  report(done, hookFailures, flags.json)

  async function lookAfter(one: Managed): Promise<Look> {
    const look = await upkeep.lookAt(one, flags)
    if (look.outcome !== 'in order') return look
    const entry = await findEntry(desk, one)
    if (entry === undefined || wakeAtMs(entry.plan, entry.notAfterMs) > desk.clock.nowMs()) return look
    // The CA is asked when it wants the certificate replaced; where that is now, the next one is made.
    await renewals.lookAt(entry)
    return await upkeep.lookAt(one)
  }
}

function choose(managed: readonly Managed[], names: readonly string[]): readonly Managed[] {
  if (managed.length === 0) throw new UsageError('the configuration has no [certificate] section')
  const known = managed.map(({ section }) => section.name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new UsageError(`there is no [certificate "${unknown}"]; there are ${known.join(', ')}`)
  return names.length === 0 ? managed : managed.filter(({ section }) => names.includes(section.name))
}

async function findEntry({ state }: Desk, { holding, block }: Managed) {
  const current = await holding.current()
  if (current === undefined) return undefined
  const { allEntries } = await import('./certificate-view.ts')
  for await (const entry of allEntries(state.register))
    if (entry.block === block && Buffer.from(entry.postedBytes).equals(current.postedBytes)) return entry
  return undefined
}

async function isDue(desk: Desk, managed: Managed): Promise<string | undefined> {
  const entry = await findEntry(desk, managed)
  const { dueAtMs } = await import('../issuance/renewal-plan.ts')
  return entry !== undefined && dueAtMs(entry.plan) <= desk.clock.nowMs()
    ? 'a certificate is asked for, because it is due'
    : undefined
}

/** A server that runs on this state answers the CA's questions; without one we do. */
async function openResponders(desk: Desk, runtime: Awaited<ReturnType<Desk['openRuntime']>>): Promise<AsyncDisposable> {
  if ((await runningServers(desk.state, desk.clock.nowMs())).length > 0)
    return { [Symbol.asyncDispose]: async () => undefined }
  const { createResponders } = await import('../responders.ts')
  const responders = createResponders(desk, () => runtime.responderZones)
  await responders.change(runtime.responderAddresses)
  return { [Symbol.asyncDispose]: () => responders.close() }
}

/** On a terminal only: cron sends a mail for every line. */
function tellProgress(name: string, text: string): void {
  if (process.stderr.isTTY === true) process.stderr.write(`${name}: ${text}\n`)
}

function report(done: readonly Done[], hookFailures: readonly string[], json: boolean): void {
  const failed = done.filter(({ look }) => ['failed', 'waiting', 'busy'].includes(look.outcome))
  if (failed.length > 0 || hookFailures.length > 0) process.exitCode = 1
  if (json) {
    printJson({ certificates: done.map(({ name, look }) => ({ name, ...look })), hookFailures })
    return
  }
  for (const { name, look } of done) {
    switch (look.outcome) {
      case 'in order':
        if (process.stdout.isTTY === true) process.stdout.write(`${name}: in order\n`)
        break
      case 'installed':
      case 'repaired':
        process.stdout.write(`${name}: ${look.outcome} ${look.serial}, because ${look.why}\n`)
        break
      case 'planned':
        process.stdout.write(`${name}: ${look.why}\n`)
        break
      case 'failed':
        process.stderr.write(`${name}: failed: ${look.reason}\n`)
        break
      case 'waiting':
        process.stderr.write(
          `${name}: failed before (${look.reason}); tried again after ${new Date(look.untilMs).toISOString()}, or now with --force\n`,
        )
        break
      case 'busy':
        process.stderr.write(`${name}: another process looks after it now\n`)
        break
      default:
        look satisfies never
    }
  }
  for (const reason of hookFailures) process.stderr.write(`hook: ${reason}\n`)
}
