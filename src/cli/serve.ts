import { resolve } from 'node:path'
import { Command } from 'commander'
import { rootRights } from '../channel/permissions.ts'
import type { Config } from '../config/config.ts'
import { environment, platformSettings } from '../config/environment.ts'
import { failureFields, formatFinding } from '../config/finding.ts'
import { readSections } from '../config/load.ts'
import type { Daemon } from '../daemon.ts'
import { adoptSockets, systemdDescriptors } from '../http/inherited-sockets.ts'
import { createLog, type Log } from '../log.ts'
import { createSystemdNotifier } from '../systemd-notify.ts'
import { checkTrustedFile } from '../trusted-file.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { readDescriptors } from './descriptors.ts'
import { logReader } from './log-reader.ts'
import { stopSignal } from './stop-signal.ts'

type ServeFlags = ConfigFlags & { readonly sockets?: string }

const otherUserVariable = 'ACMEMS_PROCESS_USER_SERVER'

/** `acmems serve [CONFIG...]` */
export function serveCommand(): Command {
  return withConfigFlags(new Command('serve'))
    .summary('run the server')
    .description(
      'Run the server. Configuration files are read in their order; without one the defaults hold.\nSIGTERM and SIGINT stop it when what is in flight is done; SIGHUP reads the configuration again.\nStarted by root, with [process] user-server, it starts its parts as processes of their own, each as its user.',
    )
    .argument('[config...]', 'configuration files')
    .option('--sockets <numbers>', 'descriptors of sockets that were opened before, beside those of systemd: 3-5')
    .addHelpText(
      'after',
      '\nExamples:\n  acmems serve /etc/acmems/acmems.ini\n  acmems serve --set mgmt.listener=127.0.0.1:8313\n  acmems serve --set account.type=local --set auth.lab.ip=127.0.0.1 --set "auth.lab.domain=*.lab.test"',
    )
    .action((files: string[], flags: ServeFlags) => serve(files, flags))
}

/** @param defaults assignments that hold where nothing else is written */
export async function serve(
  files: readonly string[],
  flags: ServeFlags,
  defaults: readonly string[] = [],
): Promise<void> {
  const isLauncher = process.getuid?.() === 0 && (await hasOtherUser(files, flags))
  const checkObeyed = (path: string) => checkTrustedFile(path, rootRights)
  // The launcher and its parts go to /, and read them again.
  const paths = isLauncher ? files.map((file) => resolve(file)) : files
  const read = () => readConfig(paths, flags, defaults, isLauncher ? checkObeyed : undefined)
  const config = await read()
  if (isLauncher && config.process['user-server'] !== undefined) {
    const { launchParts } = await import('./launch.ts')
    await launchParts(config, paths, flags, read)
    return
  }
  using log = createLog(config.logging, logReader(config.logging.destination))
  for (const warning of config.warnings) log.warn(formatFinding(warning))
  // A server that root started is told where the installer is, whoever wrote what.
  if (config.process['user-server'] !== undefined && config.process.installer === undefined)
    log.warn('[process] user-* is for acmems serve started by root: here one process does all', {
      uid: process.getuid?.(),
    })
  // Before anything else: a signal that comes while it starts must stop it in order, too.
  const stopped = stopSignal()
  // Loaded here, so that the commands that need no server start without it.
  const { startDaemon } = await import('../daemon.ts')
  const systemd = createSystemdNotifier(environment, log)
  const inherited = [
    ...systemdDescriptors(environment).flatMap(adoptIfBound),
    ...adoptSockets(readDescriptors(flags.sockets)),
  ]
  if (inherited.length > 0) log.info('sockets that were open already', { sockets: inherited })
  const daemon = await startDaemon(config, { log, ...platformSettings() })
  process.on('SIGHUP', () => void reload(daemon, files, read, log).finally(() => systemd.ready()))
  log.info('serving', {
    mgmt: daemon.mgmtAddresses,
    ...daemonAddresses(daemon),
    configuration: files,
    pid: process.pid,
  })
  systemd.ready()
  const signal = await stopped
  log.info('stopping', { signal })
  systemd.stopping()
  await daemon[Symbol.asyncDispose]()
  log.info('stopped')
}

/**
 * Root is to start the server as another user. Said by the bare words, before any plugin is loaded: root obeys only files
 * that this user cannot write.
 */
async function hasOtherUser(files: readonly string[], { set }: ServeFlags): Promise<boolean> {
  if (environment[otherUserVariable] !== undefined || set.some((one) => one.startsWith('process.user-server=')))
    return true
  const { sections } = await readSections(files)
  return sections.some(({ kind, entries }) => kind === 'process' && entries.some(({ key }) => key === 'user-server'))
}

/** What systemd opened may be a UNIX socket, too: that is for `listener = fd:3`. */
function adoptIfBound(descriptor: number): string[] {
  try {
    return adoptSockets([descriptor])
  } catch {
    return []
  }
}

/** `http01: [...]`, and the like for what else is answered. */
function daemonAddresses({ responderAddresses, dnsApiAddresses }: Daemon): Record<string, readonly string[]> {
  const responders = Object.fromEntries(
    Object.entries(responderAddresses)
      .filter(([type, addresses]) => addresses.length > 0 || type === 'http-01')
      .map(([type, addresses]) => [type.replaceAll('-', ''), addresses]),
  )
  return dnsApiAddresses.length === 0 ? responders : { ...responders, dnsApi: dnsApiAddresses }
}

/** A configuration that cannot be used changes nothing: the old one goes on, and the log says why. */
async function reload(daemon: Daemon, files: readonly string[], read: () => Promise<Config>, log: Log): Promise<void> {
  log.reopen()
  try {
    const config = await read()
    for (const warning of config.warnings) log.warn(formatFinding(warning))
    await daemon.reload(config)
    log.info('configuration reloaded', { configuration: files })
  } catch (error) {
    log.error('configuration not reloaded; the old one goes on', failureFields(error))
  }
}
