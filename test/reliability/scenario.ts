// What a row of the fault table is here: something goes wrong, and figures say what became of it.
import { suite, test } from 'node:test'
import { requirePeer } from '../peers/peers.ts'

export type Figures = Readonly<Record<string, string | number>>

export type Scenario = {
  /** Of the fault table. */
  readonly row: number
  readonly fault: string
  /** In words, for people; `run` asserts it. */
  readonly expected: string
  /** What is known to be missing still: the test then may fail. */
  readonly gap?: string
  /**
   * @param full with the numbers of the published table, instead of those of a quick test
   * @throws AssertionError when something else happens
   */
  run(full: boolean): Promise<Figures>
}

/** Each as a test, all at once: they wait more than they work. */
export function testScenarios(scenarios: readonly Scenario[]): void {
  suite('fault table', { concurrency: true }, () => {
    for (const { row, fault, run, gap } of scenarios) {
      test(`row ${row}: ${fault}`, gap === undefined ? {} : { todo: gap }, async (t) => {
        if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
        const figures = await run(false)
        for (const [name, value] of Object.entries(figures)) t.diagnostic(`${name}: ${value}`)
      })
    }
  })
}

/** With at most one digit after the point. */
export function rounded(value: number): number {
  return Math.round(value * 10) / 10
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export function percent(count: number, of: number): string {
  return `${rounded((100 * count) / of)} %`
}
