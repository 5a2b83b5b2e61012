import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { promisify } from 'node:util'
import { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { createLog } from '../log.ts'
import { builtinPlugins } from '../plugins/builtin.ts'
import { hostLines } from './host-lines.ts'
import { stopSignal } from './stop-signal.ts'

type Flags = { readonly once: boolean; readonly json: boolean; readonly dir?: string }

const hostName = 'www.example.test'
const commandTimeoutMs = 30_000

/** `acmems demo`: the main job on this machine alone, with the embedded CA. */
export function demoCommand(): Command {
  return new Command('demo')
    .summary('see the main job done: a host gets a certificate')
    .description(
      'Start a server with its embedded defaults (SQLite, embedded CA) on a free port of this machine, get a\ncertificate from it with openssl and curl the way a host does, check it, and go on serving until Ctrl-C.',
    )
    .option('--once', 'stop after the certificate was checked; exit with 0, or 1 when it was not good', false)
    .option('--dir <folder>', 'keep configuration and data here (default: a new temporary folder)')
    .option('--json', 'with --once: print JSON instead', false)
    .addHelpText('after', '\nExamples:\n  acmems demo\n  acmems demo --once\n  acmems demo --dir ./acmems-demo')
    .action(demo)
}

async function demo(flags: Flags): Promise<void> {
  const say = (text: string) => {
    if (!flags.json) process.stdout.write(`${text}\n`)
  }
  for (const tool of ['openssl', 'curl']) requireTool(tool)
  const folder = openFolder(flags.dir)
  const configFile = join(folder, 'acmems.ini')
  writeFileSync(configFile, demoConfig(folder, '127.0.0.1:0'))
  const { startDaemon } = await import('../daemon.ts')
  const startedMs = performance.now()
  const config = await loadConfig({
    files: [configFile],
    environment: {},
    assignments: [],
    lenient: false,
    plugins: builtinPlugins,
  })
  using log = createLog({ level: 'warning', destination: 'stderr', format: 'text' }, 'program')
  await using daemon = await startDaemon(config, { log, stateFolder: folder })
  const address = daemon.mgmtAddresses[0] ?? ''
  // With the port that the system chose, so that "acmems serve" finds everything where the demo left it.
  writeFileSync(configFile, demoConfig(folder, address))
  const serveMs = performance.now() - startedMs
  say(`acmems serves at http://${address} (started in ${serveMs.toFixed(0)} ms). Now a host gets a certificate:\n`)

  const hostFolder = join(folder, 'host')
  mkdirSync(hostFolder, { recursive: true })
  const lines = [`ACMEMS=http://${address} HOST=${hostName}`, ...hostLines.slice(1)]
  for (const line of lines) say(`  $ ${line}`)
  const orderedMs = performance.now()
  await runShell(lines.join('\n'), hostFolder)
  const hostMs = performance.now() - orderedMs

  const [root, chain] = [join(folder, 'ca', 'root.pem'), join(hostFolder, `${hostName}.pem`)]
  const verified = await runShell('openssl verify -CAfile "$0" -untrusted "$1" "$1"', hostFolder, root, chain)
  const facts = await runShell(
    'openssl x509 -in "$0" -noout -subject -issuer -serial -dates -ext subjectAltName',
    hostFolder,
    chain,
  )
  say(`\n  $ openssl verify -CAfile ${root} -untrusted ${hostName}.pem ${hostName}.pem\n  ${verified.trim()}\n`)
  say(indent(facts))
  say(`\nThe host's five lines took ${hostMs.toFixed(0)} ms, openssl and curl included.`)
  say(
    `Configuration: ${configFile}\nData:          ${join(folder, 'state.db')}, ${join(folder, 'ca')}\nThe host:      ${hostFolder}`,
  )
  if (flags.json)
    process.stdout.write(
      `${JSON.stringify({ ok: true, address, serveMs, hostMs, configFile, chain, root, certificate: facts.trim().split('\n') }, null, 2)}\n`,
    )
  if (flags.once) return
  say(
    '\nServing until Ctrl-C. Any name under example.test can be had from this machine; try the lines above with another HOST.',
  )
  await stopSignal()
  say(`
Stopped. Configuration and data stay in ${folder}; "acmems serve ${configFile}" goes on with them.`)
}

function demoConfig(folder: string, listener: string): string {
  return `# Made by "acmems demo"; "acmems serve" runs it, too.
[account]
type = local
dir = ${join(folder, 'ca')}

[state]
url = sqlite:${join(folder, 'state.db')}

[mgmt]
listener = ${listener}

[auth "this machine"]
ip = 127.0.0.1
domain = **.example.test
`
}

function openFolder(given: string | undefined): string {
  if (given === undefined) return mkdtempSync(join(tmpdir(), 'acmems-demo-'))
  mkdirSync(resolve(given), { recursive: true, mode: 0o700 })
  return resolve(given)
}

function requireTool(tool: string): void {
  try {
    execFileSync(tool, [tool === 'openssl' ? 'version' : '--version'], { stdio: 'ignore' })
  } catch {
    throw new Error(
      `the demo does what a host does, and for that ${tool} must be installed (Debian: apt-get install ${tool})`,
    )
  }
}

/** @throws Error with what the commands printed */
async function runShell(script: string, folder: string, ...args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('sh', ['-c', script, ...args], {
      cwd: folder,
      timeout: commandTimeoutMs,
    })
    return stdout
  } catch (error) {
    const output =
      error instanceof Error && 'stdout' in error && 'stderr' in error ? `${error.stdout}${error.stderr}` : ''
    throw new Error(`the certificate could not be had: ${output.trim() || String(error)}`, { cause: error })
  }
}

function indent(text: string): string {
  return text.trim().replace(/^/gm, '  ')
}
