// (d) How long a start takes: from exec until the listener for hosts accepts, and until --version has been said.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { acceptsTcp } from '../test/peers/child.ts'
import { freePort } from '../test/peers/peers.ts'
import { localConfig, type Release, writeServerConfig } from './release.ts'
import { median } from './statistics.ts'

export type StartFigures = {
  readonly rounds: number
  readonly serveMs: number
  readonly bestServeMs: number
  readonly versionMs: number
  readonly bestVersionMs: number
  /** Node.js alone, doing nothing. */
  readonly nodeMs: number
}

const pollMs = 2
const timeoutMs = 20_000

export async function measureStart(release: Release, quick: boolean): Promise<StartFigures> {
  const rounds = quick ? 5 : 15
  const folder = join(release.folder, 'start-time')
  const port = await freePort()
  const config = writeServerConfig(folder, port, localConfig)
  const log = openSync(join(folder, 'acmems.log'), 'a')
  const times = { serve: [] as number[], version: [] as number[], node: [] as number[] }
  // The first start makes the state and the embedded CA, which is not what a restart costs.
  await timeServe(release, config, port, log)
  for (let round = 0; round < rounds; round++) {
    times.serve.push(await timeServe(release, config, port, log))
    times.version.push(await timeRun([release.launcher, '--version']))
    times.node.push(await timeRun(['-e', '0']))
  }
  return {
    rounds,
    serveMs: median(times.serve),
    bestServeMs: Math.min(...times.serve),
    versionMs: median(times.version),
    bestVersionMs: Math.min(...times.version),
    nodeMs: median(times.node),
  }
}

async function timeServe(release: Release, config: string, port: number, log: number): Promise<number> {
  const startedMs = performance.now()
  const child = spawn(process.execPath, [release.launcher, 'serve', config], { stdio: ['ignore', log, log] })
  const ended = once(child, 'exit')
  try {
    while (!(await acceptsTcp(port))) {
      if (child.exitCode !== null || performance.now() - startedMs > timeoutMs) throw new Error('acmems does not start')
      await sleep(pollMs)
    }
    return performance.now() - startedMs
  } finally {
    child.kill('SIGTERM')
    await ended
  }
}

async function timeRun(args: readonly string[]): Promise<number> {
  const startedMs = performance.now()
  const child = spawn(process.execPath, args, { stdio: 'ignore' })
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}`)
  return performance.now() - startedMs
}
