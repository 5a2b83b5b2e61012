// dig as a stranger's resolver would ask.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { needPeer } from './peers.ts'

const run = promisify(execFile)

export type Dug = {
  readonly status: string
  /** `qr aa rd`, as dig writes them. */
  readonly flags: readonly string[]
  /** Records of a section, white space as one blank. */
  readonly answer: readonly string[]
  readonly authority: readonly string[]
  /** Everything that dig wrote. */
  readonly text: string
}

/** `args` as on dig's command line: name, type, +options. */
export async function dig(port: number, ...args: readonly string[]): Promise<Dug> {
  const peer = needPeer('dig')
  const options = ['+time=3', '+tries=2', '+noidnin', '+nocookie']
  const { stdout: text } = await run(peer.path, ['@127.0.0.1', '-p', String(port), ...options, ...args], {
    env: { ...process.env, ...peer.env },
  }).catch((error: { stdout?: string; message: string }) => ({ stdout: error.stdout ?? error.message }))
  const section = (title: string) => {
    const body = new RegExp(`;; ${title} SECTION:\n([\\s\\S]*?)(?:\n\n|$)`).exec(text)?.[1] ?? ''
    return body
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(';'))
      .map((line) => line.replaceAll(/\s+/g, ' '))
  }
  return {
    status: /status: (\w+)/.exec(text)?.[1] ?? 'no answer',
    flags: (/;; flags: ([a-z ]*);/.exec(text)?.[1] ?? '').split(' ').filter(Boolean),
    answer: section('ANSWER'),
    authority: section('AUTHORITY'),
    text,
  }
}
