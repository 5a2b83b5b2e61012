import { Command, InvalidArgumentError } from 'commander'
import { type ProbeTarget, parseProbeTarget } from '../probe/probe-target.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import type { Checked } from './deploy-findings.ts'
import { openDesk } from './open-installation.ts'
import { parseSpanOption } from './span-option.ts'
import { formatNames, formatSpan, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean; readonly at: readonly ProbeTarget[]; readonly grace: number }

/** `acmems deploy-check`: is what was issued served? */
export function deployCheckCommand(): Command {
  return withConfigFlags(new Command('deploy-check'))
    .summary('connect, and say whether what was issued is served')
    .description(
      "Connect to where certificates are to be served, and compare what is served with what was issued: the newest, an\nolder one, something else, or no answer. Where: --at, else probe in the certificate's [auth] or [certificate]\nsection, else each of its names at port 443. Exit code 1 when anything is wrong.\nAn argument with a slash in it or with .ini at its end is a configuration file; every other one is a [certificate]\nsection, or the id, the serial or a name of a certificate.",
    )
    .argument('[name...]', 'which certificates (default: all in use), then configuration files')
    .option(
      '--at <place>',
      'look there: host:port, smtp://host, name@host:port, caller:443; repeat it for more',
      addPlace,
      [],
    )
    .option(
      '--grace <span>',
      'an older one is fine for so long after the newest was issued (90m, 24h, 7d)',
      parseSpanOption,
      0,
    )
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems deploy-check /etc/acmems/acmems.ini\n  acmems deploy-check www.example.org --at 192.0.2.7:443 /etc/acmems/acmems.ini\n  acmems deploy-check --grace 2d --json /etc/acmems/acmems.ini',
    )
    .action(deployCheck)
}

function addPlace(text: string, former: ProbeTarget[]): ProbeTarget[] {
  try {
    const target = parseProbeTarget(text)
    return target === 'no' ? former : [...former, target]
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : '')
  }
}

async function deployCheck(words: string[], flags: Flags): Promise<void> {
  const isFile = (word: string) => word.includes('/') || word.endsWith('.ini')
  const names = words.filter((word) => !isFile(word))
  await using desk = await openDesk(words.filter(isFile), flags)
  desk.stopOnSignal()
  const { checkDeployments } = await import('./deploy-findings.ts')
  const all = await checkDeployments(desk, names, flags)
  if (all.some(({ isWrong }) => isWrong)) process.exitCode = 1
  if (flags.json) {
    printJson(all)
    return
  }
  if (all.length === 0) process.stdout.write('no certificates in use\n')
  for (const one of all) process.stdout.write(`${describe(one, desk.clock.nowMs())}\n`)
}

function describe(checked: Checked, nowMs: number): string {
  const { names, place, verdict, servedSerial, servedUntil, reason } = checked
  const where = place === undefined ? formatNames(names) : `${formatNames(names)} at ${place}`
  const which = `serial ${servedSerial}, good until ${servedUntil}`
  switch (verdict) {
    case 'newest':
      return `${where}: serves the newest, ${which}`
    case 'older':
      return `${where}: serves an older one, ${which}${describePickUps(checked, nowMs)}`
    case 'other':
      return `${where}: serves something else: ${reason}`
    case 'unreachable':
      return `${where}: does not answer: ${reason}`
    case 'none':
    case 'nowhere':
      return `${where}: ${reason}`
    default:
      return verdict satisfies never
  }
}

/** Who has the newest, and does not serve it. */
function describePickUps({ pickUps, serial, address, isInstalledHere }: Checked, nowMs: number): string {
  if (isInstalledHere) return ''
  // Where the host that is looked at is known, what others have is beside the point.
  const own = pickUps.filter(({ client }) => client === address)
  const having = (own.length > 0 ? own : pickUps).filter((pickUp) => pickUp.serial === serial)
  if (having.length === 0) return '; the newest was not picked up yet'
  const shown = having
    .slice(0, 3)
    .map(({ at, client }) => `${formatSpan(Math.max(0, nowMs - Date.parse(at ?? '')))} ago by ${client}`)
  const more = having.length > shown.length ? ` and ${having.length - shown.length} more` : ''
  return `; picked up ${shown.join(', ')}${more}, still serves the old one`
}
