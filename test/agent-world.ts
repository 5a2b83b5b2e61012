// A host with the shell agent: its own folder, its own configuration, one of three shells with only what it may need.
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { TestContext } from 'node:test'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'

export const agentScript = resolve(import.meta.dirname, '../agent/agent.sh')

export const shells = ['dash', 'busybox', 'bash'] as const
export type ShellName = (typeof shells)[number]

/**
 * Where a row of cases differs in what the agent meets and not in what the shell does: dash has all of them, the others
 * every third, each another one. EVERY_SHELL=1 gives all of them to all.
 */
export function shareOf<T>(shell: ShellName, cases: readonly T[]): readonly T[] {
  if (shell === 'dash' || process.env.EVERY_SHELL === '1') return cases
  const first = shells.indexOf(shell)
  return cases.filter((_, index) => index % 3 === first % 3)
}

export type Run = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

export interface AgentHost extends Disposable {
  readonly folder: string
  readonly configFile: string
  readonly state: string
  /** What `directory` names. */
  readonly directory: string
  /** Replaces the configuration; `state`, `server` and `directory` are there unless they are given. */
  configure(lines: Readonly<Record<string, string>>): void
  run(...args: string[]): Promise<Run>
  /** Starts it and kills it, and what it has started, that much later. */
  runAndKill(afterMs: number, ...args: string[]): Promise<Run>
  /** The certificate in `directory`. */
  certificate(): X509Certificate | undefined
  /** The openssl tool's words for what stands in the folder: is the key the certificate's? */
  isPairWhole(folder?: string): boolean
}

const tools = ['openssl', 'curl']

/** Busybox with its own tools alone, so that nothing of GNU is needed without our knowing. */
function busyboxPath(folder: string, busybox: string): string {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const applet of spawnSync(busybox, ['--list'], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean))
    if (!tools.includes(applet)) symlinkSync(busybox, join(bin, applet))
  for (const tool of tools)
    symlinkSync(spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim(), join(bin, tool))
  return bin
}

/** undefined: the shell cannot be had here, and the test is skipped, saying why. */
export function makeAgentHost(t: TestContext, shell: ShellName, serverUrl: string): AgentHost | undefined {
  const peer = requirePeer(t, shell)
  if (!peer || !requirePeer(t, 'openssl') || !requirePeer(t, 'curl')) return undefined
  const temp = makeTempFolder('agent')
  const folder = temp.path
  const [configFile, state, directory] = [join(folder, 'www.conf'), join(folder, 'state'), join(folder, 'tls', 'www')]
  const command = shell === 'busybox' ? [peer.path, 'sh'] : [peer.path]
  let script = agentScript
  // Its own PATH is only added to; for busybox the script must not find the system's tools behind it.
  if (shell === 'busybox') {
    script = join(folder, 'agent.sh')
    const text = readFileSync(agentScript, 'utf8')
    writeFileSync(script, text.replace(/^PATH=.*$/m, `PATH=${busyboxPath(folder, peer.path)}`))
  }
  const env = { PATH: process.env.PATH ?? '', ACMEMS_AGENT_WAIT: '20', HOME: folder, ...peer.env }
  const start = (args: string[], killAfterMs?: number): Promise<Run> =>
    new Promise((done) => {
      const hasConfig = ['--config', '-c', 'cron', 'systemd', '--help'].some((arg) => args.includes(arg))
      const [first = '', ...rest] = [...command, script, ...args, ...(hasConfig ? [] : ['--config', configFile])]
      const child = spawn(first, rest, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
      let [stdout, stderr] = ['', '']
      child.stdout.on('data', (chunk) => {
        stdout += String(chunk)
      })
      child.stderr.on('data', (chunk) => {
        stderr += String(chunk)
      })
      const kill = () => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
        } catch {
          // It was quicker.
        }
      }
      const timer = killAfterMs === undefined ? undefined : setTimeout(kill, killAfterMs)
      child.on('close', (code) => {
        clearTimeout(timer)
        done({ code, stdout, stderr })
      })
    })
  return {
    folder,
    configFile,
    state,
    directory,
    configure(lines) {
      const all = { server: serverUrl, state, directory, ...lines }
      const text = Object.entries(all).map(([key, value]) => (value === '' ? '' : `${key} = ${value}\n`))
      writeFileSync(configFile, text.join(''))
    },
    run: (...args) => start(args),
    runAndKill: (afterMs, ...args) => start(args, afterMs),
    certificate() {
      const file = join(directory, 'cert.pem')
      return existsSync(file) ? new X509Certificate(readFileSync(file)) : undefined
    },
    isPairWhole(where = directory) {
      const half = (args: string[]): SpawnSyncReturns<string> => spawnSync('openssl', args, { encoding: 'utf8' })
      const certificate = half(['x509', '-in', join(where, 'fullchain.pem'), '-noout', '-pubkey'])
      const key = half(['pkey', '-in', join(where, 'privkey.pem'), '-pubout'])
      return certificate.status === 0 && key.status === 0 && certificate.stdout === key.stdout
    },
    [Symbol.dispose]: () => temp[Symbol.dispose](),
  }
}
