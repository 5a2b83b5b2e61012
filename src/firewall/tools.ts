import { spawn } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { errorCode } from '../error-code.ts'
import { searchPath } from '../search-path.ts'
import type { Family } from './opening.ts'

export type ToolRun = { readonly status: number | null; readonly stdout: string; readonly stderr: string }

/** The programs that the machine's rules are made with. */
export interface FirewallTools {
  readonly has: { readonly nft: boolean; readonly nftIptables: boolean }
  /** @throws Error when it is not there, or does not end */
  nft(args: readonly string[]): Promise<ToolRun>
  /** Where iptables writes nftables' rules, and keeps them readable for itself. */
  nftIptables(family: Family, args: readonly string[]): Promise<ToolRun>
  /** What nftables has of iptables', in iptables' words. */
  saveNftIptables(family: Family): Promise<string>
  legacyIptables(family: Family, args: readonly string[]): Promise<ToolRun>
  /** Everything that legacy iptables has; empty where the kernel was never asked for any. */
  saveLegacy(family: Family): Promise<string>
}

const families: readonly Family[] = ['ip', 'ip6']
const timeoutMs = 10_000
const maxOutputBytes = 64 * 1024 * 1024

/** The folders that programs are looked for in, as PATH. */
export function toolPath(path: string | undefined): string {
  const given = (path ?? '').split(delimiter).filter((folder) => folder.startsWith('/'))
  return [...new Set([...given, ...searchPath.split(delimiter)])].join(delimiter)
}

/** @param path as toolPath gives it */
export function findTools(path: string): FirewallTools {
  const find = (name: string) =>
    path
      .split(delimiter)
      .map((folder) => join(folder, name))
      .find(isExecutable)
  const named = (family: Family) => (family === 'ip' ? 'iptables' : 'ip6tables')
  const nftIptables = (family: Family) => find(`${named(family)}-nft`)
  const run = async (name: string, command: string | undefined, args: readonly string[]) => {
    if (command === undefined) throw new Error(`${name} is not installed`)
    return await runTool(command, args, path)
  }
  const save = async (name: string) => {
    const { status, stdout, stderr } = await run(name, find(name), [])
    const hint = name.includes('legacy') ? ' (it needs CAP_NET_RAW, too)' : ''
    if (status !== 0) throw new Error(`${name}: ${stderr.trim()}${hint}`)
    return stdout
  }
  return {
    // Looked for anew: they may be installed while we run.
    has: {
      get nft() {
        return find('nft') !== undefined
      },
      get nftIptables() {
        return families.every((family) => nftIptables(family) !== undefined)
      },
    },
    nft: (args) => run('nft', find('nft'), args),
    nftIptables: (family, args) => run(`${named(family)}-nft`, nftIptables(family), args),
    legacyIptables: (family, args) => run(`${named(family)}-legacy`, find(`${named(family)}-legacy`), args),
    saveNftIptables: (family) => save(`${named(family)}-nft-save`),
    async saveLegacy(family) {
      // Asked for what is not there, iptables would load it into the kernel.
      if (namesOfTables(family) === '') return ''
      return await save(`${named(family)}-legacy-save`)
    },
  }
}

/** Does legacy iptables rule here? Its rules are changed through a raw socket. */
export function hasLegacyTables(): boolean {
  return families.some((family) => namesOfTables(family) !== '')
}

function namesOfTables(family: Family): string {
  try {
    return readFileSync(`/proc/self/net/${family}_tables_names`, 'utf8').trim()
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return ''
    throw error
  }
}

async function runTool(command: string, args: readonly string[], path: string): Promise<ToolRun> {
  const child = spawn(command, args, {
    cwd: '/',
    env: { PATH: path, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  const [out, err]: [Buffer[], Buffer[]] = [[], []]
  let bytes = 0
  for (const [stream, chunks] of [
    [child.stdout, out],
    [child.stderr, err],
  ] as const)
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= maxOutputBytes) chunks.push(chunk)
      else child.kill('SIGKILL')
    })
  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => {
      if (signal !== null) reject(new Error(`${command} did not end within ${timeoutMs / 1000} s (${signal})`))
      else resolve({ status, stdout: Buffer.concat(out).toString('utf8'), stderr: Buffer.concat(err).toString('utf8') })
    })
  })
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
