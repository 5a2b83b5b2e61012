import { lookup } from 'node:dns/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { platformSettings } from '../config/environment.ts'
import { formatDnsServer, parseDnsServer } from '../dns/exchange.ts'
import type { PluginContext } from '../plugin-api.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { readName } from './dns-records.ts'
import { type Diagnosis, formatDiagnosis, isHealthy } from './doctor-finding.ts'
import { examine } from './doctor-way.ts'
import { hasState, openDesk } from './open-installation.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & {
  readonly config: readonly string[]
  readonly resolver?: string
  readonly privateResolver?: string
  readonly rehearse: boolean
  readonly processes: boolean
  readonly pid: readonly string[]
  readonly json: boolean
}

/** `acmems doctor`: will it work for this name, and why not? */
export function doctorCommand(): Command {
  return withConfigFlags(new Command('doctor'))
    .summary('walk the whole way to a certificate for names, and say what will fail and why')
    .description(
      'Walk the whole way to a certificate for names: policy, CA and account, the public DNS beside the private one, the path\nof the challenge (an answer is shown for a moment, and looked at as a CA would), CAA, rate limits. Nothing is ordered.\nRun it on the machine of the server, beside it.\nExit code: 0 nothing is known to fail, 1 something will, 2 it was called wrongly.',
    )
    .argument('[name...]', 'names as in a certificate, *.example.org for a wildcard')
    .option('--config <file>', 'a configuration file; repeat it for more', collect, [])
    .option(
      '--resolver <host[:port]>',
      "a DNS resolver that answers as the public DNS does (default: the verification's, else the system's)",
    )
    .option(
      '--private-resolver <host[:port]>',
      "a DNS resolver that answers as this network's does (default: the system's)",
    )
    .option('--rehearse', 'also let a verification that changes DNS write a record, and remove it', false)
    .option(
      '--processes',
      'instead: what each running part of acmems is, and could do; exit code 1 when it is more than was promised',
      false,
    )
    .option(
      '--pid <number>',
      'with --processes: only this process and those it started; repeat it for more',
      collect,
      [],
    )
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems doctor www.example.org --config /etc/acmems/acmems.ini\n  acmems doctor nas.example.org --resolver 9.9.9.9 --config /etc/acmems/acmems.ini\n  acmems doctor example.org "*.example.org" --rehearse --json --config /etc/acmems/acmems.ini\n  acmems doctor --processes',
    )
    .action(runDoctor)
}

function collect(value: string, former: string[]): string[] {
  return [...former, value]
}

async function runDoctor(names: string[], flags: Flags): Promise<void> {
  if (flags.processes) {
    if (names.length > 0) throw new UsageError('--processes looks at what runs, and not at names')
    const { examineProcesses } = await import('./doctor-processes.ts')
    await examineProcesses(flags)
    return
  }
  if (names.length === 0) throw new UsageError("missing argument 'name'")
  const identifiers = names.map(readName)
  const resolver = await readServer(flags.resolver)
  const privateResolver = await readServer(flags.privateResolver)
  const config = await readConfig(flags.config, flags)
  const stateUrl = config.stateUrl ?? `sqlite:${join(platformSettings().stateFolder, 'state.db')}`
  await using desk = hasState(stateUrl) ? await openDesk(flags.config, flags) : undefined
  desk?.stopOnSignal()
  const context = desk?.context ?? contextWithoutState()
  const instruments = { config, context, desk, resolver, privateResolver, mayWrite: flags.rehearse }
  const diagnoses: Diagnosis[] = []
  for (const identifier of identifiers)
    diagnoses.push({ name: identifier.value, findings: await examine(identifier, instruments) })
  if (flags.json) printJson(diagnoses.map((diagnosis) => ({ ...diagnosis, ok: isHealthy(diagnosis) })))
  else process.stdout.write(diagnoses.map(formatDiagnosis).join('\n'))
  if (!diagnoses.every(isHealthy)) process.exitCode = 1
}

/** By its address: what is asked must not depend on who resolves its name. */
async function readServer(text: string | undefined): Promise<string | undefined> {
  if (text === undefined) return undefined
  try {
    const { host, port } = parseDnsServer(text)
    const { address } = await lookup(host)
    return formatDnsServer({ host: address, port })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : `${text} is no DNS server`)
  }
}

/** All that looking needs where no server has ever run. */
function contextWithoutState(): PluginContext {
  const silent = () => undefined
  return {
    signal: new AbortController().signal,
    clock: systemClock,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    http: { request: () => Promise.reject(new Error('there is no state')) },
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
  }
}
