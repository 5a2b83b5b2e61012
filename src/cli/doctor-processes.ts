import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ownRights } from '../channel/permissions.ts'
import { isForInstaller } from '../config/certificates.ts'
import type { Config } from '../config/config.ts'
import { platformSettings } from '../config/environment.ts'
import { readForeignFile } from '../foreign-file.ts'
import { parseLacmeFile } from '../lacme/lacme-file.ts'
import { lookAtProcesses, type ProcessLook } from '../parts/process-look.ts'
import { findBroken, type Reach, type Secret } from '../parts/promises.ts'
import { checkTrustedFile } from '../trusted-file.ts'
import { type ConfigFlags, readConfig } from './config-arguments.ts'
import { reachOf } from './process-reach.ts'
import { formatFacts, printJson } from './table.ts'

type Flags = ConfigFlags & {
  readonly config: readonly string[]
  readonly pid: readonly string[]
  readonly json: boolean
}

/**
 * `acmems doctor --processes`: what each part is to the kernel, what it could come to, and whether that is what was
 * promised. Exit code 1 when it is not.
 */
export async function examineProcesses(flags: Flags): Promise<void> {
  const all = lookAtProcesses()
  const looks =
    flags.pid.length === 0
      ? all
      : all.filter(({ pid, parentPid }) => [pid, parentPid].some((id) => flags.pid.includes(String(id))))
  if (looks.length === 0) throw new Error('no part of acmems runs on this machine')
  const secrets = (await secretsOf(looks, flags)).filter(({ path }) => existsSync(path))
  const reports = looks.map((look) => {
    const reach = process.getuid?.() === 0 ? reachOf(look, secrets) : undefined
    return { look, reach, broken: findBroken(look, looks, reach) }
  })
  if (flags.json) printJson(reports.map(describe))
  else process.stdout.write(printable(reports.map(formatReport).join('\n')))
  if (reports.some(({ broken }) => broken.length > 0)) process.exitCode = 1
}

/** Folders, variables and files are named by whoever runs what we look at: none of it is a command for a terminal. */
function printable(text: string): string {
  return text.replaceAll(/[^\n\P{Cc}]/gu, '?')
}

function warn(text: string): void {
  process.stderr.write(printable(`acmems: ${text}\n`))
}

/** Whoever has so many has what root has. */
const manyCapabilities = 20

type Report = { readonly look: ProcessLook; readonly reach: Reach | undefined; readonly broken: readonly string[] }

function describe({ look, reach, broken }: Report) {
  const { pid, part, standing, cwd, variables, descriptors } = look
  return {
    ...{ part, pid, user: userOf(standing.uids[0]), ...standing, cwd, variables },
    descriptors: descriptors.map(({ fd, what }) => ({ fd, what })),
    couldReach: reach?.reachable.map(({ path, what }) => ({ path, what })),
    ok: broken.length === 0,
    broken,
  }
}

function formatReport({ look, reach, broken }: Report): string {
  const { part, pid, standing, cwd, variables, descriptors } = look
  const { capabilities, uids, gids, groups, noNewPrivs } = standing
  const listed = (names: readonly string[]) => (names.length === 0 ? 'none' : names.join(', '))
  const shown = (names: readonly string[]) => (names.length > manyCapabilities ? 'nearly all' : listed(names))
  const open = descriptors.filter(({ what }) => !/^(anon_inode:|pipe:|\/dev\/null)/.test(what))
  const facts = formatFacts([
    ['user', `${userOf(uids[0])} (${uids.join(' ')})`],
    ['group', `${gids.join(' ')}, and ${listed(groups.map(String))}`],
    ['capabilities', `${shown(capabilities.effective)}; at most ${shown(capabilities.bounding)}`],
    ['new privileges', noNewPrivs ? 'never' : 'possible'],
    ['folder', cwd],
    ['variables', listed(variables)],
    ['open', listed([...new Set(open.map(({ what }) => what))].slice(0, 40))],
    ['could reach', reach === undefined ? whyNotTried() : listed(reach.reachable.map(({ path }) => path))],
  ])
  const indented = facts.replaceAll(/^(?=.)/gm, '  ')
  const verdict = broken.length === 0 ? 'ok' : 'BROKEN'
  return `${part} ${pid}: ${verdict}\n${broken.map((one) => `  BROKEN  ${one}\n`).join('')}${indented}`
}

function whyNotTried(): string {
  return process.getuid?.() === 0
    ? 'not tried: it has ended, or is in a user namespace of its own'
    : 'run this as root to know'
}

function userOf(uid = -1): string {
  try {
    return execFileSync('id', ['-un', '--', String(uid)], { encoding: 'utf8', stdio: 'pipe' }).trim()
  } catch {
    return String(uid)
  }
}

