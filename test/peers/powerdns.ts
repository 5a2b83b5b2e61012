// A real PowerDNS authoritative server with its HTTP API, on an SQLite database in a folder of its own.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { request } from 'undici'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { freePort, needPeer } from './peers.ts'

export interface PowerDns extends AsyncDisposable {
  readonly port: number
  readonly apiUrl: string
  readonly apiKey: string
  readonly version: string
  log(): string
  /** Asks its API below /api/v1/servers/localhost. */
  api(method: 'GET' | 'PATCH' | 'POST', path: string, json?: unknown): Promise<unknown>
}

const API_KEY = 'an-api-key-of-powerdns'

/** Where a Debian package keeps its things: on the system, or where it was unpacked. */
function findPart(program: string, paths: readonly string[]): string {
  const root = program.replace(/\/usr\/(local\/)?s?bin\/pdns_server$/, '')
  const found = paths.map((path) => join(root || '/', path)).find((path) => existsSync(path))
  if (found === undefined) throw new Error(`PowerDNS has none of ${paths.join(', ')} (below ${root || '/'})`)
  return found
}

/** @param zones each with every name below it at 127.0.0.1 */
export async function startPowerDns(zones: readonly string[]): Promise<PowerDns> {
  const peer = needPeer('pdns_server')
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('powerdns')).path
  const database = join(folder, 'pdns.sqlite3')
  const schema = findPart(peer.path, ['usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql'])
  const sqlite = new DatabaseSync(database)
  sqlite.exec(readFileSync(schema, 'utf8'))
  sqlite.close()
  const modules = findPart(
    peer.path,
    ['x86_64', 'aarch64'].map((cpu) => `usr/lib/${cpu}-linux-gnu/pdns`),
  )
  const [port, apiPort] = [await freePort(), await freePort()]
  mkdirSync(join(folder, 'run'))
  const settings = {
    'config-dir': folder,
    'socket-dir': join(folder, 'run'),
    'module-dir': modules,
    launch: 'gsqlite3',
    'gsqlite3-database': database,
    'local-address': '127.0.0.1',
    'local-port': port,
    api: 'yes',
    'api-key': API_KEY,
    'webserver-address': '127.0.0.1',
    'webserver-port': apiPort,
    'cache-ttl': 0,
    'query-cache-ttl': 0,
    'negquery-cache-ttl': 0,
    'zone-cache-refresh-interval': 0,
    daemon: 'no',
    guardian: 'no',
    'disable-syslog': 'yes',
    'security-poll-suffix': '',
  }
  const child = startChild(
    peer.path,
    Object.entries(settings).map(([key, value]) => `--${key}=${value}`),
    {
      env: peer.env,
      cwd: dirname(database),
      logFile: join(folder, 'pdns.log'),
    },
  )
  cleanup.use(child)
  await waitUntilReady(child, 'pdns_server', async () => (await acceptsTcp(port)) && (await acceptsTcp(apiPort)))
  const apiUrl = `http://127.0.0.1:${apiPort}`
  const api = async (method: 'GET' | 'PATCH' | 'POST', path: string, json?: unknown): Promise<unknown> => {
    const reply = await request(`${apiUrl}/api/v1/servers/localhost${path}`, {
      method,
      headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    })
    const text = await reply.body.text()
    if (reply.statusCode >= 300) throw new Error(`${method} ${path}: ${reply.statusCode} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }
  for (const zone of zones) {
    const record = (name: string) => ({
      name,
      type: 'A',
      ttl: 60,
      records: [{ content: '127.0.0.1', disabled: false }],
    })
    await api('POST', '/zones', {
      name: `${zone}.`,
      kind: 'Native',
      nameservers: [`ns.${zone}.`],
      rrsets: [record(`ns.${zone}.`), record(`${zone}.`), record(`*.${zone}.`)],
    })
  }
  const owned = cleanup.move()
  return {
    ...{ port, apiUrl, apiKey: API_KEY, version: peer.version, api },
    log: () => child.log(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
