import { hostname } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { auditEventOf } from '../audit-log.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import { lockFolder } from '../folder-lock.ts'
import type { RegisterEntry } from '../issuance/records.ts'
import { dueAtMs, wakeAtMs } from '../issuance/renewal-plan.ts'
import type { Look, Managed } from '../managed/upkeep.ts'
import { releaseDeadHolders } from '../order-holder.ts'
import type { IssuanceEvent } from '../plugin-api.ts'
import { isAlive } from '../process-id.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { openInstaller } from './installer-choice.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { runningServers } from './running-servers.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

/** How long others may be at work before we give up. */
const othersMs = 15 * 60_000
const pauseMs = 500

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
  // What fails is told at the end, once.
  await using desk = await openDesk(words.filter(isFile), flags, { state: 'made', logLevel: 'error' })
  desk.stopOnSignal()
  const { createCertificateWork, createIssuanceOver } = await import('../certificate-work.ts')
  const { openManagedCertificates } = await import('../managed-certificates.ts')
  const runtime = await desk.openRuntime()
  const { state } = desk
  await using installerParts = new AsyncDisposableStack()
  const installer = await openInstaller(desk, flags, installerParts)
  const { mgmtTls } = desk.config
  const parts = { ...desk, boxes: state.boxes, issuers: runtime.issuers, installer, mgmtTls }
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
    for (const one of chosen) done.push({ name: one.section.name, look: await plan(one) })
    report(done, [], flags.json)
    return
  }
  await using _alone = await waitForTurn(desk)
  await releaseDeadHolders(state.orders, desk.holder, isAlive)
  await using responders = new AsyncDisposableStack()
  // A name server or web server of others may have the port, as long as there is nothing to answer.
  if ((await Promise.all(chosen.map(plan))).some(({ outcome }) => outcome !== 'in order'))
    responders.use(await openResponders(desk, runtime))
  const done: Done[] = []
  for (const one of chosen) done.push({ name: one.section.name, look: await lookPatiently(one) })
  const changed = new Set(done.flatMap(({ name, look }) => ('serial' in look ? [name] : [])))
  const hookFailures = [
    ...(await upkeep.runHooks({ now: true })),
    ...((await installer?.finishHooks(chosen.filter(({ section }) => changed.has(section.name)))) ?? []),
  ]
  const { lookWhetherServed } = await import('./served-here.ts')
  const notServed = await lookWhetherServed(desk, runtime, chosen, changed, (event) => events.push(event))
  await state.audit.add(events.map(auditEventOf))
  for (const event of events) await runtime.notify(event)
  report(done, hookFailures, flags.json, notServed)

  async function plan(one: Managed): Promise<Done['look']> {
    try {
      const why = (await upkeep.plan(one, flags)) ?? whyDue(await findEntry(desk, one), desk.clock.nowMs())
      return why === undefined ? { outcome: 'in order' } : { outcome: 'planned', why }
    } catch (error) {
      return { outcome: 'failed', reason: error instanceof Error ? error.message : String(error) }
    }
  }

  /** A server that is at it just now is soon done with it. */
  async function lookPatiently(one: Managed): Promise<Look> {
    const untilMs = desk.clock.monotonicMs() + othersMs
    for (;;) {
      const look = await lookAfter(one)
      if (look.outcome !== 'busy' || desk.clock.monotonicMs() > untilMs) return look
      tellProgress(one.section.name, 'another process looks after it now; waiting for it')
      await desk.clock.sleep(pauseMs, desk.context.signal)
    }
  }

  async function lookAfter(one: Managed): Promise<Look> {
    const look = await upkeep.lookAt(one, flags)
    if (look.outcome !== 'in order') return look
    const entry = await findEntry(desk, one)
    if (entry === undefined || wakeAtMs(entry.plan, entry.notAfterMs) > desk.clock.nowMs()) return look
    // The CA is asked when it wants the certificate replaced; where that is now, the next one is made.
    await renewals.lookAt(entry)
    const after = await state.register.find(entry.id)
    if (after?.lastError !== undefined && after.plan.retryAtMs > desk.clock.nowMs())
      return { outcome: 'failed', reason: after.lastError, retryAtMs: after.plan.retryAtMs }
    return await upkeep.lookAt(one)
  }
}