/** All that has an owner, as the configurations of what runs have it. */
async function secretsOf(looks: readonly ProcessLook[], flags: Flags): Promise<Secret[]> {
  const secrets: Secret[] = [{ path: '/etc/shadow', what: 'the passwords of this machine', of: [] }]
  const has = (part: ProcessLook['part']) => looks.some((look) => look.part === part)
  for (const look of looks) {
    secrets.push({
      path: `/proc/${look.pid}/environ`,
      what: `the memory of ${look.part} (${look.pid})`,
      of: [look.part],
    })
    const { cwd } = look
    // `--config=FILE` is `--config FILE`.
    const args = look.args.flatMap((word) => /^(--[a-z-]+)=(.*)$/s.exec(word)?.slice(1) ?? [word])
    if (look.part === 'accountd') {
      const found = await secretsOfAccountd(args, cwd)
      if (!found.some(({ what }) => what.endsWith('the account key')))
        warn(`where the account key of ${look.pid} is, is not said: nobody was let try it`)
      secrets.push(...found)
    }
    if (look.part === 'server') {
      const given = flags.config.length > 0 ? [...flags.config] : filesIn(args).map((file) => resolve(cwd, file))
      for (const file of given) secrets.push({ path: file, what: 'the configuration', of: ['server'] })
      const set = [...assignmentsIn(args), ...flags.set]
      const config = await readTrusted(given, { ...flags, set }).catch((error: unknown) => {
        const why = error instanceof Error ? error.message : 'it cannot be read'
        warn(`what is in the configuration of ${look.pid} is not looked at: ${why}`)
        return undefined
      })
      if (config !== undefined) secrets.push(...secretsOfServer(config, has('accountd'), has('installer')))
    }
  }
  return onceEach(secrets)
}

/** What several name is for those alone that all of them mean: who looks like a server hides nobody's secret by naming it. */
function onceEach(secrets: readonly Secret[]): Secret[] {
  const seen = new Map<string, Secret>()
  for (const secret of secrets) {
    const former = seen.get(secret.path) ?? secret
    seen.set(secret.path, { ...former, of: former.of.filter((part) => secret.of.includes(part)) })
  }
  return [...seen.values()]
}

/**
 * Anybody can start something that looks like a server, and name files: what they say, plugins above all, is obeyed only
 * where nobody but root, or who looks, could have written it.
 */
async function readTrusted(files: readonly string[], flags: ConfigFlags): Promise<Config> {
  const who = ownRights()
  return await readConfig(files, flags, [], (path) => checkTrustedFile(path, who))
}

const maxConfigBytes = 1024 * 1024

/** The name is from a command line that may be anybody's. */
async function readNamedFile(path: string): Promise<string> {
  const bytes = await readForeignFile(path, maxConfigBytes + 1)
  return bytes === undefined || bytes.length > maxConfigBytes ? '' : bytes.toString()
}

/** By its own words; what is in a file that only it can name (`%d`, the one at its usual place) is not found. */
async function secretsOfAccountd(args: readonly string[], cwd: string): Promise<Secret[]> {
  const after = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined)
  const file = after('--config')
  const text = file === undefined ? '' : await readNamedFile(resolve(cwd, file))
  const { defaults } = parseLacmeFile(text, file ?? '').content
  const place = after('--privkey') ?? defaults.get('privkey')?.text ?? ''
  const admin = defaults.get('admin-socket')?.text
  const of = ['accountd'] as const
  const secrets: Secret[] = []
  if (place.startsWith('file:/')) secrets.push({ path: place.slice('file:'.length), what: 'the account key', of })
  const agent = /^ssh-agent:(\/.*?)\/(?:SHA256:.*|[^/]+)$/.exec(place)?.[1]
  if (agent !== undefined) secrets.push({ path: agent, what: 'the agent with the account key', of })
  if (admin?.startsWith('/') === true) secrets.push({ path: admin, what: "accountd's admin socket", of })
  return secrets
}

function secretsOfServer(config: Config, hasAccountd: boolean, hasInstaller: boolean): Secret[] {
  const { stateFolder } = platformSettings()
  const database =
    config.stateUrl === undefined ? join(stateFolder, 'state.db') : config.stateUrl.replace(/^sqlite:/, '')
  const secrets: Secret[] = [{ path: database, what: 'the state', of: ['server'] }]
  const { responder, installer, firewall } = config.process
  if (responder !== undefined)
    secrets.push({ path: responder, what: "the answers' socket", of: ['server', 'responder'] })
  if (installer !== undefined)
    secrets.push({ path: installer, what: "the installer's socket", of: ['server', 'installer'] })
  if (firewall !== undefined)
    secrets.push({ path: firewall, what: "the firewall's socket", of: ['server', 'firewall'] })
  for (const address of config.mgmt.listener)
    if (address.startsWith('unix:')) secrets.push({ path: address.slice(5), what: "the hosts' door", of: ['server'] })
  for (const { options } of config.issuers.values()) {
    const { dir, key } = options
    const socket = typeof key === 'string' && key.startsWith('accountd:') ? key.slice('accountd:'.length) : undefined
    if (socket !== undefined) secrets.push({ path: socket, what: "accountd's socket", of: ['server', 'accountd'] })
    const folder = typeof dir === 'string' ? dir : join(dirname(database), 'account')
    secrets.push({
      path: join(folder, 'account.pem'),
      what: 'an account key',
      of: hasAccountd ? ['accountd'] : ['server'],
    })
  }
  for (const section of config.certificates) {
    const { key, directory } = section.values
    const path = key ?? (directory === undefined ? undefined : join(directory, 'privkey.pem'))
    const holder = hasInstaller && isForInstaller(section, config) ? 'installer' : 'server'
    if (path !== undefined) secrets.push({ path, what: `the key of ${section.name}`, of: [holder] })
  }
  return secrets
}

/** Without those that have us read a file, which may be one that nobody ever ends to write. */
function assignmentsIn(args: readonly string[]): string[] {
  return args.filter((word, index) => args[index - 1] === '--set' && !/^[^=]*-file=/.test(word))
}

/** What is no flag of `acmems serve`. */
function filesIn(args: readonly string[]): string[] {
  const withValue = ['--set', '--sockets']
  return args.filter((word, index) => !word.startsWith('--') && !withValue.includes(args[index - 1] ?? ''))
}
