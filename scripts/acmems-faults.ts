// See scripts/acmems-faults, which starts this with the right Node.js.
import { relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type FaultProxy, startFaultProxy } from '../test/faults/fault-proxy.ts'
import type { LogEntry } from '../test/faults/rule.ts'
import { parseScenario, ScenarioError, scenarios } from '../test/faults/scenarios.ts'

const defaultFolder = resolve(import.meta.dirname, '../.cache/acmems-faults')

const help = `Usage: scripts/acmems-faults --upstream URL [OPTION...] [--scenario NAME[=VALUE]]...

A proxy between an ACME client and Pebble that lets faults happen. It listens with TLS on this machine only, prints the
directory URL for the client and the CA file that the client must trust, and a line for every request. Ctrl-C ends it
with a summary. Without any scenario everything just passes.

  --upstream URL      the CA's directory, https://127.0.0.1:14000/dir for instance
  --upstream-ca FILE  PEM file with what the CA's own TLS certificate leads to (Pebble's is for tests)
  --listen HOST:PORT  where clients connect: 127.0.0.1, localhost or [::1] (default 127.0.0.1:14001)
  --seed NUMBER       the same number, the same luck (default 1)
  --scenario NAME     what goes wrong; again for more. NAME=VALUE gives its value, and after a comma follows
                      what it is limited to: endpoint=KIND, times=N, and from=N, to=N of the requests it is about
  --list              all scenarios with what they mean
  --dir FOLDER        where its TLS identity is kept (default .cache/acmems-faults)

Examples:
  scripts/test-env start
  scripts/acmems-faults --upstream https://127.0.0.1:14000/dir --upstream-ca .cache/test-env/tls-ca.pem \\
      --seed 7 --scenario server-errors=0.3 --scenario slow=500
  scripts/acmems-faults ... --scenario service-unavailable=120,endpoint=newOrder+finalize,times=2
  scripts/acmems-faults ... --scenario lost-replies=finalize
  scripts/acmems-faults ... --scenario ari-past`

/** The command line cannot be understood. */
class UsageError extends Error {
  override readonly name = 'UsageError'
}

function listScenarios(): string {
  const left = scenarios.map(({ name, value }) => (value === undefined ? name : `${name}=${value.preset}`))
  return scenarios
    .map(({ meaning, value }, i) => `${left[i]}\n    ${meaning}${value === undefined ? '' : ` (${value.meaning})`}`)
    .join('\n')
}

function parseListen(text: string): { host: string; port: number } {
  const [, host = '', digits = ''] = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (host === '' || port > 65_535) throw new UsageError(`--listen ${text} is not HOST:PORT of this machine's loopback`)
  return { host: host.replace(/[[\]]/g, ''), port }
}

function parseSeed(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--seed ${text} is no whole number`)
  return Number(text)
}

function describeActions(entry: LogEntry): string {
  return entry.actions.length === 0 ? 'passed' : entry.actions.join('+')
}

function formatEntry(entry: LogEntry): string {
  const { atMs, index, endpoint, method, path, status, problem, error } = entry
  const time = new Date(atMs).toISOString().slice(11, 23)
  const outcome = [status ?? 'no answer', problem, error].filter(Boolean).join(' ')
  return `${time} #${index} ${endpoint} ${method} ${path} ${describeActions(entry)}: ${outcome}`
}

function formatSummary(log: readonly LogEntry[]): string {
  const counts = new Map<string, number>()
  for (const entry of log) {
    const key = `${entry.endpoint.padEnd(14)} ${describeActions(entry)}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const rows = [...counts].sort(([left], [right]) => (left < right ? -1 : 1))
  const forwarded = log.filter((entry) => entry.forwarded).length
  return [
    `${log.length} requests, ${forwarded} of them reached the CA`,
    ...rows.map(([key, count]) => `${String(count).padStart(7)} ${key}`),
  ].join('\n')
}

function untilStopped(): Promise<void> {
  return new Promise((stop) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop())
  })
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    options: {
      upstream: text,
      'upstream-ca': text,
      listen: { ...text, default: '127.0.0.1:14001' },
      seed: { ...text, default: '1' },
      scenario: { ...text, multiple: true, default: [] },
      dir: { ...text, default: defaultFolder },
      list: flag,
      help: flag,
    },
  })
  if (values.help) return console.log(help)
  if (values.list) return console.log(listScenarios())
  const { upstream, 'upstream-ca': upstreamCaFile } = values
  const rules = values.scenario.flatMap(parseScenario)
  if (upstream === undefined) throw new UsageError('--upstream is missing: where is the CA? (--help shows examples)')
  if (!URL.canParse(upstream) || new URL(upstream).protocol !== 'https:')
    throw new UsageError(`--upstream ${upstream} is no https URL`)
  const stopped = untilStopped()
  const proxy: FaultProxy = await startFaultProxy({
    ...parseListen(values.listen),
    upstreamUrl: upstream,
    ...(upstreamCaFile === undefined ? {} : { upstreamCaFile }),
    seed: parseSeed(values.seed),
    rules,
    folder: resolve(values.dir),
    onEntry: (entry) => console.log(formatEntry(entry)),
  })
  const caFile = relative(process.cwd(), proxy.caFile)
  console.log(`directory  ${proxy.directoryUrl}\ntrust      ${caFile.startsWith('..') ? proxy.caFile : caFile}`)
  await stopped
  console.log(`\n${formatSummary(proxy.log)}`)
  await proxy.stop()
}

try {
  await main()
} catch (error) {
  const isUsage =
    error instanceof ScenarioError ||
    error instanceof UsageError ||
    (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
  const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
  const hint = isTaken ? '; choose another with --listen' : ''
  console.error(`acmems-faults: ${error instanceof Error ? error.message : error}${hint}`)
  process.exitCode = isUsage ? 2 : 1
}
