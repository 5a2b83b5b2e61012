// A real BIND: with zones that take dynamic updates from this machine, or with a configuration of the test's own.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { freePort, needPeer } from './peers.ts'

export interface Bind extends AsyncDisposable {
  readonly port: number
  readonly version: string
  log(): string
  stop(): Promise<void>
}

export type NamedSetup = {
  /** Keys, zones; file names are relative to its folder, where `files` are. */
  readonly config: string
  readonly files?: Readonly<Record<string, string>>
  /** Statements in `options`; without any it does not recurse. */
  readonly options?: string
  /** Looks at signatures, with the trust anchors of `config`. */
  readonly validates?: boolean
  readonly address?: string
  readonly port?: number
}

/** @param zones each with `ns` at 127.0.0.1 and every name below it at 127.0.0.1 */
export function startBind(zones: readonly string[]): Promise<Bind> {
  const texts = zones.map(
    (zone) => `zone "${zone}" { type primary; file "data/${zone}"; allow-update { 127.0.0.1; }; };\n`,
  )
  return startNamed({
    config: texts.join(''),
    files: Object.fromEntries(zones.map((zone) => [`data/${zone}`, makeZone(zone)])),
  })
}

/** A zone's file. @param records more of them, or others in the place of the usual NS */
export function makeZone(zone: string, records = `@ IN NS ns.${zone}.\nns IN A 127.0.0.1\n`): string {
  return `$TTL 60\n@ IN SOA ns.${zone}. root.${zone}. 1 3600 1 86400 1\n${records}@ IN A 127.0.0.1\n* IN A 127.0.0.1\n`
}

export async function startNamed(setup: NamedSetup): Promise<Bind> {
  const peer = needPeer('named')
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('bind')).path
  const { address = '127.0.0.1', port = await freePort() } = setup
  mkdirSync(join(folder, 'data'))
  for (const [name, text] of Object.entries(setup.files ?? {})) writeFileSync(join(folder, name), text)
  const configFile = join(folder, 'named.conf')
  writeFileSync(
    configFile,
    `options { directory "${folder}"; listen-on port ${port} { ${address}; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
  dnssec-validation ${setup.validates === true ? 'yes' : 'no'}; empty-zones-enable no; managed-keys-directory "${folder}"; ${setup.options ?? 'recursion no;'} };
controls { };
${setup.config}
`,
  )
  const child = startChild(peer.path, ['-g', '-c', configFile, '-n', '1', ...ownUser()], {
    env: peer.env,
    cwd: folder,
    logFile: join(folder, 'named.log'),
  })
  cleanup.use(child)
  await waitUntilReady(child, 'named', async () => child.log().includes('running') && (await acceptsTcp(port, address)))
  const owned = cleanup.move()
  const stop = () => owned.disposeAsync()
  return { port, version: peer.version, log: () => child.log(), stop, [Symbol.asyncDispose]: stop }
}

/** As root BIND would change to a user that may not exist here; it stays who it is. */
function ownUser(): string[] {
  return process.getuid?.() === 0 ? ['-u', execFileSync('id', ['-un'], { encoding: 'utf8' }).trim()] : []
}
