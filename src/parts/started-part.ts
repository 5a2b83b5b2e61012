import { type ChildProcess, spawn } from 'node:child_process'
import { constants, openSync } from 'node:fs'
import { isatty } from 'node:tty'
import { formatConfinement, setprivArguments } from './confinement.ts'
import { type SocketWish, withOpenedSockets } from './opened-sockets.ts'
import type { Part } from './part.ts'

/** A part that runs, or ran. */
export type StartedPart = {
  readonly pid: number
  readonly ended: Promise<string>
  /** With which it ended by itself; undefined while it runs, or when a signal ended it. */
  readonly exitCode: () => number | undefined
  kill(signal: NodeJS.Signals): void
}

const firstInherited = 3

/**
 * Runs it as what it is to be. It is another program: nothing of our memory is there, no descriptor but the named ones,
 * no variable but its own; and it looks itself whether that is so before anything else.
 * @param onMissing told of a socket that cannot be opened, when it may do without
 * @throws Error when a socket cannot be opened, or setpriv(1) is not there
 */
export async function startPart(
  { script, args, confinement, env, sockets }: Part,
  onMissing?: (error: unknown, wish: SocketWish) => void,
): Promise<StartedPart> {
  const start = (descriptors: readonly number[]) => {
    const range = descriptors.map((_, index) => firstInherited + index)
    const inherited = range.length === 0 ? [] : ['--sockets', `${firstInherited}-${range.at(-1)}`]
    const program = [process.execPath, ...process.execArgv, script, '--confined', formatConfinement(confinement)]
    return spawn('setpriv', [...setprivArguments(confinement), ...program, ...args, ...inherited], {
      cwd: '/',
      env: { ...env } as NodeJS.ProcessEnv,
      stdio: ['ignore', forWriting(1), forWriting(2), ...descriptors],
      // Signals of a terminal are for us: we end the parts, one after the other.
      detached: true,
    })
  }
  const child = await withOpenedSockets(sockets, start, onMissing)
  const ended = endOf(child)
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (error) => reject(new Error(`setpriv (util-linux) cannot be run: ${error.message}`)))
  })
  const { pid = 0 } = child
  return {
    pid,
    ended,
    exitCode: () => child.exitCode ?? undefined,
    kill: (signal) => void child.kill(signal),
  }
}

const reopened = new Map<number, number>()

/** Our output. A terminal's is for reading, too: a part would see what is typed there, the next password of root. */
function forWriting(fd: number): number {
  if (!isatty(fd)) return fd
  const known = reopened.get(fd) ?? openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NOCTTY)
  reopened.set(fd, known)
  return known
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? `status ${code}` : signal))
    child.once('error', (error) => resolve(error.message))
  })
}
