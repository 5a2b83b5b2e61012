// Makes the faults of the fault table happen, in full, and prints what was measured:
//   sh scripts/run scripts/reliability.ts [--row N]... [--quick] [--json]
import { parseArgs } from 'node:util'
import { allScenarios } from '../test/reliability/all.ts'
import type { Figures, Scenario } from '../test/reliability/scenario.ts'

const help = `Usage: sh scripts/run scripts/reliability.ts [OPTION...]

Makes the faults of the fault table happen between acmems and Pebble, one after another, and prints a markdown table of
what was measured. In full it takes the better part of an hour. Ends with 1 when something was not as expected.

  --row N   only this row of the table; again for more
  --quick   with the small numbers of the tests
  --json    JSON instead of the table`

type Result = { readonly scenario: Scenario; readonly figures: Figures; readonly failure: string | undefined }

async function measure(scenario: Scenario, full: boolean): Promise<Result> {
  const startedMs = performance.now()
  try {
    return { scenario, figures: await scenario.run(full), failure: undefined }
  } catch (error) {
    return { scenario, figures: {}, failure: error instanceof Error ? error.message : String(error) }
  } finally {
    const seconds = Math.round((performance.now() - startedMs) / 1000)
    process.stderr.write(`row ${scenario.row}: ${scenario.fault} (${seconds} s)\n`)
  }
}

function formatTable(results: readonly Result[]): string {
  const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ')
  const rows = results.map(({ scenario, figures, failure }) => {
    const measured = Object.entries(figures).map(([name, value]) => `${name}: **${value}**`)
    const words = failure === undefined ? measured : [`**not as expected**: ${(scenario.gap ?? failure).slice(0, 200)}`]
    return `| ${scenario.row} | ${cell(scenario.fault)} | ${cell(scenario.expected)} | ${words.map(cell).join('<br>')} |`
  })
  return ['| row | fault | expected | measured |', '|---|---|---|---|', ...rows].join('\n')
}

async function main(): Promise<void> {
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    options: { row: { type: 'string', multiple: true, default: [] }, quick: flag, json: flag, help: flag },
  })
  if (values.help) return console.log(help)
  const rows = new Set(values.row.map(Number))
  const results: Result[] = []
  for (const scenario of allScenarios)
    if (rows.size === 0 || rows.has(scenario.row)) results.push(await measure(scenario, !values.quick))
  if (values.json) {
    const plain = results.map(({ scenario: { row, fault, expected, gap }, figures, failure }) => ({
      ...{ row, fault, expected, gap, figures, failure },
    }))
    console.log(JSON.stringify(plain, undefined, 2))
  } else console.log(formatTable(results))
  if (results.some(({ failure, scenario }) => failure !== undefined && scenario.gap === undefined)) process.exitCode = 1
}

await main()
// Sockets that a fault left open keep nobody waiting.
process.exit()
