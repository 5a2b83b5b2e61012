// acmems-install and a server that has no keys, as processes with a user each where we are root.
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Child, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort } from './peers/peers.ts'
import { installMain, main } from './program.ts'

/** Nobody's, on any machine. */
export const serverUser = 64_321

export const isRoot = process.getuid?.() === 0

/** undefined: a server can have a user of its own here. */
export function whyNotAsOther(): string | undefined {
  if (!isRoot) return 'only root can start a server as another user'
  if (spawnSync('setpriv', ['--version']).error !== undefined) return 'setpriv is not on this machine'
  return runAsServer('node', ['-e', `require('fs').accessSync(${JSON.stringify(main)})`]).status === 0
    ? undefined
    : 'the checkout is in a folder that other users cannot enter'
}

const asServer = [
  ...[`--reuid=${serverUser}`, `--regid=${serverUser}`, '--clear-groups', '--no-new-privs'],
  ...['--bounding-set=-all', '--inh-caps=-all', '--'],
]

export function runAsServer(command: string, args: readonly string[]) {
  const program = command === 'node' ? process.execPath : command
  return spawnSync('setpriv', [...asServer, program, ...args], { encoding: 'utf8', cwd: '/' })
}

export interface InstallerWorld extends AsyncDisposable {
  readonly folder: string
  readonly configFile: string
  readonly socket: string
  /** Where certificates go. */
  readonly tls: string
  /** `acmems-install`'s own folder. */
  readonly memory: string
  readonly mgmtPort: number
  configure(text: string): void
  startInstaller(): Promise<Child>
  startServer(): Promise<Child>
}

/**
 * @param options.isSplit the server has a user of its own
 * @param text sections beside those of the world
 */
export async function makeInstallerWorld(text: string, { isSplit = isRoot } = {}): Promise<InstallerWorld> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('installer')).path
  const at = (name: string) => join(folder, name)
  const mgmtPort = await freePort()
  const gid = isSplit ? serverUser : (process.getgid?.() ?? 0)
  mkdirSync(at('tls'))
  mkdirSync(at('run'))
  chownSync(at('run'), -1, gid)
  chmodSync(at('run'), 0o2750)
  mkdirSync(at('state'), { mode: 0o700 })
  if (isSplit) chownSync(at('state'), serverUser, serverUser)
  const socket = at('run/S')
  const configFile = at('acmems.ini')
  const own = `[process]\ninstaller = ${socket}\ninstaller-state = ${at('memory')}\n[state]\nurl = sqlite:${at('state/state.db')}\n[mgmt]\nlistener = 127.0.0.1:${mgmtPort}\n`
  const configure = (sections: string) => {
    writeFileSync(configFile, `${own}${sections.replaceAll('TLS/', `${at('tls')}/`)}`)
    chownSync(configFile, -1, gid)
    chmodSync(configFile, 0o640)
  }
  configure(text)
  let starts = 0
  const start = async (command: string, args: string[], ready: string, extra: { cwd?: string } = {}) => {
    starts += 1
    const logFile = at(`log-${starts}`)
    const child = children.use(startChild(command, args, { env: {}, cwd: extra.cwd ?? folder, logFile }))
    await waitUntilReady(child, ready, async () => child.log().includes(`"msg":"${ready}"`), 30_000)
    return child
  }
  const children = cleanup.use(new AsyncDisposableStack())
  const owned = cleanup.move()
  return {
    folder,
    configFile,
    socket,
    tls: at('tls'),
    memory: at('memory'),
    mgmtPort,
    configure,
    startInstaller: () =>
      start(process.execPath, [installMain, '--socket', socket, configFile], 'installing', { cwd: at('tls') }),
    startServer: () =>
      isSplit
        ? start('setpriv', [...asServer, process.execPath, main, 'serve', configFile], 'serving')
        : start(process.execPath, [main, 'serve', configFile], 'serving'),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
