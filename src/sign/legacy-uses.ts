import type { Clock, Logger } from '../plugin-api.ts'
import type { Block } from '../policy/block.ts'

/** Who still comes in by an old way: counted always, said once an hour for each block. */
export interface LegacyUses {
  note(blockName: string, blocks: readonly Block[]): void
  /** Since the start, by block. */
  readonly counts: ReadonlyMap<string, number>
}

const saidEveryMs = 3_600_000

export function createLegacyUses(clock: Clock, log: Logger): LegacyUses {
  const counts = new Map<string, number>()
  const saidAtMs = new Map<string, number>()
  const advices = new WeakMap<readonly Block[], ReadonlyMap<string, string>>()

  /** Found once a configuration: most have none. */
  function advicesIn(blocks: readonly Block[]): ReadonlyMap<string, string> {
    let found = advices.get(blocks)
    if (found === undefined) {
      found = new Map(
        blocks.flatMap(({ name, credentials }): [string, string][] => {
          const advice = credentials.find(({ legacyAdvice }) => legacyAdvice !== undefined)?.legacyAdvice
          return advice === undefined ? [] : [[name, advice]]
        }),
      )
      advices.set(blocks, found)
    }
    return found
  }

  return {
    counts,
    note(blockName, blocks) {
      const advice = advicesIn(blocks).get(blockName)
      if (advice === undefined) return
      const uses = (counts.get(blockName) ?? 0) + 1
      counts.set(blockName, uses)
      const nowMs = clock.monotonicMs()
      const said = saidAtMs.get(blockName)
      if (said !== undefined && nowMs - said < saidEveryMs) return
      saidAtMs.set(blockName, nowMs)
      log.warn('legacy authentication is in use', { block: blockName, uses, instead: advice })
    },
  }
}
