import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { rootRights } from '../channel/permissions.ts'
import { systemClock } from '../clock.ts'
import type { Owner } from '../config/certificate-options.ts'
import type { Config } from '../config/config.ts'
import { environment, platformSettings } from '../config/environment.ts'
import { failureFields } from '../config/finding.ts'
import { hasLegacyTables } from '../firewall/tools.ts'
import { lockFile, lockFolder } from '../folder-lock.ts'
import { createLog } from '../log.ts'
import { findOwner } from '../managed/owner.ts'
import { closeStrays } from '../parts/descriptors.ts'
import { launch } from '../parts/launcher.ts'
import { firstUnprivilegedPort } from '../parts/opened-sockets.ts'
import { type Plan, planParts, type RunsAs } from '../parts/plan.ts'
import { type Copy, makeCopy, makeRunFolder, makeSocketFolder, makeStateFolder } from '../parts/run-folder.ts'
import { checkTrustedFile } from '../trusted-file.ts'
import type { ConfigFlags } from './config-arguments.ts'
import { logReader } from './log-reader.ts'
import { programFiles } from './program-files.ts'
import { stopSignal } from './stop-signal.ts'

const run = promisify(execFile)

/**
 * Runs the parts of the server as processes of their own, each as its user: what `acmems serve` does as root with
 * `[process] user-server`. Root itself reads the configuration, opens what only root may open, and watches.
 */
export async function launchParts(
  config: Config,
  files: readonly string[],
  flags: ConfigFlags,
  read: () => Promise<Config>,
): Promise<void> {
  const { destination } = config.logging
  const isFile = destination !== 'stdout' && destination !== 'stderr'
  // A file of the log is the server's own.
  const ours = isFile ? 'stderr' : destination
  using log = createLog({ ...config.logging, destination: ours }, logReader(ours))
  const stopped = stopSignal()
  const strays = closeStrays()
  if (strays.length > 0) log.info('descriptors that were left open for us are closed', { descriptors: strays })
  process.umask(0o077)
  process.chdir('/')
  const plan = await planFor(config, files, flags)
  const folder = config.process['run-directory']
  makeRunFolder(folder, plan.folders, lockFile)
  await using lock = await lockFolder(folder)
  if (lock === undefined) throw new Error(`another acmems serve has its sockets in ${folder}: [process] run-directory`)
  for (const one of plan.folders) makeSocketFolder(one)
  for (const one of plan.copies) copyTrusted(one)
  // From before the first part is there: a signal that came too early would end us.
  process.on('SIGHUP', () => void reload())
  const abandoning = new AbortController()
  void stopped.then(() => abandoning.abort())
  const launching = launch(plan.parts, systemClock, log, abandoning.signal)
  const reload = async () => {
    try {
      const launcher = await launching
      const next = await planFor(await read(), files, flags)
      for (const one of next.copies) copyAgain(one)
      await launcher.reload(next.parts)
    } catch (error) {
      log.error('configuration not reloaded; the old one goes on', failureFields(error))
    }
  }
  /** What keeps one part from its new configuration keeps no other from theirs: its folder is its user's. */
  const copyAgain = (copy: Copy) => {
    const isKnown = plan.copies.some(({ to, uid, gid }) => to === copy.to && uid === copy.uid && gid === copy.gid)
    try {
      if (isKnown) copyTrusted(copy)
    } catch (error) {
      log.error('a file is not read again; the old one goes on', { file: copy.from, ...failureFields(error) })
    }
  }
  const launcher = await launching
  const end = await Promise.race([stopped, launcher.failed])
  if (typeof end === 'number') process.exitCode = end
  else log.info('stopping', { signal: end })
  process.once('exit', () => launcher.kill())
  await launcher.stop()
  log.info('stopped')
}

/** What root reads for another user must be root's: a link of his would lead to what he may not read. */
function copyTrusted(copy: Copy): void {
  if (!existsSync(copy.from))
    throw new Error(`[process] accountd-config = ${copy.from} is not there; it names the key: privkey = file:/path`)
  checkTrustedFile(copy.from, rootRights)
  makeCopy(copy)
}

async function planFor(config: Config, files: readonly string[], flags: ConfigFlags): Promise<Plan> {
  const { process: wanted, stateUrl } = config
  const [server, responder, accountd] = await Promise.all([
    findUser('user-server', wanted['user-server']),
    findUser('user-responder', wanted['user-responder']),
    findUser('user-accountd', wanted['user-accountd']),
  ])
  if (server === undefined) throw new Error('[process] user-server is missing')
  checkApart({ server, responder, accountd })
  const { stateFolder } = platformSettings()
  if (stateUrl === undefined || stateUrl === `sqlite:${stateFolder}/state.db`) makeStateFolder(stateFolder, server)
  return planParts({
    config,
    files,
    flags,
    users: {
      server,
      ...(responder === undefined ? {} : { responder }),
      ...(accountd === undefined ? {} : { accountd }),
    },
    environment,
    namedVariables: files.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/\$\{ENV:(\w+)\}/g)].map(([, name = '']) => name),
    ),
    programs: programFiles(),
    firstUnprivilegedPort: firstUnprivilegedPort(),
    stateFolder,
    hasLegacyIptables: hasLegacyTables(),
  })
}

/** Folders of sockets are open to the group of who asks: a common one would let in who is to be kept out. */
function checkApart(users: Readonly<Record<string, RunsAs | undefined>>): void {
  const all = Object.entries(users).flatMap(([part, user]) => (user === undefined ? [] : [{ part, ...user }]))
  for (const [index, one] of all.entries())
    for (const other of all.slice(index + 1)) {
      const keys = `[process] user-${one.part} = ${one.user} and user-${other.part} = ${other.user}`
      if (one.uid === other.uid) throw new Error(`${keys} are one user (${one.uid}): each could do what the other can`)
      if (one.gid === other.gid)
        throw new Error(
          `${keys} have one group (${one.gid}), and could come to each other's sockets: give each a group of its own (user:group)`,
        )
    }
}

/** @throws Error naming the key whose user is not there, or is root */
async function findUser(key: string, name: Owner | undefined): Promise<RunsAs | undefined> {
  if (name === undefined) return undefined
  const { user } = name
  const { uid, gid } = await findOwner(name).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : 'cannot be found'
    throw new Error(`[process] ${key} = ${user}: ${reason}`, { cause })
  })
  if (uid === 0 || gid === 0) throw new Error(`[process] ${key} = ${user}: that is root, whom this is to keep out`)
  const home = await run('getent', ['passwd', String(uid)]).then(
    ({ stdout }) => stdout.split(':')[5] ?? '/',
    () => '/',
  )
  return { uid, gid, user, home }
}
