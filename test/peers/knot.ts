// A real Knot DNS, with the configuration of the test's own.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { freePort, needPeer } from './peers.ts'

export interface Knot extends AsyncDisposable {
  readonly port: number
  readonly version: string
  log(): string
  stop(): Promise<void>
}

export type KnotSetup = {
  /** Keys, access lists, zones; file names are relative to its folder, where `files` are. */
  readonly config: string
  readonly files: Readonly<Record<string, string>>
}

export async function startKnot({ config, files }: KnotSetup): Promise<Knot> {
  const peer = needPeer('knotd')
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('knot')).path
  const port = await freePort()
  mkdirSync(join(folder, 'db'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const configFile = join(folder, 'knot.conf')
  writeFileSync(
    configFile,
    `server:
    rundir: "${folder}"
    listen: 127.0.0.1@${port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "${join(folder, 'db')}"
    journal-db-max-size: 16M
log:
  - target: stdout
    any: info
template:
  - id: default
    storage: "${folder}"
${config}`,
  )
  const child = startChild(peer.path, ['-c', configFile], { env: peer.env, cwd: folder, logFile: join(folder, 'log') })
  cleanup.use(child)
  await waitUntilReady(child, 'knotd', async () => child.log().includes('server started') && (await acceptsTcp(port)))
  const owned = cleanup.move()
  const stop = () => owned.disposeAsync()
  return { port, version: peer.version, log: () => child.log(), stop, [Symbol.asyncDispose]: stop }
}
