// Processes that outlive the one that starts them, found again by a file with their pid and start time: a pid alone
// may meanwhile be somebody else's.
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export type DetachedCommand = {
  readonly name: string
  readonly path: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

type PidRecord = { readonly pid: number; readonly startTime: string }

const pollMs = 50
// Longer than acmems waits for what is in flight.
const stopGraceMs = 12_000
const logTailLines = 15

const pidFile = (folder: string, name: string) => join(folder, `${name}.pid`)
export const logFile = (folder: string, name: string) => join(folder, `${name}.log`)

/** The moment a process began, in ticks since boot; undefined when there is none, or only its remains. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    return undefined
  }
}

/** The pid, as long as the process that was started under that name runs. */
export function findDetached(folder: string, name: string): number | undefined {
  if (!existsSync(pidFile(folder, name))) return undefined
  const { pid, startTime } = JSON.parse(readFileSync(pidFile(folder, name), 'utf8')) as PidRecord
  return startTimeOf(pid) === startTime ? pid : undefined
}

/** Starts it and waits until it is ready. @throws Error with the end of its log */
export async function startDetached(
  folder: string,
  { name, path, args, env }: DetachedCommand,
  isReady: () => Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  const log = openSync(logFile(folder, name), 'w')
  const child = spawn(path, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', log, log],
    detached: true,
  })
  closeSync(log)
  let ending: string | undefined
  child.once('error', (error) => {
    ending = error.message
  })
  child.once('exit', (code, signal) => {
    ending = `it ended with ${code ?? signal}`
  })
  child.unref()
  const startTime = child.pid === undefined ? undefined : startTimeOf(child.pid)
  if (startTime !== undefined) writeFileSync(pidFile(folder, name), JSON.stringify({ pid: child.pid, startTime }))
  const deadlineMs = performance.now() + timeoutMs
  while (!(await isReady().catch(() => false))) {
    await sleep(pollMs)
    if (performance.now() > deadlineMs) ending ??= `not ready after ${timeoutMs / 1000} seconds`
    if (ending === undefined) continue
    const tail = readFileSync(logFile(folder, name), 'utf8').trimEnd().split('\n').slice(-logTailLines).join('\n')
    throw new Error(`${name} could not be started: ${ending}\n${tail}`)
  }
}

/** Ends exactly the process that was started under that name. @returns whether it was running */
export async function stopDetached(folder: string, name: string): Promise<boolean> {
  const pid = findDetached(folder, name)
  if (pid !== undefined) {
    signalProcess(pid, 'SIGTERM')
    const deadlineMs = performance.now() + stopGraceMs
    while (findDetached(folder, name) !== undefined) {
      if (performance.now() > deadlineMs) signalProcess(pid, 'SIGKILL')
      await sleep(pollMs)
    }
  }
  rmSync(pidFile(folder, name), { force: true })
  return pid !== undefined
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended by itself just now.
  }
}
