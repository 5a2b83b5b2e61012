// The parent's side of load-generator.ts.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { LoadOrder, LoadResult } from './load-generator.ts'
import { readCpuMs } from './release.ts'
import { quantile } from './statistics.ts'

export type LoadFigures = {
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly serverCpuUs: number
  /** Of the time, how much the generator itself was at work: near 1 it is what was measured. */
  readonly generatorShare: number
}

export interface LoadGenerator extends Disposable {
  run(order: LoadOrder, serverPid: number): Promise<LoadFigures>
}

export function startLoadGenerator(): LoadGenerator {
  const child = fork(join(import.meta.dirname, 'load-generator.ts'))
  return {
    async run(order, serverPid) {
      const cpuMs = [readCpuMs(serverPid), readCpuMs(child.pid ?? 0)] as const
      const result = await ask(child, order)
      if (result.failures > 0) throw new Error(`${result.failures} answers were not as expected`)
      const serverMs = readCpuMs(serverPid) - cpuMs[0]
      return {
        requestsPerSecond: (result.requests * 1000) / result.elapsedMs,
        p50Ms: quantile(result.latenciesMs, 0.5),
        p99Ms: quantile(result.latenciesMs, 0.99),
        serverCpuUs: (serverMs * 1000) / result.requests,
        generatorShare: (readCpuMs(child.pid ?? 0) - cpuMs[1]) / result.elapsedMs,
      }
    },
    [Symbol.dispose]: () => void child.kill(),
  }
}

async function ask(child: ChildProcess, order: LoadOrder): Promise<LoadResult> {
  const answer = once(child, 'message') as Promise<[LoadResult | { readonly error: string }]>
  child.send(order)
  const [result] = await answer
  if ('error' in result) throw new Error(`the load could not be made: ${result.error}`)
  return result
}
