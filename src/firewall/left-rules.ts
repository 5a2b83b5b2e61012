import { readFileSync } from 'node:fs'
import { ownerOf, type RuleOwner } from './rule-owner.ts'
import type { OwnRule, Rules } from './rules.ts'

/** Who we are in our rules' comments: a process's id is given away again, its start is not. */
export function ownOwner(): RuleOwner {
  const startTime = startTimeOf(process.pid)
  if (startTime === undefined) throw new Error('/proc does not tell when this process began')
  return { pid: process.pid, startTime }
}

/** Deletes the rules of those who are not there any more. @returns how many of which are kept and which are gone */
export async function removeLeftRules(rules: Rules): Promise<{ readonly removed: number; readonly inUse: number }> {
  const all = await rules.list()
  const left = all.filter((rule) => !isInUse(rule))
  await rules.remove(left)
  return { removed: left.length, inUse: all.length - left.length }
}

function isInUse({ comment }: OwnRule): boolean {
  const owner = ownerOf(comment)
  return owner !== undefined && startTimeOf(owner.pid) === owner.startTime
}

/** In clock ticks since the machine's start (proc(5)). A process that is only not yet collected is none. */
function startTimeOf(pid: number): string | undefined {
  try {
    const [state, ...fields] = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    return state === 'Z' || state === 'X' ? undefined : fields[18]
  } catch {
    return undefined
  }
}
