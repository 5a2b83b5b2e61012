import { rootRights } from '../channel/permissions.ts'
import { environment } from '../config/environment.ts'
import { createInstallerLink, type InstallerLink } from '../installer-link.ts'
import type { Managed } from '../managed/upkeep.ts'
import type { ConfigFlags } from './config-arguments.ts'
import type { Desk } from './open-installation.ts'

/** Who has the keys, for a command that does the server's work once. */
export type ChosenInstaller = InstallerLink & {
  /** Lets the hooks run that are due, or waits until they have. @returns why some failed */
  finishHooks(changed: readonly Managed[]): Promise<string[]>
}

const longestHookMs = 60_000
const pauseMs = 500

/**
 * The installer that the configuration names; where it does not run, root does its work with it.
 * @returns undefined: there is none
 * @throws Error when it does not run and we are not root
 */
export async function openInstaller(
  desk: Desk,
  flags: ConfigFlags,
  stack: AsyncDisposableStack,
): Promise<ChosenInstaller | undefined> {
  const { installer: path } = desk.config.process
  if (path === undefined || desk.config.certificates.length === 0) return undefined
  const link = stack.use(createInstallerLink(path, desk.config, desk.context))
  try {
    await link.ask('hello', {})
    return { ...link, finishHooks: (changed) => waitForHooks(changed, desk) }
  } catch (error) {
    if (process.getuid?.() === 0) return await openHere(desk, flags, stack)
    const why = error instanceof Error ? error.message : 'unknown reason'
    throw new Error(`${why}; start it (systemctl start acmems-install), or run this as root`)
  }
}

/** By the installer's own rules, and in its own folder: it goes on where we leave off. */
async function openHere(
  desk: Desk,
  { set: assignments, lenient }: ConfigFlags,
  stack: AsyncDisposableStack,
): Promise<ChosenInstaller> {
  const { readInstallerConfig } = await import('../installer/configuration.ts')
  const { openInstallations } = await import('../installer/installer.ts')
  const config = readInstallerConfig({ files: desk.config.files, who: rootRights, environment, assignments, lenient })
  const installations = stack.use(
    await openInstallations(config, { ...desk.context, who: rootRights }, desk.context.signal),
  )
  return {
    ask: installations.answer,
    askFor: () => installations.answer,
    finishHooks: () => installations.runHooks({ now: true }),
  }
}

async function waitForHooks(changed: readonly Managed[], { clock, context }: Desk): Promise<string[]> {
  const untilMs = clock.monotonicMs() + longestHookMs
  const failures: string[] = []
  for (const { holding, section } of changed) {
    while ((await holding.current())?.isHookDue === true) {
      if (clock.monotonicMs() > untilMs) {
        failures.push(`of ${section.name}: it has not run yet, or failed: see the log of acmems-install`)
        break
      }
      await clock.sleep(pauseMs, context.signal)
    }
  }
  return failures
}
