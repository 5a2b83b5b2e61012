// Pebble, the CA that Let's Encrypt publishes for tests, with pebble-challtestsrv as the DNS that it believes in.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { makePebbleEnv, type PebbleOptions, renderPebbleConfig } from './pebble-config.ts'
import { freePort, needPeer, type Peer } from './peers.ts'
import { makeTlsIdentity } from './tls-identity.ts'

export type { PebbleOptions } from './pebble-config.ts'

export interface Pebble extends AsyncDisposable {
  readonly directoryUrl: string
  /** PEM file with the CA of Pebble's own TLS certificate; not what it issues from (`root` is). */
  readonly caFile: string
  readonly httpPort: number
  readonly tlsPort: number
  readonly managementUrl: string
  readonly challtestsrvUrl: string
  /** Where challtestsrv answers DNS on 127.0.0.1, UDP and TCP. */
  readonly dnsPort: number
  readonly version: string
  log(): string
  issuedCount(): number
  /** `POST /order-plz` -> how often since it was ready; of resources with an id only the route: `POST /my-order/`. */
  requests(): ReadonlyMap<string, number>
  /** PEM of the n-th root that it issues from; 1 and up are the alternate ones. */
  root(n?: number): Promise<string>
  intermediate(n?: number): Promise<string>
  /** GET at the management interface, as text. */
  manage(path: string): Promise<string>
  setA(name: string, addresses: readonly string[]): Promise<void>
  clearA(name: string): Promise<void>
  setAaaa(name: string, addresses: readonly string[]): Promise<void>
  clearAaaa(name: string): Promise<void>
  /** One value; challtestsrv keeps those that are there. `clearTxt` removes all. */
  addTxt(name: string, value: string): Promise<void>
  clearTxt(name: string): Promise<void>
  setCname(name: string, target: string): Promise<void>
  clearCname(name: string): Promise<void>
  stop(): Promise<void>
}

/** challtestsrv renamed its DNS flag and grew DoH, which needs a certificate unless it is switched off: ask its help. */
function makeChalltestsrvArgs(peer: Peer, dnsPort: number, managementPort: number): string[] {
  const help = spawnSync(peer.path, ['-help'], { encoding: 'utf8', env: { ...process.env, ...peer.env } }).stderr
  const dnsFlag = help.includes('-dnsserver ') ? '-dnsserver' : '-dns01'
  return [
    ...[dnsFlag, `127.0.0.1:${dnsPort}`, '-management', `127.0.0.1:${managementPort}`],
    ...['-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-http01', '', '-https01', '', '-tlsalpn01', ''],
    ...(help.includes('-doh ') ? ['-doh', ''] : []),
  ]
}

function getText(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { 'user-agent': 'acmems-tests' }
    const req = request(url, { ca, headers, agent: false, timeout: 20_000 }, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        body += chunk
      })
      res.on('error', reject)
      res.on('end', () => {
        if (res.statusCode === 200) resolve(body)
        else reject(new Error(`GET ${url}: ${res.statusCode} ${body}`))
      })
    })
    req.on('timeout', () => req.destroy(new Error(`GET ${url}: no answer`)))
    req.on('error', reject)
    req.end()
  })
}

export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  const [pebble, challtestsrv] = [needPeer('pebble'), needPeer('pebble-challtestsrv')]
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('pebble')).path
  const identity = await makeTlsIdentity(folder)
  const ca = readFileSync(identity.caFile, 'utf8')
  const ports = {
    acme: await freePort(),
    management: await freePort(),
    http: options.httpPort ?? (await freePort()),
    tls: options.tlsPort ?? (await freePort()),
  }
  const [dnsPort, challtestsrvPort] = [await freePort(), await freePort()]
  const directoryUrl = `https://127.0.0.1:${ports.acme}/dir`
  const managementUrl = `https://127.0.0.1:${ports.management}`
  const challtestsrvUrl = `http://127.0.0.1:${challtestsrvPort}`

  const dns = startChild(challtestsrv.path, makeChalltestsrvArgs(challtestsrv, dnsPort, challtestsrvPort), {
    env: challtestsrv.env,
    cwd: folder,
    logFile: join(folder, 'challtestsrv.log'),
  })
  cleanup.use(dns)
  const configFile = join(folder, 'pebble.json')
  writeFileSync(configFile, renderPebbleConfig(options, ports, identity))
  const strict = options.strict === true ? ['-strict'] : []
  const server = startChild(
    pebble.path,
    ['-config', configFile, '-dnsserver', options.dnsServer ?? `127.0.0.1:${dnsPort}`, ...strict],
    {
      env: { ...pebble.env, ...makePebbleEnv(options) },
      cwd: folder,
      logFile: join(folder, 'pebble.log'),
    },
  )
  cleanup.use(server)

  const post = async (path: string, body: Record<string, unknown>): Promise<void> => {
    const init = { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(20_000) }
    const response = await fetch(challtestsrvUrl + path, init)
    if (!response.ok) throw new Error(`challtestsrv ${path}: ${response.status} ${await response.text()}`)
    await response.body?.cancel()
  }
  await waitUntilReady(dns, 'pebble-challtestsrv', async () => {
    await post('/clear-a', { host: 'readiness.invalid' })
    return true
  })
  await waitUntilReady(server, 'pebble', async () => {
    await Promise.all([getText(directoryUrl, ca), getText(`${managementUrl}/roots/0`, ca)])
    return true
  })

  const startLength = server.log().length
  const owned = cleanup.move()
  const stop = () => owned.disposeAsync()
  // challtestsrv matches whole names, as they stand in the question.
  const host = (name: string) => `${name.replace(/\.$/, '')}.`
  const manage = (path: string) => getText(managementUrl + path, ca)
  return {
    directoryUrl,
    caFile: identity.caFile,
    httpPort: ports.http,
    tlsPort: ports.tls,
    managementUrl,
    challtestsrvUrl,
    dnsPort,
    version: pebble.version,
    log: () => server.log(),
    issuedCount: () => server.log().split('Issued certificate serial').length - 1,
    requests: () => countRequests(server.log().slice(startLength)),
    root: (n = 0) => manage(`/roots/${n}`),
    intermediate: (n = 0) => manage(`/intermediates/${n}`),
    manage,
    setA: (name, addresses) => post('/add-a', { host: host(name), addresses }),
    clearA: (name) => post('/clear-a', { host: host(name) }),
    setAaaa: (name, addresses) => post('/add-aaaa', { host: host(name), addresses }),
    clearAaaa: (name) => post('/clear-aaaa', { host: host(name) }),
    addTxt: (name, value) => post('/set-txt', { host: host(name), value }),
    clearTxt: (name) => post('/clear-txt', { host: host(name) }),
    setCname: (name, target) => post('/set-cname', { host: host(name), target: host(target) }),
    clearCname: (name) => post('/clear-cname', { host: host(name) }),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** Pebble names the route and not the whole path: `Pebble 2026/01/31 12:00:00 POST /authZ/ -> calling handler()`. */
function countRequests(log: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const [, route] of log.matchAll(/^Pebble \S+ \S+ ([A-Z]+ \S+) -> calling handler\(\)$/gm)) {
    if (route !== undefined) counts.set(route, (counts.get(route) ?? 0) + 1)
  }
  return counts
}
