// See scripts/test-env, which starts this with the right Node.js.
import { existsSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { findDetached, logFile } from './detached.ts'
import { processNames, startWorld, stopWorld, type World, worldFile } from './test-env-world.ts'

const defaultFolder = resolve(import.meta.dirname, '../.cache/test-env')
const portCount = 7

const help = `Usage: scripts/test-env start|stop|status [--port NUMBER] [--dir FOLDER] [--json]

Brings up Pebble (a CA for tests that really validates), the DNS that it believes in, and an acmems from these sources
that gets its certificates there; all of it on 127.0.0.1 only, everything that it writes in one folder.

  --port NUMBER  the first of the seven ports that are used (start; default 14000)
  --dir FOLDER   where it lives (default .cache/test-env)
  --json         status for programs

status ends with 0 when all of it runs and with 3 when not.`

function describe(folder: string) {
  const processes = processNames.map((name) => ({
    name,
    pid: findDetached(folder, name) ?? null,
    log: logFile(folder, name),
  }))
  const running = processes.every(({ pid }) => pid !== null)
  if (!existsSync(worldFile(folder))) return { running, processes }
  const { ports, caFile } = JSON.parse(readFileSync(worldFile(folder), 'utf8')) as World
  return {
    running,
    processes,
    signUrl: `http://127.0.0.1:${ports.mgmt}/sign`,
    directoryUrl: `https://127.0.0.1:${ports.acme}/dir`,
    rootUrl: `https://127.0.0.1:${ports.management}/roots/0`,
    challtestsrvUrl: `http://127.0.0.1:${ports.challtestsrv}`,
    dnsServer: `127.0.0.1:${ports.dns}`,
    caFile,
    configFile: join(folder, 'acmems.ini'),
  }
}

function formatStatus(folder: string, status: ReturnType<typeof describe>): string {
  const lines = status.processes.map(
    ({ name, pid, log }) =>
      `${name.padEnd(13)}${pid === null ? 'not running' : `running, pid ${pid}, log ${shown(log)}`}`,
  )
  if (!status.running || status.signUrl === undefined) return lines.join('\n')
  return [
    ...lines,
    '',
    `hosts ask at        ${status.signUrl}, configured by ${shown(status.configFile)}`,
    `the CA's directory  ${status.directoryUrl} (its own TLS: --cacert ${shown(status.caFile)}), its root ${status.rootUrl}`,
    `its DNS             ${status.dnsServer}, told what to say at ${status.challtestsrvUrl} (every name is 127.0.0.1 already)`,
    '',
    'Be a host:',
    `  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${shown(join(folder, 'host.key'))} -subj / -addext subjectAltName=DNS:www.example.test | curl --data-binary @- ${status.signUrl}`,
    'See what it did:',
    `  tail ${shown(logFile(folder, 'acmems'))}`,
    `End it: scripts/test-env stop${folder === defaultFolder ? '' : ` --dir ${shown(folder)}`}`,
  ].join('\n')
}

function shown(path: string): string {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') ? path : short
}

function parsePort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port + portCount > 65_536) throw new Error(`--port ${text} is no port`)
  return port
}

async function main(): Promise<void> {
  const flag = { type: 'boolean', default: false } as const
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: 'string', default: '14000' },
      dir: { type: 'string', default: defaultFolder },
      json: flag,
      help: flag,
    },
  })
  const folder = resolve(values.dir)
  const [command] = positionals
  if (values.help) return console.log(help)
  if (command === 'start') await startWorld(folder, parsePort(values.port))
  else if (command === 'stop') {
    for (const name of await stopWorld(folder)) console.log(`${name} is stopped`)
    return
  } else if (command !== 'status' || positionals.length > 1) throw new Error(`try --help\n\n${help}`)
  const status = describe(folder)
  console.log(values.json ? JSON.stringify(status, null, 2) : formatStatus(folder, status))
  if (!status.running) process.exitCode = 3
}

try {
  await main()
} catch (error) {
  console.error(`test-env: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
