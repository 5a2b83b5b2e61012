// (a) A host asks again for the certificate that it already has: requests a second and how long each takes, beside a
// bare node:http server that reads and answers the same octets. Both run all the time and take turns.
import { makeCsrs } from './csrs.ts'
import { type LoadFigures, type LoadGenerator, startLoadGenerator } from './load.ts'
import { localConfig, type Release, type Server, startBareServer, startServer } from './release.ts'
import { median } from './statistics.ts'

export type CachedSignRow = {
  readonly connections: number
  readonly rounds: number
  readonly acmems: LoadFigures
  readonly bare: LoadFigures
  /** Requests a second, of the same round. */
  readonly medianRatio: number
  readonly bestRatio: number
}

const connectionCounts = [1, 8, 32]

export async function measureCachedSign(release: Release, quick: boolean): Promise<CachedSignRow[]> {
  const [csr = ''] = makeCsrs('cached', 1)
  await using acmems = await startServer(release, 'cached-sign', localConfig)
  const first = await fetch(acmems.signUrl, { method: 'POST', body: csr })
  const body = await first.text()
  if (first.status !== 200) throw new Error(`no certificate to begin with: ${first.status} ${body}`)
  const headers = Object.fromEntries(
    [...first.headers].filter(([name]) => !/^(date|connection|keep-alive)$/.test(name)),
  )
  await using bare = await startBareServer(release, { headers, body })
  using generator = startLoadGenerator()
  const [durationMs, rounds, warmUpMs] = quick ? [400, 3, 700] : [700, 9, 2000]
  for (const server of [acmems, bare]) await measure(generator, server, csr, 32, warmUpMs)
  const rows: CachedSignRow[] = []
  for (const connections of connectionCounts) {
    const pairs: { acmems: LoadFigures; bare: LoadFigures }[] = []
    for (let round = 0; round < rounds; round++) {
      pairs.push({
        acmems: await measure(generator, acmems, csr, connections, durationMs),
        bare: await measure(generator, bare, csr, connections, durationMs),
      })
    }
    const ratios = pairs.map((pair) => pair.acmems.requestsPerSecond / pair.bare.requestsPerSecond)
    rows.push({
      connections,
      rounds,
      acmems: middleOf(pairs.map((pair) => pair.acmems)),
      bare: middleOf(pairs.map((pair) => pair.bare)),
      medianRatio: median(ratios),
      bestRatio: Math.max(...ratios),
    })
  }
  return rows
}

function measure(generator: LoadGenerator, server: Server, body: string, connections: number, durationMs: number) {
  return generator.run({ port: server.port, body, connections, durationMs, maxRequests: 1_000_000 }, server.pid)
}

function middleOf(figures: readonly LoadFigures[]): LoadFigures {
  const middle = (key: keyof LoadFigures) => median(figures.map((figure) => figure[key]))
  return {
    requestsPerSecond: middle('requestsPerSecond'),
    p50Ms: middle('p50Ms'),
    p99Ms: middle('p99Ms'),
    serverCpuUs: middle('serverCpuUs'),
    generatorShare: middle('generatorShare'),
  }
}
