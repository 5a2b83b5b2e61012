// A real PostgreSQL in a folder of its own, on a UNIX socket and a loopback port.
import { spawnSync } from 'node:child_process'
import { chownSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { freePort, needPeer } from './peers.ts'

export interface Postgres extends AsyncDisposable {
  readonly version: string
  /** A new, empty database. */
  createDatabase(name: string): Promise<string>
}

/** PostgreSQL refuses to run as root, so as root it is nobody's. */
const nobody = 65534
const isRoot = process.getuid?.() === 0

export async function startPostgres(): Promise<Postgres> {
  const peer = needPeer('postgres')
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('postgres')).path
  const data = join(folder, 'data')
  mkdirSync(data)
  if (isRoot) for (const path of [folder, data]) chownSync(path, nobody, nobody)
  const asNobody = isRoot ? { uid: nobody, gid: nobody } : {}
  const env = { ...process.env, ...peer.env, LC_ALL: 'C' }
  const bin = dirname(peer.path)
  const made = spawnSync(join(bin, 'initdb'), ['-D', data, '-U', 'acmems', '--auth=trust', '--no-sync', '-E', 'UTF8'], {
    env,
    encoding: 'utf8',
    cwd: folder,
    ...asNobody,
  })
  if (made.status !== 0) throw new Error(`initdb failed: ${made.error?.message ?? ''}${made.stdout}${made.stderr}`)
  const port = await freePort()
  const settings = [
    '-D',
    data,
    '-p',
    String(port),
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    `unix_socket_directories=${folder}`,
    '-c',
    'fsync=off',
  ]
  const child = startChild(peer.path, settings, {
    env: { ...peer.env, LC_ALL: 'C' },
    cwd: folder,
    logFile: join(folder, 'postgres.log'),
    ...asNobody,
  })
  cleanup.use(child)
  await waitUntilReady(child, 'postgres', async () => child.log().includes('ready to accept connections'))
  const owned = cleanup.move()
  return {
    version: peer.version,
    async createDatabase(name) {
      const client = new pg.Client({ host: '127.0.0.1', port, user: 'acmems', database: 'postgres' })
      await client.connect()
      await client.query(`create database ${client.escapeIdentifier(name)}`)
      await client.end()
      return `postgres://acmems@127.0.0.1:${port}/${name}`
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
