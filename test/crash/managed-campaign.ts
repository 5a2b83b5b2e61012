// Many runs of machines that keep certificates for themselves, and what came of them.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createRandom } from '../faults/rule-book.ts'
import { makeTempFolder } from '../peers/child.ts'
import { createCrashWorld } from './crash-world.ts'
import { parseFailpoint } from './failpoint.ts'
import {
  type ManagedCa,
  type ManagedKill,
  type ManagedMachine,
  type ManagedPlan,
  type ManagedResult,
  type ManagedSeries,
  makeManagedMachine,
} from './managed-run.ts'

export const managedSeries: readonly ManagedSeries[] = ['first', 'renewal']

export type ManagedCampaignOptions = {
  readonly plans: { readonly runs: number; readonly seed: number } | 'every point' | readonly ManagedPlan[]
  readonly parallel: number
  /** `pebble`: one certificate, and the CA says how many it has issued; `local`: three of all kinds. */
  readonly ca: 'local' | 'pebble'
  readonly onResult?: (result: ManagedResult, done: number, total: number) => void
}

const longestLifeMs = 1500
const outsideChance = 0.25
const againChance = 0.25

/** `renewal; file rename key#1:before; 300 ms` */
export function formatManagedPlan({ series, kills }: ManagedPlan): string {
  return [series, ...kills.map((kill) => ('point' in kill ? kill.point : `${kill.afterMs} ms`))].join('; ')
}

/** @throws Error when the text is no plan */
export function parseManagedPlan(text: string): ManagedPlan {
  const [name, ...kills] = text.split(';').map((part) => part.trim())
  const series = managedSeries.find((known) => known === name)
  if (series === undefined) throw new Error(`${name} is none of: ${managedSeries.join(', ')}`)
  return {
    series,
    kills: kills.map((kill): ManagedKill => {
      const [, afterMs] = /^(\d+) ms$/.exec(kill) ?? []
      if (afterMs !== undefined) return { afterMs: Number(afterMs) }
      parseFailpoint(kill)
      return { point: kill }
    }),
  }
}

function choosePlan(seed: number, index: number, points: ReadonlyMap<ManagedSeries, readonly string[]>): ManagedPlan {
  const random = createRandom('managed', seed, index)
  const series = managedSeries[Math.floor(random() * managedSeries.length)] ?? 'first'
  const list = points.get(series) ?? []
  const kills: ManagedKill[] = []
  do {
    const isOutside = random() < outsideChance
    const share = random()
    kills.push(
      isOutside
        ? { afterMs: Math.floor(share * longestLifeMs) }
        : { point: list[Math.floor(share * list.length)] ?? '1:before' },
    )
  } while (kills.length < 3 && random() < againChance)
  return { series, kills }
}

export async function runManagedCampaign(options: ManagedCampaignOptions): Promise<ManagedResult[]> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('managed-crash')).path
  const world = options.ca === 'pebble' ? cleanup.use(createCrashWorld({ nonceReject: 15 })) : undefined
  const machines = await Promise.all(
    Array.from({ length: options.parallel }, async (_, nth) => {
      const place = await world?.makePlace('http-01', 0)
      const ca: ManagedCa | undefined = place && {
        config: place.config,
        name: place.names[0] ?? '',
        countCertificates: () => place.countCertificates(),
      }
      mkdirSync(join(folder, String(nth)))
      return cleanup.use(makeManagedMachine(join(folder, String(nth)), ca))
    }),
  )
  const queue = await choosePlans(options, machines)
  const total = queue.length
  const results: ManagedResult[] = []
  await Promise.all(
    machines.map(async (machine) => {
      for (let plan = queue.shift(); plan !== undefined; plan = queue.shift()) {
        const result = await machine.run(plan)
        results.push(result)
        options.onResult?.(result, results.length, total)
      }
    }),
  )
  return results
}

async function choosePlans({ plans }: ManagedCampaignOptions, [machine]: ManagedMachine[]): Promise<ManagedPlan[]> {
  if (typeof plans === 'object' && !('runs' in plans)) return [...plans]
  const points = new Map<ManagedSeries, readonly string[]>()
  for (const series of managedSeries) points.set(series, (await machine?.listPoints(series)) ?? [])
  if (typeof plans === 'object')
    return Array.from({ length: plans.runs }, (_, index) => choosePlan(plans.seed, index, points))
  return [...points].flatMap(([series, list]) => list.map((point): ManagedPlan => ({ series, kills: [{ point }] })))
}
