// Plans as a text, so that a run can be had again, and plans by chance, the same for the same seed.
import { createRandom } from '../faults/rule-book.ts'
import type { Kill, RunPlan, Series } from './crash-run.ts'
import { parseFailpoint } from './failpoint.ts'

export const allSeries: readonly Series[] = [
  { name: 'first http-01', verification: 'http-01', storage: 'state', renewal: false },
  { name: 'first dns-01', verification: 'dns-01', storage: 'state', renewal: false },
  { name: 'first files', verification: 'http-01', storage: 'file', renewal: false },
  { name: 'renewal http-01', verification: 'http-01', storage: 'state', renewal: true },
  { name: 'renewal dns-01', verification: 'dns-01', storage: 'state', renewal: true },
  { name: 'renewal files', verification: 'http-01', storage: 'file', renewal: true },
]

const authzReuses = [0, 50] as const
/** Chances of a kill from outside, and of one more when there was one. */
const outsideChance = 0.15
const againChance = 0.3
const longestLifeMs = 600
const maxKills = 3

/** `first dns-01; 50; update orders#2:after; 120 ms` */
export function formatPlan({ series, authzReuse, kills }: RunPlan): string {
  const told = kills.map((kill) => ('point' in kill ? kill.point : `${kill.afterMs} ms`))
  return [series.name, authzReuse, ...told].join('; ')
}

/** @throws Error when the text is no plan */
export function parsePlan(text: string): RunPlan {
  const [name, reuse, ...kills] = text.split(';').map((part) => part.trim())
  const series = allSeries.find((known) => known.name === name)
  if (series === undefined) throw new Error(`${name} is none of: ${allSeries.map((known) => known.name).join(', ')}`)
  const authzReuse = Number(reuse)
  if (!Number.isInteger(authzReuse)) throw new Error(`${reuse} is no per cent of reused authorizations`)
  return { series, authzReuse, kills: kills.map(parseKill) }
}

function parseKill(text: string): Kill {
  const [, afterMs] = /^(\d+) ms$/.exec(text) ?? []
  if (afterMs !== undefined) return { afterMs: Number(afterMs) }
  parseFailpoint(text)
  return { point: text }
}

/** @param points of each series, as a clean run of it has passed them */
export function choosePlan(seed: number, index: number, points: ReadonlyMap<Series, readonly string[]>): RunPlan {
  const random = createRandom('crash', seed, index)
  const pick = <T>(list: readonly T[]): T => {
    const chosen = list[Math.floor(random() * list.length)]
    if (chosen === undefined) throw new Error('there is nothing to choose from')
    return chosen
  }
  const series = pick(allSeries)
  const authzReuse = pick(authzReuses)
  const kills: Kill[] = []
  do {
    const outside = random() < outsideChance
    kills.push(outside ? { afterMs: Math.floor(random() * longestLifeMs) } : { point: pick(points.get(series) ?? []) })
  } while (kills.length < maxKills && random() < againChance)
  return { series, authzReuse, kills }
}

/** Every point once, with both shares of reused authorizations in turn. */
export function planEveryPoint(points: ReadonlyMap<Series, readonly string[]>): RunPlan[] {
  return [...points].flatMap(([series, list]) =>
    list.map((point, index): RunPlan => ({ series, authzReuse: index % 2 === 0 ? 0 : 50, kills: [{ point }] })),
  )
}
