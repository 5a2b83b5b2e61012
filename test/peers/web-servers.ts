// Real web servers with a piece of configuration as it stands in the operator's documents, and as little as possible
// around it: unprivileged, in the foreground, everything in a folder of its own.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './child.ts'
import { needPeer, type Peer, type PeerName } from './peers.ts'

export type WebServerOptions = {
  /** Where the snippet makes it listen, on 127.0.0.1; it is ready once it accepts there. */
  readonly httpPort: number
  /** More ports to wait for. */
  readonly alsoPorts?: readonly number[]
  /** nginx only: what stands beside `http`, a `stream` block. */
  readonly stream?: string
  /** nginx only: a `mail` block, likewise. */
  readonly mail?: string
  /** Apache only: modules beside the usual ones, `proxy_http2` and the like. */
  readonly modules?: readonly string[]
}

export interface WebServer extends AsyncDisposable {
  readonly version: string
  readonly httpPort: number
  /** The whole configuration that it runs with. */
  readonly configFile: string
  /** Errors and requests, as the server itself wrote them. */
  log(): string
  stop(): Promise<void>
}

type Setup = { readonly peer: Peer; readonly folder: string; readonly logFile: string; readonly configFile: string }
type Plan = { readonly config: string; readonly args: readonly string[] }

const isRoot = process.getuid?.() === 0

/** As root the workers run as `nobody`, as they would in earnest; the name of its group differs between systems. */
function findNobodyGroup(): string {
  return /^nogroup:/m.test(readFileSync('/etc/group', 'utf8')) ? 'nogroup' : 'nobody'
}

async function startServer(
  name: PeerName,
  options: WebServerOptions,
  plan: (setup: Setup) => Plan,
): Promise<WebServer> {
  const peer = needPeer(name)
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder(name)).path
  mkdirSync(join(folder, 'temp'))
  const setup = { peer, folder, logFile: join(folder, 'server.log'), configFile: join(folder, 'server.conf') }
  const { config, args } = plan(setup)
  writeFileSync(setup.configFile, config)
  const child = startChild(peer.path, args, { env: peer.env, cwd: folder, logFile: setup.logFile })
  cleanup.use(child)
  for (const port of [options.httpPort, ...(options.alsoPorts ?? [])]) {
    await waitUntilReady(child, `${name} on port ${port}`, () => acceptsTcp(port))
  }
  const owned = cleanup.move()
  const stop = () => owned.disposeAsync()
  return {
    version: peer.version,
    httpPort: options.httpPort,
    configFile: setup.configFile,
    log: () => child.log(),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** `snippet`: what stands at nginx's http level, `upstream` and `server` blocks. */
export function startNginx(snippet: string, options: WebServerOptions): Promise<WebServer> {
  return startServer('nginx', options, ({ folder, logFile, configFile }) => ({
    config: `${options.stream === undefined ? '' : `load_module ${needPeer('ngx_stream_module.so').path};\n`}${options.mail === undefined ? '' : `load_module ${needPeer('ngx_mail_module.so').path};\n`}${isRoot ? `user nobody ${findNobodyGroup()};\n` : ''}daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${logFile} info;
events { worker_connections 256; }
http {
  access_log ${logFile};
${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `  ${kind}_temp_path ${folder}/temp/${kind};`).join('\n')}
${snippet}
}
${options.stream ?? ''}
${options.mail ?? ''}
`,
    // -e: otherwise the packaged log file is opened before the configuration is read.
    args: ['-p', folder, '-e', logFile, '-c', configFile],
  }))
}

const APACHE_MODULES =
  'mpm_event unixd log_config authn_core authz_core authz_host alias dir env headers setenvif rewrite ' +
  'proxy proxy_http socache_shmcb ssl'

/** `snippet`: directives as they stand within a VirtualHost; or whole `<VirtualHost>` blocks, which are left as they are. */
export function startApache(snippet: string, options: WebServerOptions): Promise<WebServer> {
  return startServer('apache2', options, ({ peer, folder, logFile, configFile }) => {
    // ROOT/usr/sbin/apache2 -> ROOT/usr/lib/apache2/modules, unpacked or not.
    const modulesFolder = resolve(dirname(peer.path), '../lib/apache2/modules')
    // What has no file is built in (Debian: unixd, log_config).
    const loadLines = [...APACHE_MODULES.split(' '), ...(options.modules ?? [])]
      .map((module) => ({ module, file: join(modulesFolder, `mod_${module}.so`) }))
      .filter(({ file }) => existsSync(file))
      .map(({ module, file }) => `LoadModule ${module}_module ${file}`)
    const ports = [options.httpPort, ...(options.alsoPorts ?? [])]
    const host = `<VirtualHost 127.0.0.1:${options.httpPort}>\n${snippet}\n</VirtualHost>`
    return {
      config: `ServerRoot ${folder}
DefaultRuntimeDir ${folder}/temp
PidFile ${folder}/apache.pid
${loadLines.join('\n')}
${isRoot ? `User nobody\nGroup ${findNobodyGroup()}\n` : ''}ServerName localhost
${ports.map((port) => `Listen 127.0.0.1:${port}`).join('\n')}
Mutex file:${folder}/temp
ErrorLog ${logFile}
LogLevel info
CustomLog ${logFile} "%h %r %>s"
StartServers 1
MinSpareThreads 5
MaxSpareThreads 25
ThreadsPerChild 25
MaxRequestWorkers 25
${/<VirtualHost\s/i.test(snippet) ? snippet : host}
`,
      args: ['-d', folder, '-f', configFile, '-DFOREGROUND'],
    }
  })
}

/** `snippet`: `frontend`, `backend` and `listen` sections. */
export function startHaproxy(snippet: string, options: WebServerOptions): Promise<WebServer> {
  return startServer('haproxy', options, ({ configFile }) => ({
    config: `global
  maxconn 200
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 30s
  timeout server 30s
${snippet}
`,
    args: ['-db', '-f', configFile],
  }))
}