/** Two at once would both want the ports that answer the CA. @throws Error when the other one does not end */
async function waitForTurn({ stateFolder, clock, context }: Desk): Promise<AsyncDisposable> {
  const untilMs = clock.monotonicMs() + othersMs
  for (let isFirst = true; ; isFirst = false) {
    const turn = await lockFolder(join(stateFolder, 'renew'))
    if (turn !== undefined) return turn
    if (clock.monotonicMs() > untilMs)
      throw new Error(`another "acmems renew" has not ended for ${othersMs / 60_000} minutes: nothing was done`)
    if (isFirst) tellProgress('renew', 'another "acmems renew" is at work; waiting for it')
    await clock.sleep(pauseMs, context.signal)
  }
}

function choose(managed: readonly Managed[], names: readonly string[]): readonly Managed[] {
  if (managed.length === 0)
    throw new UsageError(
      'the configuration has no [certificate] section; name its file, like acmems renew /etc/acmems/acmems.ini',
    )
  const known = managed.map(({ section }) => section.name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new UsageError(`there is no [certificate "${unknown}"]; there are ${known.join(', ')}`)
  return names.length === 0 ? managed : managed.filter(({ section }) => names.includes(section.name))
}

/** What the register knows of the certificate that is in place. */
async function findEntry(
  { state, clock }: Desk,
  { holding, block, section }: Managed,
): Promise<RegisterEntry | undefined> {
  const current = await holding.current()
  if (current === undefined) return undefined
  const names = identifiersOf(section.values).map(({ value }) => value)
  const entries = await state.register.findCurrent(block, names, clock.nowMs())
  return entries.find(({ postedBytes }) => Buffer.from(postedBytes).equals(current.postedBytes))
}

function whyDue(entry: RegisterEntry | undefined, nowMs: number): string | undefined {
  return entry !== undefined && dueAtMs(entry.plan) <= nowMs
    ? 'a certificate is asked for, because it is due'
    : undefined
}

/** A server of this machine that runs on this state answers the CA's questions; without one we do. */
async function openResponders(desk: Desk, runtime: Awaited<ReturnType<Desk['openRuntime']>>): Promise<AsyncDisposable> {
  const isHere = (holder: string) => holder.startsWith(`${hostname()}/`)
  if ((await runningServers(desk.state, desk.clock.nowMs())).some(isHere))
    return { [Symbol.asyncDispose]: async () => undefined }
  const { createResponders } = await import('../responders.ts')
  const { createStoredAnswers } = await import('../stored-answers.ts')
  const responders = createResponders(createStoredAnswers(desk), desk.context)
  await responders.change(runtime.responderSetup)
  return { [Symbol.asyncDispose]: () => responders.close() }
}

/** On a terminal only: cron sends a mail for every line. */
function tellProgress(name: string, text: string): void {
  if (process.stderr.isTTY === true) process.stderr.write(`${name}: ${text}\n`)
}

function jsonOf({ outcome, ...facts }: Done['look']): Record<string, unknown> {
  const told = Object.entries(facts).map(([key, value]) =>
    typeof value === 'number' ? [key.replace(/Ms$/, ''), new Date(value).toISOString()] : [key, value],
  )
  return { outcome, ...Object.fromEntries(told) }
}

function report(
  done: readonly Done[],
  hookFailures: readonly string[],
  json: boolean,
  notServed: readonly string[] = [],
): void {
  const failed = done.filter(({ look }) => ['failed', 'waiting', 'busy'].includes(look.outcome))
  if (failed.length > 0 || hookFailures.length > 0 || notServed.length > 0) process.exitCode = 1
  if (json) {
    printJson({ certificates: done.map(({ name, look }) => ({ name, ...jsonOf(look) })), hookFailures, notServed })
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
  for (const sentence of notServed) process.stderr.write(`${sentence}\n`)
  for (const reason of hookFailures) process.stderr.write(`hook: ${reason}\n`)
}
