import { asProblemError, type ProblemError } from '../acme/problem.ts'
import type { Kept } from '../issuance/kept.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Chain } from '../x509/chain.ts'
import { lockFolder } from './folder-lock.ts'
import type { HeldRequest } from './holding.ts'
import { hookFacts, runCommand } from './hooks.ts'
import { readMemory, writeMemory } from './memory.ts'
import { pauseAfter } from './pause.ts'
import type { Managed } from './upkeep.ts'

export type HookRunParts = {
  readonly context: PluginContext
  certificates(): readonly Managed[]
  findKept(managed: Managed, current: HeldRequest): Promise<Kept | undefined>
  progress(managed: Managed, text: string): void
}

/** Runs the hooks that are due, each once for all certificates that name it. The function returns why some failed. */
export function createHookRuns({ context, ...parts }: HookRunParts): () => Promise<string[]> {
  const { clock, log } = context

  async function runHooks(): Promise<string[]> {
    const due: { readonly managed: Managed; readonly chain: Chain; readonly failures: number }[] = []
    for (const managed of parts.certificates()) {
      const { hookDue } = await readMemory(managed.folder).catch(() => ({ hookDue: undefined }))
      if (hookDue === undefined || hookDue.retryAtMs > clock.nowMs()) continue
      const current = await managed.holding.current()
      const kept = current === undefined ? undefined : await parts.findKept(managed, current)
      if (kept !== undefined) due.push({ managed, chain: kept.chain, failures: hookDue.failures })
    }
    const reasons: string[] = []
    for (const [command, list] of Map.groupBy(due, ({ managed }) => managed.section.values.hook)) {
      const problem = command === undefined ? undefined : await runHookFor(command, list)
      for (const { managed } of list)
        await settleHook(managed, problem).catch((error: unknown) => log.error('a hook cannot be noted', { error }))
      if (problem !== undefined) reasons.push(problem.message)
    }
    return reasons
  }

  async function runHookFor(command: string, list: readonly { managed: Managed; chain: Chain }[]) {
    const facts = list.map(({ managed, chain }) => hookFacts(managed.section, chain))
    const timeoutMs = Math.max(...list.map(({ managed }) => managed.section.values['hook-timeout']))
    for (const { managed } of list) parts.progress(managed, 'running its hook')
    try {
      await runCommand(command, facts, timeoutMs, context)
      return undefined
    } catch (error) {
      return asProblemError(error)
    }
  }

  async function settleHook({ folder }: Managed, problem: ProblemError | undefined) {
    await using lock = await lockFolder(folder)
    if (lock === undefined) return
    const { hookDue, ...rest } = await readMemory(folder)
    await writeMemory(
      folder,
      problem === undefined ? rest : { ...rest, hookDue: pauseAfter(hookDue, problem, context) },
    )
  }

  return runHooks
}
