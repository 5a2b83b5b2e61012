// A real BIND as the resolver of a CA: it has one zone, and asks us for the names that are delegated to us.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { freePort, needPeer } from './peers.ts'

export interface BindResolver extends AsyncDisposable {
  readonly port: number
  log(): string
}

export type BindResolverOptions = {
  readonly port?: number
  readonly zone: string
  /** Lines of the zone's file. */
  readonly records: readonly string[]
  /** A delegation names no port, so that forwarding stands in for it. */
  readonly forward: { readonly zone: string; readonly port: number }
}

export async function startBindResolver(options: BindResolverOptions): Promise<BindResolver> {
  const peer = needPeer('named')
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('resolver')).path
  const { zone, records, forward } = options
  const port = options.port ?? (await freePort())
  const head = `$TTL 1\n@ IN SOA ns.${zone}. root.${zone}. 1 3600 600 86400 1\n@ IN NS ns.${zone}.\nns IN A 127.0.0.1\n`
  writeFileSync(join(folder, 'zone'), `${head}${records.join('\n')}\n`)
  const configFile = join(folder, 'named.conf')
  writeFileSync(
    configFile,
    `options { directory "${folder}"; listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
  recursion yes; allow-recursion { 127.0.0.1; }; dnssec-validation no; empty-zones-enable no; managed-keys-directory "${folder}"; };
controls { };
zone "${zone}" { type primary; file "zone"; };
zone "${forward.zone}" { type forward; forward only; forwarders { 127.0.0.1 port ${forward.port}; }; };
`,
  )
  const user = process.getuid?.() === 0 ? ['-u', execFileSync('id', ['-un'], { encoding: 'utf8' }).trim()] : []
  const child = startChild(peer.path, ['-g', '-c', configFile, '-n', '1', ...user], {
    env: peer.env,
    cwd: folder,
    logFile: join(folder, 'named.log'),
  })
  cleanup.use(child)
  await waitUntilReady(child, 'named', async () => child.log().includes('running') && (await acceptsTcp(port)))
  const owned = cleanup.move()
  return { port, log: () => child.log(), [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
