// Many runs, several at a time, and what came of them as figures.
import { allSeries, choosePlan, formatPlan, planEveryPoint } from './crash-plan.ts'
import { type RunPlan, type RunResult, runCrash, type Series } from './crash-run.ts'
import { createCrashWorld } from './crash-world.ts'

export type CampaignOptions = {
  /** So many by chance, every point once, or exactly these. */
  readonly plans: { readonly runs: number; readonly seed: number } | 'every point' | readonly RunPlan[]
  readonly parallel: number
  /** Told after every run. */
  readonly onResult?: (result: RunResult, done: number, total: number) => void
}

export type Campaign = {
  readonly results: readonly RunResult[]
  /** Points of a crash that a clean run passes, all series together. */
  readonly knownPoints: number
  /** Orders at the CAs that no server has ever heard of: it died between asking and reading the answer. */
  readonly unheardOrders: number
  /** What no single run can see. */
  readonly violations: readonly string[]
}

const nonceReject = 5

export async function runCampaign({ plans, parallel, onResult }: CampaignOptions): Promise<Campaign> {
  await using world = createCrashWorld({ nonceReject })
  const isChosen = Array.isArray(plans)
  const clean = isChosen
    ? []
    : await inParallel(allSeries, parallel, (series) => runCrash(world, { series, authzReuse: 0, kills: [] }))
  const points = new Map<Series, readonly string[]>(clean.map((result) => [result.plan.series, result.points]))
  const all = plansOf(plans, points)
  let done = 0
  const results = await inParallel(all, parallel, async (plan) => {
    const result = await runCrash(world, plan)
    onResult?.(result, ++done, all.length)
    return result
  })
  const every = [...clean, ...results]
  const sum = (figure: (result: RunResult) => number) => every.reduce((total, result) => total + figure(result), 0)
  const unknown =
    world.countCertificates() - sum(({ certificates, unusedCertificates }) => certificates + unusedCertificates)
  return {
    results,
    knownPoints: [...points.values()].reduce((total, list) => total + list.length, 0),
    unheardOrders: world.countOrders() - sum(({ orders, ordersBefore }) => orders + ordersBefore),
    violations: [
      ...clean.flatMap(({ plan, violations }) => violations.map((one) => `${formatPlan(plan)}: ${one}`)),
      ...(unknown === 0 ? [] : [`${unknown} certificates were issued that no run has asked for`]),
    ],
  }
}

function plansOf(plans: CampaignOptions['plans'], points: ReadonlyMap<Series, readonly string[]>): readonly RunPlan[] {
  if (plans === 'every point') return planEveryPoint(points)
  if (!('runs' in plans)) return plans
  return Array.from({ length: plans.runs }, (_, index) => choosePlan(plans.seed, index, points))
}

async function inParallel<T, R>(items: readonly T[], atOnce: number, act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const queue = items.entries()
  let failed = false
  async function work(): Promise<void> {
    for (const [index, item] of queue) {
      if (failed) return
      results[index] = await act(item).catch((error: unknown) => {
        failed = true
        throw error
      })
    }
  }
  // What runs when one breaks comes to its end before the world does.
  const workers = await Promise.allSettled(Array.from({ length: atOnce }, work))
  for (const worker of workers) if (worker.status === 'rejected') throw worker.reason
  return results
}

/** The figures as lines of a table, series by series. */
export function summarize({ results, knownPoints, unheardOrders }: Campaign): string[] {
  const rows = [...allSeries.map(({ name }) => name), 'all'].flatMap((name) => {
    const runs = results.filter(({ plan }) => name === 'all' || plan.series.name === name)
    if (runs.length === 0) return []
    const sum = (figure: (result: RunResult) => number) => runs.reduce((total, result) => total + figure(result), 0)
    const needs = sum(({ expectedCertificates }) => expectedCertificates)
    const seconds = runs.map(({ recoverySeconds }) => recoverySeconds).sort((a, b) => a - b)
    const cells = [
      name,
      runs.length,
      sum(({ deaths }) => deaths.length),
      (sum(({ certificates }) => certificates) / needs).toFixed(2),
      (sum(({ orders }) => orders) / runs.length).toFixed(2),
      sum(({ failedOrders }) => failedOrders),
      sum(({ unsavedOrders }) => unsavedOrders),
      `${percentile(seconds, 0.5).toFixed(2)} / ${percentile(seconds, 1).toFixed(2)}`,
      sum(({ renewedLate }) => (renewedLate ? 1 : 0)),
      sum(({ temporaryFiles }) => temporaryFiles),
      sum(({ violations }) => violations.length),
    ]
    return [`| ${cells.join(' | ')} |`]
  })
  const places = new Set(results.flatMap(({ plan, deaths }) => deaths.map((death) => `${plan.series.name} ${death}`)))
  return [
    '| series | runs | kills | certificates per need | orders per need | of these died while the CA validated | of these made, but not written down | recovery s, p50 / max | renewed only after the claim of the dead | temporary files left | violations |',
    '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
    ...rows,
    '',
    `killed at ${places.size} different places; a clean run of each series passes ${knownPoints} points`,
    `orders at the CA whose answer nobody read: ${unheardOrders}`,
  ]
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
}
