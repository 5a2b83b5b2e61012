// A real BIND with one zone that takes dynamic updates from this machine.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { freePort, needPeer } from './peers.ts'

export interface Bind extends AsyncDisposable {
  readonly port: number
  readonly version: string
  log(): string
}

/** @param zones each with `ns` at 127.0.0.1 and every name below it at 127.0.0.1 */
export async function startBind(zones: readonly string[]): Promise<Bind> {
  const peer = needPeer('named')
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('bind')).path
  const port = await freePort()
  mkdirSync(join(folder, 'data'))
  for (const zone of zones) {
    writeFileSync(
      join(folder, 'data', zone),
      `$TTL 60\n@ IN SOA ns.${zone}. root.${zone}. 1 3600 600 86400 1\n@ IN NS ns.${zone}.\nns IN A 127.0.0.1\n@ IN A 127.0.0.1\n* IN A 127.0.0.1\n`,
    )
  }
  const zoneTexts = zones.map(
    (zone) => `zone "${zone}" { type primary; file "data/${zone}"; allow-update { 127.0.0.1; }; };`,
  )
  const configFile = join(folder, 'named.conf')
  writeFileSync(
    configFile,
    `options { directory "${folder}"; listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
  recursion no; dnssec-validation no; empty-zones-enable no; managed-keys-directory "${folder}"; };
controls { };
${zoneTexts.join('\n')}
`,
  )
  const child = startChild(peer.path, ['-g', '-c', configFile, '-n', '1', ...ownUser()], {
    env: peer.env,
    cwd: folder,
    logFile: join(folder, 'named.log'),
  })
  cleanup.use(child)
  await waitUntilReady(child, 'named', async () => child.log().includes('running') && (await acceptsTcp(port)))
  const owned = cleanup.move()
  return { port, version: peer.version, log: () => child.log(), [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** As root BIND would change to a user that may not exist here; it stays who it is. */
function ownUser(): string[] {
  return process.getuid?.() === 0 ? ['-u', execFileSync('id', ['-un'], { encoding: 'utf8' }).trim()] : []
}
