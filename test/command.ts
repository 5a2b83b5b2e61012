// acmems' own command line as a person or a script calls it: a process, what it prints, how it ends.
import { spawn } from 'node:child_process'
import { main } from './program.ts'

export type Outcome = { readonly code: number | null; readonly out: string; readonly err: string }

/** Nobody sits at a terminal; `input` is what standard input holds. */
export function runCommand(args: readonly string[], input = '', cwd?: string): Promise<Outcome> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [main, ...args], {
      env: { ...process.env },
      ...(cwd === undefined ? {} : { cwd }),
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => {
      out += String(chunk)
    })
    child.stderr.on('data', (chunk) => {
      err += String(chunk)
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
    child.on('error', fail)
    child.on('close', (code) => done({ code, out, err }))
  })
}

/** The JSON that a command prints. @throws Error with what it said when it failed */
export async function runJson<T>(args: readonly string[]): Promise<T> {
  const { code, out, err } = await runCommand([...args, '--json'])
  if (code !== 0) throw new Error(`acmems ${args.join(' ')} ended with ${code}: ${out}${err}`)
  return JSON.parse(out) as T
}
