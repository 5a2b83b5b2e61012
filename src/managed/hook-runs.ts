import { asProblemError, type ProblemError } from '../acme/problem.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Chain } from '../x509/chain.ts'
import { hookFacts, runCommand } from './hooks.ts'
import type { Managed } from './managed.ts'
import { readMemory, writeMemory } from './memory.ts'
import { isPausing, pauseAfter } from './pause.ts'

/** A certificate with a hook; what is remembered of it is in its folder. */
export type HookSource = Pick<Managed, 'section' | 'folder'>

export type HookRunParts<Source extends HookSource> = {
  readonly context: PluginContext
  certificates(): readonly Source[]
  /** What is installed; undefined: it is no good any more, and the next one runs the hook. */
  findInstalled(managed: Source): Promise<Chain | undefined>
  progress(managed: Source, text: string): void
  /** Nobody installs it meanwhile. undefined: somebody does just now. */
  lock(managed: Source): Promise<AsyncDisposable | undefined>
}

type Due<Source> = { readonly managed: Source; readonly chain: Chain; readonly lock: AsyncDisposable }

/**
 * Runs the hooks that are due, each once for all certificates that name it. Nobody installs meanwhile: what was run is
 * noted for what was there.
 * @param wanted.now those that failed just before, too
 * @returns why some failed
 */
export async function runDueHooks<Source extends HookSource>(
  parts: HookRunParts<Source>,
  { now = false } = {},
): Promise<string[]> {
  const { context } = parts
  const { log } = context
  const due: Source[] = []
  for (const managed of parts.certificates())
    if (await isDue(managed, now, context).catch((error: unknown) => noteError(managed, error))) due.push(managed)
  const reasons: string[] = []
  // A hook that hangs keeps only its own certificates waiting.
  for (const [command, group] of Map.groupBy(due, ({ section }) => section.values.hook)) {
    await using locks = new AsyncDisposableStack()
    const list: Due<Source>[] = []
    for (const managed of group) {
      const one = await lockDue(managed, now, parts).catch((error: unknown) => noteError(managed, error))
      if (one !== undefined) list.push({ ...one, lock: locks.use(one.lock) })
    }
    const problem = command === undefined || list.length === 0 ? undefined : await runFor(command, list, parts)
    for (const { managed } of list)
      await settle(managed, problem, context).catch((error: unknown) =>
        log.error('a hook cannot be noted', { certificate: managed.section.name, error }),
      )
    if (problem !== undefined) reasons.push(problem.message)
  }
  return reasons

  function noteError({ section }: Source, error: unknown): undefined {
    log.error('a hook cannot be looked after', { certificate: section.name, error })
  }
}

async function isDue({ folder }: HookSource, now: boolean, { clock }: PluginContext): Promise<boolean> {
  const { hookDue } = await readMemory(folder)
  return hookDue !== undefined && (now || !isPausing(hookDue, clock.nowMs()))
}

async function lockDue<Source extends HookSource>(
  managed: Source,
  now: boolean,
  parts: HookRunParts<Source>,
): Promise<Due<Source> | undefined> {
  await using stack = new AsyncDisposableStack()
  const lock = await parts.lock(managed)
  if (lock === undefined) return undefined
  stack.use(lock)
  const chain = (await isDue(managed, now, parts.context)) ? await parts.findInstalled(managed) : undefined
  if (chain === undefined) return undefined
  stack.move()
  return { managed, chain, lock }
}

async function runFor<Source extends HookSource>(
  command: string,
  list: readonly Due<Source>[],
  { context, progress }: HookRunParts<Source>,
) {
  const facts = list.map(({ managed, chain }) => hookFacts(managed.section, chain))
  const timeoutMs = 1000 * Math.max(...list.map(({ managed }) => managed.section.values['hook-timeout']))
  for (const { managed } of list) progress(managed, 'running its hook')
  try {
    await runCommand(command, facts, timeoutMs, context)
    return undefined
  } catch (error) {
    const problem = asProblemError(error)
    return problem.withMessage(`of ${facts.map(({ name }) => name).join(', ')}: ${problem.message}`)
  }
}

async function settle(
  { folder, section }: HookSource,
  problem: ProblemError | undefined,
  context: PluginContext,
): Promise<void> {
  const { hookDue, ...rest } = await readMemory(folder)
  if (hookDue === undefined) return
  if (problem === undefined) return await writeMemory(folder, rest)
  const pause = pauseAfter(hookDue, problem, context)
  await writeMemory(folder, { ...rest, hookDue: { ...hookDue, ...pause } })
  const again = new Date(pause.retryAtMs).toISOString()
  context.log.warn('a hook failed; the certificate is installed', { certificate: section.name, again })
}
