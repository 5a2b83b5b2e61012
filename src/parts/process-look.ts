import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { errorCode } from '../error-code.ts'
import type { PartName } from './part.ts'
import { readSocketTable, type SocketEntry } from './socket-table.ts'
import { parseStanding, type Standing } from './standing.ts'

/** What the kernel says of a running part. */
export type ProcessLook = {
  readonly pid: number
  readonly parentPid: number
  readonly part: PartName | 'launcher'
  /** After the name of the command. */
  readonly args: readonly string[]
  readonly standing: Standing
  readonly cwd: string
  /** Names of its variables. */
  readonly variables: readonly string[]
  readonly descriptors: readonly Descriptor[]
}

export type Descriptor = { readonly fd: number; readonly what: string; readonly socket?: SocketEntry }

const commands: Readonly<Record<string, PartName>> = {
  serve: 'server',
  accountd: 'accountd',
  responder: 'responder',
  firewall: 'firewall',
}
const programs = /^(main\.ts|acmems(\.js|\.cjs)?)$/
const installers = /^(install-main\.ts|acmems-install(\.js|\.cjs)?)$/

/** All parts of acmems that run on this machine. @throws Error when they are not ours to look at */
export function lookAtProcesses(): ProcessLook[] {
  const looks = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => lookAt(Number(name)) ?? [])
  // Root's one that has parts for children is not one itself; a server of another user that has some is to be told.
  return looks.map((look) =>
    look.part === 'server' && look.standing.uids[0] === 0 && looks.some(({ parentPid }) => parentPid === look.pid)
      ? { ...look, part: 'launcher' }
      : look,
  )
}

function lookAt(pid: number): ProcessLook | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
    const found = findPart(words)
    if (found === undefined) return undefined
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return {
      ...{ pid, ...found, standing: parseStanding(status), cwd: readlinkSync(`/proc/${pid}/cwd`) },
      parentPid: Number(/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? 0),
      variables: readFileSync(`/proc/${pid}/environ`, 'utf8')
        .split('\0')
        .filter(Boolean)
        .map((entry) => entry.split('=')[0] ?? ''),
      descriptors: descriptorsOf(pid),
    }
  } catch (error) {
    if (errorCode(error) === 'EACCES' || errorCode(error) === 'EPERM')
      throw new Error(`process ${pid} is not ours to look at: run this as root`, { cause: error })
    // Gone meanwhile, or the kernel's own.
    return undefined
  }
}

/** By the command line: `node …/acmems.js serve …`, whatever started it. */
function findPart(words: readonly string[]): Pick<ProcessLook, 'part' | 'args'> | undefined {
  if (basename(words[0] ?? '') === 'setpriv') return undefined
  const installer = words.findIndex((word) => installers.test(basename(word)))
  if (installer >= 0 && installer < 6) return { part: 'installer', args: words.slice(installer + 1) }
  const program = words.findIndex((word) => programs.test(basename(word)))
  if (program < 0) return undefined
  const at = words[program + 1] === '--confined' ? program + 3 : program + 1
  const part = Object.hasOwn(commands, words[at] ?? '') ? commands[words[at] ?? ''] : undefined
  return part === undefined ? undefined : { part, args: words.slice(at + 1) }
}

function descriptorsOf(pid: number): Descriptor[] {
  const sockets = readSocketTable(pid)
  return readdirSync(`/proc/${pid}/fd`)
    .map(Number)
    .sort((left, right) => left - right)
    .flatMap((fd) => {
      try {
        const target = readlinkSync(`/proc/${pid}/fd/${fd}`)
        const socket = sockets.get(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? '')
        return [
          {
            fd,
            what: socket === undefined ? target : formatSocket(socket),
            ...(socket === undefined ? {} : { socket }),
          },
        ]
      } catch {
        return []
      }
    })
}

function formatSocket({ transport, local, remote }: SocketEntry): string {
  if (transport === 'unix') return `unix ${local === '' ? '(a connection)' : local}`
  return remote === undefined ? `${transport} ${local}` : `${transport} ${local} to ${remote}`
}
