import { hostname } from 'node:os'
import { serverSeenMs } from '../housekeeping.ts'
import { isAlive } from '../process-id.ts'
import type { State } from '../state/state.ts'

/** Servers that run on this state; of this machine only those whose process is there. */
export async function runningServers({ servers }: State, nowMs: number): Promise<string[]> {
  const seen = await servers.seenSince(nowMs - serverSeenMs)
  return seen.filter((holder) => {
    const [host, pid] = holder.split('/')
    return host !== hostname() || isAlive(Number(pid))
  })
}
