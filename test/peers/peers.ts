// Finds the real programs that the tests run against: on the machine, or where scripts/fetch-peers unpacked them.
import { spawnSync } from 'node:child_process'
import { accessSync, appendFileSync, constants, existsSync, readFileSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import type { TestContext } from 'node:test'

export { freePort } from './free-port.ts'

const CHECKOUT = resolve(import.meta.dirname, '../..')
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/lib/postgresql/15/bin']

/** `status`: what it ends with when all is well, where that is not 0. */
type HowToAsk = {
  args: readonly string[]
  version: RegExp | undefined
  package?: string
  status?: number
  isModule?: true
  /** It starts only with more around it. */
  isNotAsked?: true
}

/** How each one tells its version: arguments, and where in the output. Without `args` Debian's package version counts. */
const PEERS = {
  nginx: { args: ['-v'], version: /nginx\/([\d.]+)/ },
  // For nginx to load, not to be run.
  'ngx_stream_module.so': { args: [], version: undefined, package: 'libnginx-mod-stream', isModule: true },
  'ngx_mail_module.so': { args: [], version: undefined, package: 'libnginx-mod-mail', isModule: true },
  apache2: { args: ['-v'], version: /Apache\/([\d.]+)/ },
  haproxy: { args: ['-v'], version: /version ([\d.]+)/ },
  // Its own -version says "dev" in Debian; 2.4.0 has none.
  pebble: { args: ['-help'], version: undefined, package: 'pebble' },
  'pebble-challtestsrv': { args: ['-help'], version: undefined, package: 'pebble' },
  wget: { args: ['--version'], version: /Wget ([\d.]+)/ },
  curl: { args: ['--version'], version: /^curl ([\d.]+)/ },
  openssl: { args: ['version'], version: /SSL ([\w.]+)/ },
  dash: { args: ['-c', ':'], version: undefined, package: 'dash' },
  bash: { args: ['--version'], version: /version ([\d.]+)/ },
  named: { args: ['-v'], version: /BIND ([\d.]+)/ },
  knotd: { args: ['--version'], version: /version ([\d.]+)/ },
  nsupdate: { args: ['-V'], version: /nsupdate ([\d.]+)/ },
  pdns_server: { args: ['--version'], version: /PowerDNS Authoritative Server ([\d.]+)/, status: 99 },
  dehydrated: { args: ['--version'], version: /Dehydrated version: ([\d.]+)/ },
  'acme.sh': { args: ['--version'], version: /^v([\d.]+)$/m },
  lacme: { args: [], version: undefined, package: 'lacme', isNotAsked: true },
  'lacme-accountd': { args: [], version: undefined, package: 'lacme-accountd', isNotAsked: true },
  // It looks for its configuration before it says anything.
  sshd: { args: [], version: undefined, package: 'openssh-server', isNotAsked: true },
  'softhsm2-util': { args: ['--version'], version: /^([\d.]+)$/m },
  nft: { args: ['--version'], version: /v([\d.]+)/ },
  // Each is iptables, ip6tables and more, by its first argument.
  'xtables-nft-multi': { args: ['iptables', '--version'], version: /v([\d.]+)/ },
  'xtables-legacy-multi': { args: ['iptables', '--version'], version: /v([\d.]+)/ },
  dig: { args: ['-v'], version: /DiG ([\d.]+)/ },
  lego: { args: ['--version'], version: undefined, package: 'lego' },
  postgres: { args: ['--version'], version: /PostgreSQL\) ([\d.]+)/ },
  busybox: { args: [], version: /BusyBox v([\d.]+)/ },
  perl: { args: ['-v'], version: /\(v([\d.]+)\)/ },
  script: { args: ['--version'], version: /util-linux ([\d.]+)/ },
  'systemd-notify': { args: ['--version'], version: /systemd (\d+)/ },
} as const satisfies Record<string, HowToAsk>

export type PeerName = keyof typeof PEERS

export type Peer = {
  readonly name: PeerName
  readonly path: string
  readonly version: string
  /** What must be added to its environment. */
  readonly env: Readonly<Record<string, string>>
}

/** Where scripts/fetch-peers unpacks. */
export function peersFolder(): string {
  return process.env.PEERS_DIR ?? join(CHECKOUT, '.cache/peers')
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function readTable(file: string): Map<string, string> {
  const path = join(peersFolder(), file)
  if (!existsSync(path)) return new Map()
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean)
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('\t')), line.slice(line.indexOf('\t') + 1)]))
}

