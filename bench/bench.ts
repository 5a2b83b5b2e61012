// npm run bench [-- --only a,b,…,h] [--quick] [--json]: what the release can do, as ratios to what is possible at all
// on the same machine at the same moment. Everything stays on loopback; nothing is left behind.
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { type CachedSignRow, measureCachedSign } from './cached-sign.ts'
import { type AnswersRow, measureAnswers } from './dns-answers.ts'
import { type KeyElsewhereRow, measureKeyElsewhere } from './key-elsewhere.ts'
import { type MemoryFigures, measureMemory } from './memory.ts'
import { measureNewCertificates, type NewCertificatesRow } from './new-certificates.ts'
import { measurePlanner, type PlannerFigures } from './planner.ts'
import { measurePolling, type PollingFigures } from './polling.ts'
import { makeRelease, type Release } from './release.ts'
import { formatFigures } from './report.ts'
import { measureResponder, type ResponderRow } from './responder-answers.ts'
import { measureStart, type StartFigures } from './start-time.ts'

export type Figures = {
  readonly node: string
  readonly cpus: number
  /** Of the last minute, at the beginning: above nought somebody else was at work as well. */
  readonly load: number
  readonly cachedSign?: readonly CachedSignRow[]
  readonly newCertificates?: readonly NewCertificatesRow[]
  readonly memory?: MemoryFigures
  readonly start?: StartFigures
  readonly planner?: PlannerFigures
  readonly answers?: readonly AnswersRow[]
  readonly responder?: readonly ResponderRow[]
  readonly polling?: PollingFigures
  readonly keyElsewhere?: readonly KeyElsewhereRow[]
}

const parts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as const
type Part = (typeof parts)[number]

function readArguments(): { json: boolean; quick: boolean; wanted: ReadonlySet<Part> } {
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({ options: { json: flag, quick: flag, only: { type: 'string', default: 'abcdefgh' } } })
  const wanted = [...values.only.replaceAll(/[,|\s]/g, '')]
  const unknown = wanted.find((name) => !parts.some((part) => part === name))
  if (unknown !== undefined || wanted.length === 0) {
    process.stderr.write(`bench: --only ${values.only}: the parts are ${parts.join(', ')}\n`)
    process.exit(2)
  }
  return { json: values.json, quick: values.quick, wanted: new Set(wanted as Part[]) }
}

async function measure(release: Release, quick: boolean, wanted: ReadonlySet<Part>): Promise<Figures> {
  const say = (text: string) => process.stderr.write(`bench: ${text}\n`)
  const when = async <T>(part: Part, text: string, act: () => Promise<T>): Promise<T | undefined> => {
    if (!wanted.has(part)) return undefined
    say(`(${part}) ${text} ...`)
    return act()
  }
  const machine = { node: process.versions.node, cpus: availableParallelism(), load: loadavg()[0] ?? 0 }
  const cachedSign = await when('a', 'cached /sign', () => measureCachedSign(release, quick))
  const newCertificates = await when('b', 'new certificates', () => measureNewCertificates(release, quick))
  const memory = await when('c', 'memory', () => measureMemory(release))
  const start = await when('d', 'start', () => measureStart(release, quick))
  const planner = await when('e', 'planning renewals', () => measurePlanner(quick))
  const answers = await when('f', 'answers to validators', () => measureAnswers(release, quick))
  const responder = await when('f', 'the same by a process of its own', () => measureResponder(release, quick))
  const polling = await when('g', 'hosts that poll', () => measurePolling(release, quick))
  const keyElsewhere = await when('h', 'the account key elsewhere', () => measureKeyElsewhere(release, quick))
  return {
    ...machine,
    ...(cachedSign === undefined ? {} : { cachedSign }),
    ...(newCertificates === undefined ? {} : { newCertificates }),
    ...(memory === undefined ? {} : { memory }),
    ...(start === undefined ? {} : { start }),
    ...(planner === undefined ? {} : { planner }),
    ...(answers === undefined ? {} : { answers }),
    ...(responder === undefined ? {} : { responder }),
    ...(polling === undefined ? {} : { polling }),
    ...(keyElsewhere === undefined ? {} : { keyElsewhere }),
  }
}

const { json, quick, wanted } = readArguments()
using release = await makeRelease()
const figures = await measure(release, quick, wanted)
process.stdout.write(json ? `${JSON.stringify(figures, null, 2)}\n` : formatFigures(figures))
