import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { platformSettings } from '../config/environment.ts'
import type { Installation } from '../installation.ts'
import { createLog } from '../log.ts'
import type { Clock } from '../plugin-api.ts'
import { createRuntime, type Runtime } from '../runtime.ts'
import { sqlitePath } from '../state/state.ts'
import { type ConfigFlags, readConfig } from './config-arguments.ts'
import { stopSignal } from './stop-signal.ts'

/** What a command beside the server works with. */
export type Desk = Installation & {
  readonly config: Config
  readonly clock: Clock
  /** Makes what the configuration names, once. */
  openRuntime(): Promise<Runtime>
  /** From now on Ctrl-C tells what runs to stop, and lets it undo what it presented. */
  stopOnSignal(): void
}

/**
 * Opens the state that the server uses.
 * @param wanted.state `made`: a command that does the server's work without one; else none is made
 * @param wanted.logLevel of a command that tells itself what went wrong
 * @throws Error when there is no state
 */
export async function openDesk(
  files: readonly string[],
  flags: ConfigFlags,
  wanted: { readonly state?: 'made'; readonly logLevel?: 'error' } = {},
): Promise<Desk> {
  const config = await readConfig(files, flags)
  const platform = platformSettings()
  if (wanted.state !== 'made') requireState(config.stateUrl ?? `sqlite:${join(platform.stateFolder, 'state.db')}`)
  const { openInstallation } = await import('../installation.ts')
  await using stack = new AsyncDisposableStack()
  const log = stack.use(
    createLog({ level: wanted.logLevel ?? 'warning', destination: 'stderr', format: 'text' }, 'program'),
  )
  const stopping = new AbortController()
  const installation = stack.use(await openInstallation(config, { log, ...platform }, stopping.signal))
  let runtime: Promise<Runtime> | undefined
  const openRuntime = async () => {
    runtime ??= createRuntime(config, installation.setupFor).then((made) => disposables.use(made))
    return await runtime
  }
  const disposables = stack.move()
  return {
    ...installation,
    config,
    clock: installation.context.clock,
    openRuntime,
    stopOnSignal: () => void stopSignal().then((signal) => stopping.abort(new Error(`stopped by ${signal}`))),
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}

/** Only a server makes a state: one made by whoever looks would belong to the wrong user, or lie in the wrong place. */
export function hasState(stateUrl: string): boolean {
  return !stateUrl.startsWith('sqlite:') || existsSync(sqlitePath(stateUrl))
}

function requireState(stateUrl: string): void {
  if (hasState(stateUrl)) return
  throw new Error(
    `there is no state at ${sqlitePath(stateUrl)}: name the configuration that the server uses, or start it once with "acmems serve"`,
  )
}
