import { type ChildProcess, spawn } from 'node:child_process'
import { oneLine, type ProblemCode, ProblemError } from './acme/problem.ts'
import type { PluginContext } from './plugin-api.ts'

/** A program of the administrator's, with its arguments one by one: no shell reads them. */
export type Hook = {
  readonly command: string
  readonly args: readonly string[]
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** Is shown in the place of these values, wherever they occur in its output: `$NAME`. */
  readonly secrets: ReadonlyMap<string, string>
  /** Of the error when it fails. */
  readonly problemCode: ProblemCode
}

const keptBytes = 64 * 1024
const shownLines = 5
const graceMs = 2000
/** For output of what the hook left running: it may hold our pipe for ever. */
const lastOutputMs = 500

/**
 * Runs it in /, with a process group of its own that is ended when the time is over.
 * @returns what it wrote to its standard output
 * @throws ProblemError with the end of what it wrote
 */
export async function runHook(hook: Hook, context: PluginContext): Promise<string> {
  context.signal.throwIfAborted()
  const child = spawn(hook.command, hook.args, {
    cwd: '/',
    env: { ...hook.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const written = collectOutput(child)
  const deadline = AbortSignal.timeout(hook.timeoutMs)
  const stop = AbortSignal.any([context.signal, deadline])
  const ended = new Promise<{ code: number | null; signal: string | null; error?: NodeJS.ErrnoException }>(
    (resolve) => {
      child.once('error', (error) => resolve({ code: null, signal: null, error }))
      child.once('exit', (code, signal) => resolve({ code, signal }))
    },
  )
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const onStop = () => endGroup(child, 'SIGTERM')
  stop.addEventListener('abort', onStop)
  try {
    await Promise.race([ended, abortOf(stop)])
    if (stop.aborted) {
      // A hook that cleans up after itself gets the chance to; what does not listen is ended all the same.
      await Promise.race([ended, waitFor(graceMs)])
      endGroup(child, 'SIGKILL')
    }
    const end = await ended
    if (end.error === undefined) await Promise.race([closed, waitFor(lastOutputMs)])
    const output = redactHookOutput(written.all(), hook.secrets)
    if (!stop.aborted && end.error === undefined && end.code === 0) {
      context.log.debug('the hook has run', { hook: hook.command, args: hook.args, output })
      return written.stdout()
    }
    context.signal.throwIfAborted()
    const why =
      end.error !== undefined
        ? describeStart(end.error)
        : deadline.aborted
          ? `did not end within ${hook.timeoutMs / 1000} s`
          : describeEnd(end)
    context.log.warn('the hook failed', { hook: hook.command, args: hook.args, why, output })
    const last = oneLine(output.trimEnd().split('\n').slice(-shownLines).join(' | '))
    throw new ProblemError(
      hook.problemCode,
      `the hook ${hook.command} ${why}${last === '' ? ' and wrote nothing' : `: ${last}`}`,
    )
  } finally {
    stop.removeEventListener('abort', onStop)
    child.stdout?.destroy()
    child.stderr?.destroy()
  }
}

function describeStart({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT') return 'is not there (or the interpreter that its first line names is not)'
  if (code === 'EACCES') return 'may not be run: see its permissions'
  return `could not be started (${code ?? message})`
}

function describeEnd({ code, signal }: { code: number | null; signal: string | null }): string {
  return signal === null ? `ended with status ${code}` : `was ended by ${signal}`
}

function endGroup(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal)
  } catch {
    // Nobody is left in the group.
  }
}

/** Both streams together as they come, the last of them when there is too much; the standard output also alone. */
function collectOutput({ stdout, stderr }: ChildProcess): { all(): string; stdout(): string } {
  let all = Buffer.alloc(0)
  let out = Buffer.alloc(0)
  const take = (chunk: Buffer) => {
    all = Buffer.concat([all, chunk])
    if (all.length > keptBytes) all = all.subarray(all.length - keptBytes)
  }
  stdout?.on('data', (chunk: Buffer) => {
    take(chunk)
    if (out.length < keptBytes) out = Buffer.concat([out, chunk]).subarray(0, keptBytes)
  })
  stderr?.on('data', take)
  // Of a line that is cut off nothing is shown: it could end in half a secret, which nobody would recognise.
  const wholeLines = () => all.subarray(all.length < keptBytes ? 0 : all.indexOf(10) + 1 || keptBytes)
  return { all: () => wholeLines().toString('utf8'), stdout: () => out.toString('utf8') }
}

/** The longest first: one secret can be part of another. What is too short to be one would only blot out words. */
export function redactHookOutput(output: string, secrets: ReadonlyMap<string, string>): string {
  return [...secrets]
    .filter(([, value]) => value.length >= 4)
    .sort(([, a], [, b]) => b.length - a.length)
    .reduce((shown, [name, value]) => shown.replaceAll(value, () => `$${name}`), output)
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

function waitFor(ms: number): Promise<void> {
  return abortOf(AbortSignal.timeout(ms))
}
