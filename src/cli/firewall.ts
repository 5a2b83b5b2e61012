import { readFileSync, realpathSync, statSync } from 'node:fs'
import { Command } from 'commander'
import { checkFoldersOf } from '../channel/permissions.ts'
import { environment } from '../config/environment.ts'
import { ConfigError } from '../config/finding.ts'
import type { Section } from '../config/ini.ts'
import { environmentLayer, flagLayer, overlay } from '../config/layers.ts'
import { readSections } from '../config/load.ts'
import { knownKeys } from '../config/sections.ts'
import { closeLeftPorts, startFirewall } from '../firewall/firewall.ts'
import { type ListeningKind, openablePorts } from '../firewall/openable-ports.ts'
import { describeOpening, type Opening } from '../firewall/opening.ts'
import { toolPath } from '../firewall/tools.ts'
import { dnsServerSolver } from '../plugins/challenges/dns-server.ts'
import { http01Solver } from '../plugins/challenges/http01.ts'
import { tlsAlpn01Solver } from '../plugins/challenges/tlsalpn01.ts'
import { createSystemdNotifier } from '../systemd-notify.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { stopSignal } from './stop-signal.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & { readonly socket?: string; readonly close: boolean }

const kinds: readonly ListeningKind[] = [
  { type: http01Solver.name, protocols: ['tcp'], usual: http01Solver.options.listener.default },
  { type: tlsAlpn01Solver.name, protocols: ['tcp'], usual: tlsAlpn01Solver.options.listener.default },
  { type: dnsServerSolver.name, protocols: ['tcp', 'udp'], usual: dnsServerSolver.options.listener.default },
]
const solvers = [http01Solver, tlsAlpn01Solver, dnsServerSolver]
const implied = { name: 'http', type: http01Solver.name }
const netAdmin = 12
const root = { uid: 0, gids: [0] }

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
  // Whoever reads standard error may be gone; that ends nothing.
  process.stderr.on('error', () => undefined)
  const say = (message: string) => void process.stderr.write(`${message}\n`)
  if (close || socket === undefined) {
    const { removed, inUse } = await closeLeftPorts(path)
    if (removed + inUse > 0) say(`deleted ${removed} rules; ${inUse} are of firewalls that run`)
    return
  }
  let allowed = await readAllowed(files, set)
  const stopped = stopSignal()
  const systemd = createSystemdNotifier(environment, {
    debug: () => undefined,
    info: () => undefined,
    warn: say,
    error: say,
  })
  await using _firewall = await startFirewall({ place: socket, who: root, allowed: () => allowed, path, say })
  const sayAllowed = () => say(`may open: ${[...allowed.values()].flat().map(describeOpening).join(', ') || 'nothing'}`)
  sayAllowed()
  process.on('SIGHUP', () => {
    readAllowed(files, set).then(
      (fresh) => {
        allowed = fresh
        sayAllowed()
        systemd.ready()
      },
      (error: unknown) => {
        say(`the configuration cannot be used, the old one holds: ${error instanceof Error ? error.message : ''}`)
        systemd.ready()
      },
    )
  })
  systemd.ready()
  await stopped
  systemd.stopping()
}

/** Whoever can write there could have any port opened. */
async function readAllowed(
  files: readonly string[],
  assignments: readonly string[],
): Promise<ReadonlyMap<number, readonly Opening[]>> {
  for (const file of files) {
    for (const path of new Set([file, realpathSync(file)])) checkFoldersOf(path, root)
    const { uid, mode } = statSync(file)
    if (uid !== 0 || (mode & 0o022) !== 0)
      throw new Error(`${file} must belong to root, and nobody else may write to it (chown root, chmod go-w)`)
  }
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
  const capabilities = BigInt(
    `0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0}`,
  )
  if (process.getuid?.() !== 0 || (capabilities & (1n << BigInt(netAdmin))) === 0n)
    throw new Error('only root with CAP_NET_ADMIN can change the rules of the firewall')
}