function locate(name: PeerName): { path: string; unpackedIn?: string } | undefined {
  // What is in the usual folders is a wrapper; the script that its plugins are beside is here.
  if (name === 'acme.sh') {
    const root = join(peersFolder(), 'root')
    const path = 'usr/share/acme.sh/acme.sh'
    const places = [{ path: join('/', path) }, { path: join(root, path), unpackedIn: root }]
    return places.find((place) => isExecutable(place.path))
  }
  const onSystem = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS]
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => ({ path: join(folder, name) }))
  if ('isModule' in PEERS[name]) {
    const roots = [{ root: '/' }, { root: join(peersFolder(), 'root'), unpackedIn: join(peersFolder(), 'root') }]
    return roots
      .map(({ root, ...where }) => ({ path: join(root, 'usr/lib/nginx/modules', name), ...where }))
      .find(({ path }) => existsSync(path))
  }
  const isPebble = name.startsWith('pebble')
  const root = join(peersFolder(), isPebble ? 'pebble' : 'root')
  const unpacked = ['usr/sbin', 'usr/bin', 'sbin', 'bin', 'usr/lib/postgresql/15/bin'].map((folder) => ({
    path: join(root, folder, name),
    unpackedIn: root,
  }))
  // Pebble is fetched because the unpacked one is newer; all others only where the system has none.
  const candidates = isPebble ? [...unpacked, ...onSystem] : [...onSystem, ...unpacked]
  return candidates.find(({ path }) => isExecutable(path))
}

function libraryEnv(root: string): Record<string, string> {
  const triplet = { x64: 'x86_64', arm64: 'aarch64' }[process.arch as string] ?? process.arch
  const folders = ['usr/lib', 'lib'].flatMap((lib) => [join(root, lib, `${triplet}-linux-gnu`), join(root, lib)])
  const present = folders.filter((folder) => existsSync(folder))
  return present.length === 0 ? {} : { LD_LIBRARY_PATH: present.join(':') }
}

/** Debian's version of a package, less its epoch and its own revision: 2.10.0 of 1:2.10.0+ds1-2. */
function readPackageVersion(name: string, isUnpacked: boolean): string {
  const full = isUnpacked
    ? readTable('versions').get(name)
    : spawnSync('dpkg-query', ['-W', '-f', `\${Version}`, name], { encoding: 'utf8' }).stdout
  return full?.replace(/^\d+:/, '').replace(/[+~-].*$/s, '') || 'of unknown version'
}

const found = new Map<string, Peer>()

/** The peer, started once to see that it runs. Absent is `undefined`; there but failing is an error. */
export function findPeer(name: PeerName): Peer | undefined {
  const place = locate(name)
  if (place === undefined) return undefined
  const known = found.get(place.path)
  if (known !== undefined) return known
  const isUnpacked = place.unpackedIn !== undefined
  const env = place.unpackedIn === undefined ? {} : libraryEnv(place.unpackedIn)
  const how: HowToAsk = PEERS[name]
  if (how.isModule || how.isNotAsked) {
    const peer: Peer = { name, path: place.path, version: readPackageVersion(how.package ?? name, isUnpacked), env }
    found.set(place.path, peer)
    return peer
  }
  const run = spawnSync(place.path, how.args, {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 20_000,
  })
  const output = `${run.stdout}${run.stderr}`
  // Status 2: Go programs built before 1.15 end so after -help.
  const ran = run.status === (how.status ?? 0) || (run.status === 2 && output.includes('Usage of'))
  const version =
    how.version === undefined ? readPackageVersion(how.package ?? name, isUnpacked) : how.version.exec(output)?.[1]
  if (!ran || version === undefined) {
    const end = run.error?.message ?? `status ${run.status ?? run.signal}`
    throw new Error(`${name} is there (${place.path}) but does not run: ${end}\n${output}`)
  }
  const peer: Peer = { name, path: place.path, version, env }
  found.set(place.path, peer)
  return peer
}

/** For what starts a peer: by then the test has seen to it with `requirePeer`. */
export function needPeer(name: PeerName): Peer {
  const peer = findPeer(name)
  if (peer === undefined) throw new Error(`${name} is not on this machine: call requirePeer before starting it`)
  return peer
}

function noteUse(line: string): void {
  const file = process.env.PEERS_USED
  if (file) appendFileSync(file, `${line}\n`)
}

/** For a test that needs the peer: skips the test, saying why, when it cannot be had. */
export function requirePeer(t: TestContext, name: PeerName): Peer | undefined {
  const peer = findPeer(name)
  if (peer !== undefined) {
    noteUse(`${name} ${peer.version}`)
    return peer
  }
  const reason =
    readTable('skipped').get(name === 'pebble-challtestsrv' ? 'pebble' : name) ??
    'not on this machine, and scripts/fetch-peers has not run'
  noteUse(`${name} skipped: ${reason}`)
  t.skip(`${name} could not be had: ${reason}`)
  return undefined
}

/** For a test that needs `::1`, which containers often have not. */
export function requireIpv6(t: TestContext): boolean {
  const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === '::1'),
  )
  if (hasIpv6) return true
  const reason = 'this machine has no ::1'
  noteUse(`IPv6 skipped: ${reason}`)
  t.skip(reason)
  return false
}
