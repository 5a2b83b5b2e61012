// npm run soak -- --runs 200 --seed 7: kills the server with SIGKILL on its way to a certificate, again and again, and
// looks whether anything was lost, doubled or left behind. A real CA and a real DNS server, all on this machine.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type CampaignOptions, runCampaign, summarize } from '../test/crash/campaign.ts'
import { formatPlan, parsePlan } from '../test/crash/crash-plan.ts'
import type { RunResult } from '../test/crash/crash-run.ts'
import {
  formatManagedPlan,
  type ManagedCampaignOptions,
  parseManagedPlan,
  runManagedCampaign,
} from '../test/crash/managed-campaign.ts'
import { soakDns } from './soak-dns.ts'

const evidenceFolder = resolve(import.meta.dirname, '../.cache/soak')

const help = `Usage: npm run soak -- [OPTION...]

  --runs NUMBER    so many runs with points by chance (default 200)
  --seed NUMBER    the same number, the same points (default 7)
  --every          every point of a crash once, instead of points by chance
  --plan PLAN      this run only, as a violation printed it; again for more
  --parallel N     runs at once (default 4)
  --only WHAT      "crash", which is the default; "managed": the same for certificates that a machine keeps for itself;
                   or "dns": hostile packets for the embedded DNS server
  --ca WHICH       with --only managed: "local", which is the default, or "pebble", which says how many it has issued
  --packets NUMBER with --only dns: so many straight into it, and as many by UDP (default 100000)
  --json           every run as a line of JSON on the standard output, and no table

Exit codes: 0 nothing was lost, doubled or left behind; 1 something was; 2 it was called wrongly.
`

type Wanted =
  | { only: 'crash'; options: CampaignOptions; json: boolean }
  | { only: 'managed'; options: ManagedCampaignOptions }
  | { only: 'dns'; packets: number; seed: number }

function readArguments(): Wanted | undefined {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '200' },
      seed: { type: 'string', default: '7' },
      parallel: { type: 'string', default: '4' },
      plan: { type: 'string', multiple: true },
      only: { type: 'string', default: 'crash' },
      ca: { type: 'string', default: 'local' },
      packets: { type: 'string', default: '100000' },
      every: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false, short: 'h' },
    },
  })
  if (values.help) return undefined
  const numberOf = (name: 'runs' | 'seed' | 'parallel' | 'packets') => {
    if (!/^\d{1,9}$/.test(values[name])) throw new Error(`--${name} ${values[name]} is no number`)
    return Number(values[name])
  }
  if (values.only === 'dns') return { only: 'dns', packets: numberOf('packets'), seed: numberOf('seed') }
  const byChance = { runs: numberOf('runs'), seed: numberOf('seed') }
  if (values.only === 'managed') {
    const plans = values.plan?.map(parseManagedPlan) ?? (values.every ? 'every point' : byChance)
    const { ca } = values
    if (ca !== 'local' && ca !== 'pebble') throw new Error(`--ca ${ca} is neither local nor pebble`)
    return { only: 'managed', options: { plans, ca, parallel: Math.max(1, numberOf('parallel')) } }
  }
  if (values.only !== 'crash') throw new Error(`--only ${values.only} is neither crash nor managed nor dns`)
  const plans = values.plan?.map(parsePlan) ?? (values.every ? 'every point' : byChance)
  return { only: 'crash', options: { plans, parallel: Math.max(1, numberOf('parallel')) }, json: values.json }
}

/** What is needed to understand it lies in a file. */
function tellViolations(
  { violations, evidence }: Pick<RunResult, 'violations' | 'evidence'>,
  plan: string,
  run: number,
  only = '',
): void {
  mkdirSync(evidenceFolder, { recursive: true })
  const file = join(evidenceFolder, `${run}.log`)
  writeFileSync(file, `${plan}\n${violations.join('\n')}\n${evidence}\n`)
  for (const violation of violations) process.stderr.write(`VIOLATION ${violation}\n`)
  process.stderr.write(`  again: npm run soak -- ${only}--plan '${plan}'\n  what the servers say: ${file}\n`)
}

async function soakManaged(options: ManagedCampaignOptions): Promise<number> {
  let [bad, reads] = [0, 0]
  const only = `--only managed --ca ${options.ca} `
  const results = await runManagedCampaign({
    ...options,
    onResult(result, done, total) {
      bad += result.violations.length
      reads += result.reads
      if (result.violations.length > 0) tellViolations(result, formatManagedPlan(result.plan), done, only)
      if (done % 10 === 0 || done === total) process.stderr.write(`${done} of ${total} runs, ${bad} violations\n`)
    },
  })
  const kills = results.flatMap(({ plan }) => plan.kills).length
  const places = new Set(results.flatMap(({ deaths }) => deaths))
  process.stdout.write(
    `${results.length} runs, ${kills} processes to be killed, at ${places.size} different places and by the clock; ${reads} looks at the directory meanwhile; ${bad} violations\n`,
  )
  return bad === 0 ? 0 : 1
}

async function main(): Promise<number> {
  let wanted: ReturnType<typeof readArguments>
  try {
    wanted = readArguments()
  } catch (error) {
    process.stderr.write(`soak: ${error instanceof Error ? error.message : String(error)}\n\n${help}`)
    return 2
  }
  if (wanted === undefined) {
    process.stdout.write(help)
    return 0
  }
  if (wanted.only === 'dns') {
    const found = await soakDns(wanted, (line) => process.stdout.write(`${line}\n`))
    for (const violation of found) process.stderr.write(`VIOLATION ${violation}\n`)
    process.stderr.write(`seed ${wanted.seed}\n`)
    return found.length === 0 ? 0 : 1
  }
  if (wanted.only === 'managed') return await soakManaged(wanted.options)
  const { options, json } = wanted
  const startedAtMs = performance.now()
  let bad = 0
  const campaign = await runCampaign({
    ...options,
    onResult(result, done, total) {
      const plan = formatPlan(result.plan)
      if (json) process.stdout.write(`${JSON.stringify({ ...result, plan, points: undefined, evidence: undefined })}\n`)
      bad += result.violations.length
      if (result.violations.length > 0) tellViolations(result, plan, done)
      if (done % 10 === 0 || done === total) {
        const seconds = Math.round((performance.now() - startedAtMs) / 1000)
        process.stderr.write(`${done} of ${total} runs, ${bad} violations, ${seconds} s\n`)
      }
    },
  })
  for (const violation of campaign.violations) process.stderr.write(`VIOLATION ${violation}\n`)
  if (!json) process.stdout.write(`\n${summarize(campaign).join('\n')}\n`)
  if (typeof options.plans === 'object' && 'runs' in options.plans) process.stderr.write(`seed ${options.plans.seed}\n`)
  return bad + campaign.violations.length === 0 ? 0 : 1
}

process.exitCode = await main()
