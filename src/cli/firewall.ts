import { Command } from 'commander'
import { rootRights } from '../channel/permissions.ts'
import { systemClock } from '../clock.ts'
import { environment } from '../config/environment.ts'
import { ConfigError, failureFields } from '../config/finding.ts'
import type { Section } from '../config/ini.ts'
import { environmentLayer, flagLayer, overlay } from '../config/layers.ts'
import { readSections } from '../config/load.ts'
import { knownKeys } from '../config/sections.ts'
import { closeLeftPorts, startFirewall } from '../firewall/firewall.ts'
import { type ListeningKind, openablePorts } from '../firewall/openable-ports.ts'
import { describeOpening, type Opening } from '../firewall/opening.ts'
import { toolPath } from '../firewall/tools.ts'
import { createLog } from '../log.ts'
import { ownStanding } from '../parts/standing.ts'
import { dnsServerSolver } from '../plugins/challenges/dns-server.ts'
import { http01Solver } from '../plugins/challenges/http01.ts'
import { tlsAlpn01Solver } from '../plugins/challenges/tlsalpn01.ts'
import { createSystemdNotifier } from '../systemd-notify.ts'
import { checkTrustedFile } from '../trusted-file.ts'
import { validationProtocols } from '../validation-protocols.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { logReader } from './log-reader.ts'
import { stopSignal } from './stop-signal.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & { readonly socket?: string; readonly close: boolean }

const solvers = [http01Solver, tlsAlpn01Solver, dnsServerSolver]
const kinds = solvers.map(
  ({ name, options }): ListeningKind => ({
    type: name,
    protocols: validationProtocols[name] ?? [],
    usual: options.listener.default,
  }),
)
const implied = { name: 'http', type: http01Solver.name }

/** `acmems firewall --socket PATH CONFIG...` */
export function firewallCommand(): Command {
  return withConfigFlags(new Command('firewall'))
    .summary('open the ports of validations for as long as they take')
    .description(
      "Answer the server on a UNIX socket: open the port of a listener in the machine's firewall while something is\nvalidated there, and close it again. Runs as root and needs CAP_NET_ADMIN alone (CAP_NET_RAW, too, where legacy\niptables rules). Only ports of listeners in these configuration files are opened; they must be root's.\nSIGTERM and SIGINT end it and close what is open, SIGHUP reads the configuration again.",
    )
    .argument('[config...]', 'configuration files: those of the server')
    .option('--socket <path>', 'where to listen, or fd:3; [process] firewall of the server says the same')
    .option('--close', 'only delete what a killed one left, and end', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems firewall --socket /run/acmems/firewall/S /etc/acmems/acmems.ini\n  acmems firewall --close',
    )
    .action((files: string[], flags: Flags) => runFirewall(files, flags))
}

async function runFirewall(files: readonly string[], { socket, close, set }: Flags): Promise<void> {
  const path = toolPath(environment.PATH)
  if (!close && (socket === undefined || files.length === 0))
    throw new UsageError('say where to listen (--socket PATH) and which configuration holds (CONFIG...)')
  needNetAdmin()
  if (close || socket === undefined) {
    const { removed, inUse } = await closeLeftPorts(path)
    if (removed + inUse > 0) process.stdout.write(`deleted ${removed} rules; ${inUse} are of firewalls that run\n`)
    return
  }
  let allowed = await readAllowed(files, set)
  // A log file that the server has would be one that others lead elsewhere.
  using log = createLog({ level: 'info', destination: 'stdout', format: 'auto' }, logReader())
  const stopped = stopSignal()
  const systemd = createSystemdNotifier(environment, log)
  const parts = { place: socket, who: rootRights, allowed: () => allowed, path, clock: systemClock, log }
  await using _firewall = await startFirewall(parts)
  const sayAllowed = () =>
    log.info('ports of validations may be opened', { openings: [...allowed.values()].flat().map(describeOpening) })
  sayAllowed()
  process.on('SIGHUP', () => {
    readAllowed(files, set)
      .then(
        (fresh) => {
          allowed = fresh
          log.info('configuration reloaded', { configuration: files })
          sayAllowed()
        },
        (error: unknown) => log.error('configuration not reloaded; the old one goes on', failureFields(error)),
      )
      .finally(() => systemd.ready())
  })
  systemd.ready()
  const signal = await stopped
  log.info('stopping', { signal })
  systemd.stopping()
}

/** Whoever can write there could have any port opened. */
async function readAllowed(
  files: readonly string[],
  assignments: readonly string[],
): Promise<ReadonlyMap<number, readonly Opening[]>> {
  for (const file of files) checkTrustedFile(file, rootRights)
  const written = await readSections(files)
  if (written.findings.some(({ severity }) => severity === 'error')) throw new ConfigError(written.findings)
  // What they say of anything else is for the server to judge.
  const known = knownKeys(solvers)
  const layers = [environmentLayer(environment, written.sections, known), flagLayer(assignments)]
  return openablePorts(
    layers.reduce<Section[]>((sections, layer) => overlay(sections, layer.sections), written.sections),
    kinds,
    implied,
  )
}

function needNetAdmin(): void {
  if (process.getuid?.() !== 0 || !ownStanding().capabilities.effective.includes('net_admin'))
    throw new Error('only root with CAP_NET_ADMIN can change the rules of the firewall')
}
