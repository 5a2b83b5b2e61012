import { asProblemError, type ProblemError } from '../acme/problem.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Chain } from '../x509/chain.ts'
import { hookFacts, runCommand } from './hooks.ts'
import type { Managed } from './managed.ts'
import { readMemory, writeMemory } from './memory.ts'
import { pauseAfter } from './pause.ts'

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
  const due: Due<Source>[] = []
  const reasons: string[] = []
  try {
    for (const managed of parts.certificates()) {
      const one = await findDue(managed, now, parts).catch((error: unknown) =>
        context.log.error('a hook cannot be looked after', { certificate: managed.section.name, error }),
      )
      if (one !== undefined) due.push(one)
    }
    for (const [command, list] of Map.groupBy(due, ({ managed }) => managed.section.values.hook)) {
      const problem = command === undefined ? undefined : await runFor(command, list, parts)
      for (const { managed } of list)
        await settle(managed, problem, context).catch((error: unknown) =>
          context.log.error('a hook cannot be noted', { certificate: managed.section.name, error }),
        )
      if (problem !== undefined) reasons.push(problem.message)
    }
  } finally {
    for (const { lock } of due) await lock[Symbol.asyncDispose]()
  }
  return reasons
}

async function findDue<Source extends HookSource>(
  managed: Source,
  now: boolean,
  parts: HookRunParts<Source>,
): Promise<Due<Source> | undefined> {
  const isDue = async () => {
    const { hookDue } = await readMemory(managed.folder)
    return hookDue !== undefined && (now || hookDue.retryAtMs <= parts.context.clock.nowMs())
  }
  if (!(await isDue())) return undefined
  await using stack = new AsyncDisposableStack()
  const lock = await parts.lock(managed)
  if (lock === undefined) return undefined
  stack.use(lock)
  const chain = (await isDue()) ? await parts.findInstalled(managed) : undefined
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
  { folder }: HookSource,
  problem: ProblemError | undefined,
  context: PluginContext,
): Promise<void> {
  const { hookDue, ...rest } = await readMemory(folder)
  if (hookDue === undefined) return
  const next = problem === undefined ? {} : { hookDue: { ...hookDue, ...pauseAfter(hookDue, problem, context) } }
  await writeMemory(folder, { ...rest, ...next })
}
