// (h) What it costs a certificate that the account key is in a process of its own: two servers on one Pebble, one with
// its key in the process, one whose key accountd holds, with an audit log. They take turns.
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent } from 'undici'
import { startChild, waitUntilReady } from '../test/peers/child.ts'
import { startPebble } from '../test/peers/pebble.ts'
import { makeCsrs } from './csrs.ts'
import { describeServerFor, postAll } from './new-certificates.ts'
import { type Release, readCpuMs, startServer } from './release.ts'
import { median } from './statistics.ts'

export type KeyElsewhereRow = {
  readonly parallel: number
  readonly rounds: number
  readonly certificates: number
  readonly elsewherePerSecond: number
  readonly inProcessPerSecond: number
  readonly medianRatio: number
  readonly bestRatio: number
  /** Processor time for one certificate: of the server, and of accountd. */
  readonly serverCpuMs: number
  readonly accountdCpuMs: number
  readonly inProcessCpuMs: number
}

const parallelCounts = [1, 8]

export async function measureKeyElsewhere(release: Release, quick: boolean): Promise<KeyElsewhereRow[]> {
  const rows: KeyElsewhereRow[] = []
  for (const parallel of parallelCounts) rows.push(await measureParallel(release, parallel, quick))
  return rows
}

async function measureParallel(release: Release, parallel: number, quick: boolean): Promise<KeyElsewhereRow> {
  const rounds = quick ? 2 : 6
  const count = (parallel === 1 ? 10 : 30) * (quick ? 1 : 2)
  await using pebble = await startPebble({ alwaysValid: true, nonceReject: 0, authzReuse: 0 })
  const folder = join(release.folder, `key-${parallel}`)
  await using accountd = await startAccountd(release, folder)
  await using inProcess = await startServer(release, `key-here-${parallel}`, await describeServerFor(pebble))
  const key = `key = accountd:${accountd.socket}\n`
  await using elsewhere = await startServer(release, `key-there-${parallel}`, await describeServerFor(pebble, key))
  await using cleanup = new AsyncDisposableStack()
  const agent = cleanup.adopt(new Agent({ connections: parallel }), (one) => one.close())
  const sides = { elsewhere, inProcess }
  const names = ['elsewhere', 'inProcess'] as const
  for (const name of names) await postAll(agent, sides[name].signUrl, makeCsrs(`warm-${name}`, 2 * parallel), parallel)
  const rates = { elsewhere: [] as number[], inProcess: [] as number[] }
  const cpuMs = { elsewhere: 0, inProcess: 0, accountd: 0 }
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const csrs = makeCsrs(`${name}-${round}`, count)
      const [serverBefore, accountdBefore] = [readCpuMs(sides[name].pid), readCpuMs(accountd.pid)]
      rates[name].push((count * 1000) / (await postAll(agent, sides[name].signUrl, csrs, parallel)))
      cpuMs[name] += readCpuMs(sides[name].pid) - serverBefore
      if (name === 'elsewhere') cpuMs.accountd += readCpuMs(accountd.pid) - accountdBefore
    }
  }
  const ratios = rates.elsewhere.map((rate, round) => rate / (rates.inProcess[round] ?? Number.NaN))
  const certificates = rounds * count
  return {
    ...{ parallel, rounds, certificates },
    elsewherePerSecond: median(rates.elsewhere),
    inProcessPerSecond: median(rates.inProcess),
    medianRatio: median(ratios),
    bestRatio: Math.max(...ratios),
    serverCpuMs: cpuMs.elsewhere / certificates,
    accountdCpuMs: cpuMs.accountd / certificates,
    inProcessCpuMs: cpuMs.inProcess / certificates,
  }
}

async function startAccountd(release: Release, folder: string) {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const keyFile = join(folder, 'account.pem')
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  const config = join(folder, 'accountd.conf')
  // Everything that costs something, but what would keep the server from making its account.
  writeFileSync(config, `privkey = file:${keyFile}\nquiet = yes\npolicy = account\naudit-log = ${folder}/audit\n`)
  const socket = join(folder, 'S.lacme')
  const args = [release.launcher, 'accountd', '--config', config, '--socket', socket]
  const child = startChild(process.execPath, args, { env: {}, cwd: folder, logFile: join(folder, 'log') })
  await waitUntilReady(child, 'accountd', async () => existsSync(socket))
  return { pid: child.pid, socket, [Symbol.asyncDispose]: () => child.stop() }
}
