// (c) What a server holds in memory when nobody asks, and after it was asked often.
import { setTimeout as sleep } from 'node:timers/promises'
import { makeCsrs } from './csrs.ts'
import { startLoadGenerator } from './load.ts'
import { localConfig, type Release, readMemory, startServer } from './release.ts'

export type MemoryFigures = {
  readonly idleMb: number
  /** The part of it that no other process can share; the rest is Node.js itself, mapped from its file. */
  readonly idleAnonymousMb: number
  readonly requests: number
  readonly afterMb: number
}

const settleMs = 1500
const requests = 10_000

export async function measureMemory(release: Release): Promise<MemoryFigures> {
  await using acmems = await startServer(release, 'memory', localConfig)
  await sleep(settleMs)
  const idle = readMemory(acmems.pid)
  const [csr = ''] = makeCsrs('memory', 1)
  using generator = startLoadGenerator()
  const load = { port: acmems.port, body: csr, connections: 32, durationMs: 60_000, maxRequests: requests }
  await generator.run(load, acmems.pid)
  await sleep(settleMs)
  return {
    idleMb: idle.residentMb,
    idleAnonymousMb: idle.anonymousMb,
    requests,
    afterMb: readMemory(acmems.pid).residentMb,
  }
}
