import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Wire } from './holder-client.ts'

const keptErrorBytes = 4096
const graceMs = 5000
const lastWordsMs = 500

/**
 * Starts a program whose standard input and output are the holder's: `ssh -T host acmems accountd --stdio`.
 * @throws Error when it cannot be started
 */
export function openProcessWire(
  [command = '', ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: '/', env: { ...env } as NodeJS.ProcessEnv, stdio: 'pipe' })
    let said = ''
    let ended = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-keptErrorBytes)
    })
    child.stdin.on('error', () => undefined)
    const exited = new Promise<void>((resolve) => child.once('close', () => resolve()))
    child.once('exit', (code, signal) => {
      ended = signal === null ? `it ended with status ${code}` : `it was ended by ${signal}`
    })
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(new Error(error.code === 'ENOENT' ? `there is no ${command}` : error.message))
    })
    child.once('spawn', () => {
      const handles = [child, child.stdin, child.stdout, child.stderr] as unknown as Socket[]
      resolve({
        input: child.stdout,
        output: child.stdin,
        setIdle(isIdle) {
          for (const handle of handles) isIdle ? handle.unref() : handle.ref()
        },
        close() {
          child.stdin.end()
          child.stdout.destroy()
          for (const handle of handles) handle.unref()
          AbortSignal.timeout(graceMs).addEventListener('abort', () => void child.kill('SIGTERM'))
        },
        async why() {
          // Its last output can come before its end.
          await Promise.race([exited, abortOf(AbortSignal.timeout(lastWordsMs))])
          const last = said.trim().split('\n').at(-1)?.slice(0, 300) ?? ''
          const words = [ended, last].filter((part) => part !== '').join(': ')
          return words === '' ? '' : ` (${words})`
        },
      })
    })
  })
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
