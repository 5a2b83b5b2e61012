// A peer's process: its output in a file, and never left behind, whatever becomes of the test process.
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Child extends AsyncDisposable {
  readonly pid: number
  /** All that it has written so far; still there after it has ended. */
  log(): string
  hasEnded(): boolean
  stop(): Promise<void>
}

export type ChildOptions = {
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  readonly logFile: string
  /** As whom it runs, when we are root. */
  readonly uid?: number
  readonly gid?: number
}

const STOP_GRACE_MS = 2_000
const LOG_TAIL_LINES = 30
const livePids = new Set<number>()
const liveFolders = new Set<string>()

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Already gone, as it should be.
  }
}

function killAll(): void {
  for (const pid of livePids) killGroup(pid)
  livePids.clear()
  for (const folder of liveFolders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  liveFolders.clear()
}

let isGuarding = false
function guardExit(): void {
  if (isGuarding) return
  isGuarding = true
  process.on('exit', killAll)
  // A process that dies of a signal (the test runner's time-out, Ctrl-C) never emits `exit`.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      killAll()
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
    })
  }
}

/**
 * The environment of this process without what would change a peer: proxies, and settings meant for another one. Where
 * compiled code is kept changes nothing but the time.
 */
function cleanEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => name === 'NODE_COMPILE_CACHE' || !/^(PEBBLE_|NODE_|\w+_proxy$)/i.test(name),
  )
  return { ...Object.fromEntries(kept), ...env }
}

/** Removed when disposed of, or with the test process. */
export function makeTempFolder(name: string): Disposable & { readonly path: string } {
  guardExit()
  const path = mkdtempSync(join(tmpdir(), `acmems-${name}-`))
  // A server started as root runs its workers as somebody else, who must come through.
  chmodSync(path, 0o755)
  liveFolders.add(path)
  const remove = () => {
    rmSync(path, { recursive: true, force: true })
    liveFolders.delete(path)
  }
  return { path, [Symbol.dispose]: remove }
}

export function startChild(command: string, args: readonly string[], options: ChildOptions): Child {
  guardExit()
  // Appending, so that a server told to log into the same file does not overwrite what it printed.
  const logFd = openSync(options.logFile, 'a')
  // A process group of its own: Apache signals its whole group when it ends, and workers must not outlive their master.
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: cleanEnv(options.env),
    stdio: ['ignore', logFd, logFd],
    detached: true,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  closeSync(logFd)
  let ended = false
  let lastLog: string | undefined
  const gone = new Promise<void>((resolve) => {
    const end = () => {
      ended = true
      resolve()
    }
    child.once('exit', end)
    child.once('error', end)
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${command} could not be started`)
  livePids.add(pid)
  // A peer that a test forgot must not keep the test process alive; it is killed when that ends.
  child.unref()

  const log = () => lastLog ?? readFileSync(options.logFile, 'utf8')
  const stop = async () => {
    if (!livePids.has(pid)) return
    child.ref()
    child.kill('SIGTERM')
    await Promise.race([gone, sleep(STOP_GRACE_MS, undefined, { ref: false })])
    killGroup(pid)
    livePids.delete(pid)
    await gone
    lastLog ??= log()
  }
  return { pid, log, hasEnded: () => ended, stop, [Symbol.asyncDispose]: stop }
}

/** Resolves once `isReady` says so; throws with the end of the log when the child ends or the time is over. */
export async function waitUntilReady(
  child: Child,
  name: string,
  isReady: () => Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  while (!(await isReady().catch(() => false))) {
    const isLate = performance.now() > deadlineMs
    if (child.hasEnded() || isLate) {
      const tail = child.log().split('\n').slice(-LOG_TAIL_LINES).join('\n')
      throw new Error(`${name} ${isLate ? `was not ready after ${timeoutMs} ms` : 'ended while starting'}:\n${tail}`)
    }
    await sleep(20)
  }
}

export function acceptsTcp(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host })
    const answer = (accepted: boolean) => {
      socket.destroy()
      resolve(accepted)
    }
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })
}
