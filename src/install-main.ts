import { randomBytes } from 'node:crypto'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ownRights, type Who } from './channel/permissions.ts'
import { logReader } from './cli/log-reader.ts'
import { stopSignal } from './cli/stop-signal.ts'
import { systemClock } from './clock.ts'
import { environment } from './config/environment.ts'
import { failureFields, formatFinding } from './config/finding.ts'
import { type InstallerConfig, readInstallerConfig } from './installer/configuration.ts'
import { describeInstaller } from './installer/description.ts'
import { startInstaller } from './installer/installer.ts'
import { usage } from './installer/usage.ts'
import { createLog } from './log.ts'
import { createSystemdNotifier } from './systemd-notify.ts'
import { version } from './version.ts'

class UsageError extends Error {}

async function main(argv: string[]): Promise<void> {
  const { values, positionals } = readArguments(argv)
  if (values.confined !== undefined) {
    const { proveDrop } = await import('./parts/proof-of-drop.ts')
    proveDrop(values.confined)
  }
  if (values.help === true) return void process.stdout.write(usage)
  if (values.version === true) return void process.stdout.write(`${version}\n`)
  const { set: assignments = [], lenient = false } = values
  if (positionals.length === 0 && assignments.length === 0) throw new UsageError('name a configuration file')
  // Where we were started, and by whom, is no part of what we do.
  const files = positionals.map((file) => resolve(file))
  const socket = values.socket?.startsWith('fd:') === true ? values.socket : resolvePath(values.socket)
  process.chdir('/')
  process.umask(0o077)
  const who = ownRights()
  const read = () => readInstallerConfig({ files, who, environment, assignments, lenient })
  const config = read()
  if (values.check === true) return void process.stdout.write(describeInstaller(config))
  await serve(socket ?? config.socket, config, read, who)
}

async function serve(
  place: string | undefined,
  config: InstallerConfig,
  read: () => InstallerConfig,
  who: Who,
): Promise<void> {
  if (place === undefined) throw new UsageError('name a socket: --socket PATH, or [process] installer')
  // A log file that the server has would be one that others lead elsewhere.
  using log = createLog({ ...config.logging, destination: 'stdout' }, logReader())
  const stopped = stopSignal()
  const systemd = createSystemdNotifier(environment, log)
  const parts = { who, clock: systemClock, log, randomBytes: (length: number) => randomBytes(length) }
  if (who.uid !== 0) log.warn('not started as root: files of others cannot be installed', { uid: who.uid })
  await using installer = await startInstaller(place, config, parts)
  const warnOf = ({ warnings }: InstallerConfig) => {
    for (const warning of warnings) log.warn(formatFinding(warning))
  }
  process.on('SIGHUP', () => {
    try {
      const next = read()
      installer.change(next)
      warnOf(next)
      log.info('configuration reloaded', { configuration: config.files })
    } catch (error) {
      log.error('configuration not reloaded; the old one goes on', failureFields(error))
    }
    systemd.ready()
  })
  warnOf(config)
  log.info('installing', {
    socket: place,
    certificates: config.certificates.map(({ name }) => name),
    configuration: config.files,
    pid: process.pid,
  })
  systemd.ready()
  const signal = await stopped
  log.info('stopping', { signal })
  systemd.stopping()
}

function resolvePath(path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(path)
}

function readArguments(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        socket: { type: 'string' },
        check: { type: 'boolean' },
        set: { type: 'string', multiple: true },
        lenient: { type: 'boolean' },
        // Said by the launcher: what we are to be, and no more.
        confined: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'wrong arguments')
  }
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`acmems-install: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
