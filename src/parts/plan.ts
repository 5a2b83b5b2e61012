import { join } from 'node:path'
import { isForInstaller } from '../config/certificates.ts'
import type { Config } from '../config/config.ts'
import { searchPath } from '../search-path.ts'
import { validationProtocols } from '../validation-protocols.ts'
import type { Confinement } from './confinement.ts'
import { isPrivileged, type SocketWish } from './opened-sockets.ts'
import { installerCapabilities, type Part, type PartName } from './part.ts'
import type { Copy, SocketFolder } from './run-folder.ts'

/** A user as the system knows it. */
export type RunsAs = { readonly uid: number; readonly gid: number; readonly user: string; readonly home: string }

export type PlanParts = {
  readonly config: Pick<Config, 'process' | 'verifications' | 'mgmt' | 'mgmtTls' | 'dnsApi' | 'certificates'>
  /** Their whole paths. */
  readonly files: readonly string[]
  readonly flags: { readonly set: readonly string[]; readonly lenient: boolean }
  readonly users: { readonly server: RunsAs; readonly responder?: RunsAs; readonly accountd?: RunsAs }
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Named in the configuration files as `${ENV:NAME}`. */
  readonly namedVariables: readonly string[]
  readonly programs: { readonly acmems: string; readonly installer: string }
  readonly firstUnprivilegedPort: number
  readonly stateFolder: string
  /** Its rules are changed through a raw socket. */
  readonly hasLegacyIptables: boolean
}

export type Plan = {
  readonly folders: readonly SocketFolder[]
  readonly copies: readonly Copy[]
  readonly parts: readonly Part[]
}

const root: RunsAs = { uid: 0, gid: 0, user: 'root', home: '/root' }

/** Which processes there are to be, and with what. In the order of their start. */
export function planParts(given: PlanParts): Plan {
  const { config, files, users, programs } = given
  const { process: wanted } = config
  const run = wanted['run-directory']
  const flags = [
    ...given.flags.set.flatMap((assignment) => ['--set', assignment]),
    ...(given.flags.lenient ? ['--lenient'] : []),
  ]
  const folders: SocketFolder[] = []
  const copies: Copy[] = []
  const parts: Part[] = []
  const assignments: string[] = []

  /** @returns the path of the socket */
  function folderFor(name: string, owner: RunsAs, asking: RunsAs, socket = 'S'): string {
    const path = join(run, name)
    folders.push({ path, uid: owner.uid, gid: asking.gid })
    return join(path, socket)
  }
  const common = { sockets: [], reloads: true }

  if (users.accountd !== undefined) {
    const socketPath = folderFor('accountd', users.accountd, users.server, 'S.lacme')
    // In /etc/acmems are the server's secrets: its user does not come in.
    const ownConfig = join(run, 'accountd', 'accountd.conf')
    copies.push({ from: wanted['accountd-config'], to: ownConfig, uid: users.accountd.uid, gid: users.accountd.gid })
    parts.push({
      ...common,
      ...confined('accountd', users.accountd),
      script: programs.acmems,
      args: ['accountd', '--config', ownConfig, '--socket', socketPath, '--socket-mode', '0660'],
      env: environmentOf(given, users.accountd, ['SSH_AUTH_SOCK', 'GNUPGHOME', 'CREDENTIALS_DIRECTORY']),
      socketPath,
    })
  }
  // Also where there is nothing to install yet: a server that reads of a certificate later must not make its key itself.
  const installerSocket = folderFor('install', root, users.server)
  assignments.push(`process.installer=${installerSocket}`)
  if (config.certificates.some((section) => isForInstaller(section, config)))
    parts.push({
      ...common,
      ...confined('installer', root, installerCapabilities),
      script: programs.installer,
      args: ['--socket', installerSocket, ...flags, ...files],
      env: environmentOf(given, root, variablesOfConfiguration(given)),
      socketPath: installerSocket,
    })
  if (wanted.firewall !== undefined) {
    const socketPath = folderFor('firewall', root, users.server)
    assignments.push(`process.firewall=${socketPath}`)
    parts.push({
      ...common,
      ...confined('firewall', root, given.hasLegacyIptables ? ['net_admin', 'net_raw'] : ['net_admin']),
      script: programs.acmems,
      args: ['firewall', '--socket', socketPath, ...flags, ...files],
      env: environmentOf(given, root, variablesOfConfiguration(given)),
      socketPath,
    })
  }
  const answered = validationSockets(given)
  const { responder } = users
  const answers = responder === undefined ? undefined : folderFor('answers', users.server, responder)
  if (answers !== undefined) assignments.push(`process.responder=${answers}`)
  const doors = [...config.mgmt.listener, ...config.dnsApi.listener].map(
    (address): SocketWish => ({ protocol: 'tcp', address }),
  )
  parts.push({
    ...common,
    ...confined('server', users.server),
    script: programs.acmems,
    args: ['serve', ...flags, ...assignments.flatMap((assignment) => ['--set', assignment]), ...files],
    env: {
      ...environmentOf(given, users.server, [
        ...variablesOfConfiguration(given),
        ...['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'SSH_AUTH_SOCK'],
      ]),
      STATE_DIRECTORY: given.stateFolder,
    },
    sockets: [...onlyPrivileged(doors, given), ...(responder === undefined ? answered : [])],
    ...(answers === undefined ? {} : { socketPath: answers }),
  })
  if (responder !== undefined && answers !== undefined)
    parts.push({
      ...common,
      ...confined('responder', responder),
      script: programs.acmems,
      args: ['responder', '--socket', answers],
      env: environmentOf(given, responder, []),
      sockets: answered,
      reloads: false,
    })
  return { folders, copies, parts }
}

function confined(name: PartName, { uid, gid }: RunsAs, capabilities: Confinement['capabilities'] = []) {
  return { name, confinement: { uid, gid, capabilities } }
}

/** The sockets that validations arrive at, and only root may open. */
function validationSockets(given: PlanParts): SocketWish[] {
  const wishes = [...given.config.verifications.values()].flatMap(({ plugin, options }) => {
    const { listener } = options
    const addresses = Array.isArray(listener) ? listener.filter((address) => typeof address === 'string') : []
    const protocols = validationProtocols[plugin.name] ?? []
    return addresses.flatMap((address) => protocols.map((protocol): SocketWish => ({ protocol, address })))
  })
  return onlyPrivileged(wishes, given)
}

function onlyPrivileged(wishes: readonly SocketWish[], { firstUnprivilegedPort }: PlanParts): SocketWish[] {
  return wishes.filter(
    ({ protocol, address }, index) =>
      isPrivileged(address, firstUnprivilegedPort) &&
      wishes.findIndex((one) => one.protocol === protocol && one.address === address) === index,
  )
}

/** What the configuration may say by way of the environment. */
function variablesOfConfiguration({ environment, namedVariables }: PlanParts): string[] {
  const given = Object.keys(environment).filter((name) => name.startsWith('ACMEMS_'))
  return [...given, ...namedVariables, 'ACME_CAFILE', 'LEGO_CA_CERTIFICATES']
}

function environmentOf(
  { environment }: PlanParts,
  { user, home }: RunsAs,
  names: readonly string[],
): Readonly<Record<string, string>> {
  const passed = ['LANG', 'TZ', 'JOURNAL_STREAM', ...names].flatMap((name): [string, string][] => {
    const value = environment[name]
    return value === undefined ? [] : [[name, value]]
  })
  return { PATH: searchPath, HOME: home, USER: user, LOGNAME: user, ...Object.fromEntries(passed) }
}
