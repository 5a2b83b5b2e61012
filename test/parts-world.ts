// acmems serve as root, which starts its parts each as its own user; and what the kernel says of them.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { jsonLinesOf } from './acmems.ts'
import { makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort } from './peers/peers.ts'
import { main } from './program.ts'
import { until } from './until.ts'

/** Every Debian has them, and here nobody else is them. */
export const users = { server: 'games', responder: 'news', accountd: 'uucp' } as const
export type PartUser = keyof typeof users

export function idOf(user: string): number {
  return Number(execFileSync('id', ['-u', user], { encoding: 'utf8' }))
}

export function groupIdOf(user: string): number {
  return Number(execFileSync('id', ['-g', user], { encoding: 'utf8' }))
}

/** Why tests of parts cannot run here; undefined: they can. */
export function whyNoParts(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can give parts their users'
  const look = spawnSync('setpriv', [
    '--reuid',
    users.server,
    '--clear-groups',
    process.execPath,
    '-e',
    `require('fs').readFileSync(${JSON.stringify(main)})`,
  ])
  return look.status === 0 ? undefined : 'other users cannot read this checkout'
}

export type PartProcess = { readonly pid: number; readonly name: string; readonly commandLine: string }

export interface Parts extends AsyncDisposable {
  readonly folder: string
  readonly configFile: string
  readonly runFolder: string
  readonly launcherPid: number
  readonly mgmtPort: number
  readonly signUrl: string
  log(): string
  logLines(): Record<string, unknown>[]
  hasEnded(): boolean
  /** What runs now. */
  processes(): PartProcess[]
  pidOf(name: string): number
  stop(): Promise<void>
}

export type PartsOptions = {
  readonly which?: readonly PartUser[]
  /** Of accountd.conf, beside the key. */
  readonly accountd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly args?: readonly string[]
  readonly before?: (folder: string) => void
  readonly waits?: boolean
}

/** @param config what stands beside [state], [mgmt] and [process]; the account's key is accountd's when that is there */
export async function startParts(config: (run: string) => string, options: PartsOptions = {}): Promise<Parts> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('parts')).path
  const run = join(folder, 'run')
  const mgmtPort = await freePort()
  const { which = ['server', 'responder', 'accountd'] } = options
  const configFile = join(folder, 'acmems.ini')
  makeOwned(join(folder, 'state'), users.server)
  if (which.includes('accountd')) {
    makeOwned(join(folder, 'key'), users.accountd)
    const keyFile = join(folder, 'key', 'account.pem')
    execFileSync('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', keyFile])
    chownSync(keyFile, idOf(users.accountd), groupIdOf(users.accountd))
    chmodSync(keyFile, 0o600)
    writeFileSync(join(folder, 'accountd.conf'), `privkey = file:${keyFile}\n${options.accountd ?? ''}`)
  }
  writeFileSync(
    configFile,
    [
      `[state]\nurl = sqlite:${join(folder, 'state', 'state.db')}`,
      `[mgmt]\nlistener = 127.0.0.1:${mgmtPort}\nlistener = unix:${join(folder, 'state', 'mgmt.sock')}`,
      `[process]\nrun-directory = ${run}\ninstaller-state = ${join(folder, 'installer')}\naccountd-config = ${join(folder, 'accountd.conf')}`,
      ...which.map((part) => `user-${part} = ${users[part]}`),
      config(run),
    ].join('\n'),
    { mode: 0o640 },
  )
  chownSync(configFile, 0, groupIdOf(users.server))
  options.before?.(folder)
  // Whoever starts it has left something open that only root may read: where Node.js looks at its start, and beyond.
  const careless = ['-c', 'exec 7</etc/shadow 77</etc/shadow; exec "$0" "$@"', process.execPath]
  const child = startChild('bash', [...careless, main, 'serve', 'acmems.ini', ...(options.args ?? [])], {
    env: { ...options.env },
    cwd: folder,
    logFile: join(folder, 'parts.log'),
  })
  cleanup.use(child)
  if (options.waits !== false)
    await waitUntilReady(child, 'acmems', async () => child.log().includes('"msg":"serving"'), 20_000)
  const owned = cleanup.move()
  const processes = () => partsOf(child.pid)
  // Its parts have ports that the next one's want: a launcher that is killed leaves them to end by themselves.
  const stop = async () => {
    const left = processes()
    await child.stop()
    await until('the end of its parts', () => left.every(({ pid }) => !existsSync(`/proc/${pid}`)))
  }
  return {
    folder,
    configFile,
    runFolder: run,
    launcherPid: child.pid,
    mgmtPort,
    signUrl: `http://127.0.0.1:${mgmtPort}/sign`,
    log: () => child.log(),
    logLines: () => jsonLinesOf(child.log()),
    hasEnded: () => child.hasEnded(),
    processes,
    pidOf(name) {
      const part = processes().find((one) => one.name === name)
      if (part === undefined) throw new Error(`no ${name} runs`)
      return part.pid
    },
    stop,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

export function http01(port: number): string {
  return `[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${port}\n`
}

export function makeOwned(folder: string, user: string): void {
  mkdirSync(folder, { mode: 0o700 })
  chownSync(folder, idOf(user), groupIdOf(user))
}

const names: readonly [RegExp, string][] = [
  [/ accountd /, 'accountd'],
  [/install-main|acmems-install/, 'installer'],
  [/ firewall /, 'firewall'],
  [/ responder /, 'responder'],
  [/ serve /, 'server'],
]

/** The launcher's children, by what /proc says. */
function partsOf(launcherPid: number): PartProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
        if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) !== launcherPid) return []
        const commandLine = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const found = names.find(([pattern]) => pattern.test(commandLine))
        return found === undefined ? [] : [{ pid: Number(name), name: found[1], commandLine }]
      } catch {
        return []
      }
    })
}

/** What a process has open: descriptor to what it leads to. */
export function descriptorsOf(pid: number): Map<number, string> {
  const found = new Map<number, string>()
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(fd), readlinkSync(`/proc/${pid}/fd/${fd}`))
    } catch {
      // Closed meanwhile.
    }
  }
  return found
}

export function environmentOf(pid: number): Record<string, string> {
  return Object.fromEntries(
    readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .filter(Boolean)
      .map((entry): [string, string] => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
  )
}

const usualVariables = ['HOME', 'LANG', 'LOGNAME', 'PATH', 'TZ', 'USER']

/** What a part has of whoever started it: another folder, a variable, something open. Empty when it has only its own. */
export function foreignOf(pid: number, ownVariables: readonly string[] = [], ownFiles = /^$/): string[] {
  const folder = readlinkSync(`/proc/${pid}/cwd`)
  const variables = Object.keys(environmentOf(pid))
  const usual = /^(\/dev\/null|anon_inode:.*|pipe:.*|socket:.*|.*\/parts\.log)$/
  return [
    ...(folder === '/' ? [] : [folder]),
    ...variables.filter((name) => !usualVariables.includes(name) && !ownVariables.includes(name)),
    ...[...descriptorsOf(pid).values()].filter((target) => !usual.test(target) && !ownFiles.test(target)),
  ]
}

/** Runs a program with exactly what the kernel gives this process: its user, groups, and nothing more. */
export function runAs(user: string, command: string, args: readonly string[]) {
  const settings = [
    `--reuid=${idOf(user)}`,
    `--regid=${groupIdOf(user)}`,
    '--clear-groups',
    '--no-new-privs',
    '--bounding-set=-all',
    '--inh-caps=-all',
  ]
  return spawnSync('setpriv', [...settings, '--', command, ...args], { encoding: 'utf8', timeout: 20_000 })
}
