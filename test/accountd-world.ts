// acmems accountd and lacme-accountd as processes, and a client that says what it likes.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { chmodSync, globSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { needPeer, peersFolder } from './peers/peers.ts'
import { main } from './program.ts'

export { main }

/** A folder that only we may write to, as accountd wants it; the PEM of a new key in it. */
export function makeKeyFolder(name: string, kind: 'rsa' | 'P-256' | 'P-384' = 'rsa') {
  const folder = makeTempFolder(name)
  const { privateKey } =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: kind })
  const keyFile = join(folder.path, 'account.pem')
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return { ...folder, keyFile, privateKey: privateKey as KeyObject, socket: join(folder.path, 'S.lacme') }
}

/** How Perl programs of lacme's are started: with their modules, wherever they were unpacked. */
export function perlOf(program: string): { command: string; args: string[] } {
  const root = join(peersFolder(), 'root')
  const libraries = ['usr/share/perl5', 'usr/lib/*/perl5/*'].flatMap((path) => globSync(path, { cwd: root }))
  return {
    command: needPeer('perl').path,
    args: ['-T', ...libraries.flatMap((path) => ['-I', join(root, path)]), program],
  }
}

export function lacmeAccountd(): { command: string; args: string[] } {
  return perlOf(needPeer('lacme-accountd').path)
}

export const ourAccountd = { command: process.execPath, args: [main, 'accountd'] }

/** Writes the configuration and starts it; it is ready when its socket is there. */
export async function startHolder(
  program: { command: string; args: string[] },
  folder: string,
  config: string,
  options: { env?: Record<string, string>; socket?: string; uid?: number } = {},
) {
  const configFile = join(folder, 'accountd.conf')
  writeFileSync(configFile, config)
  const socket = options.socket ?? join(folder, 'S.lacme')
  const child = startChild(program.command, [...program.args, `--config=${configFile}`, `--socket=${socket}`], {
    cwd: folder,
    env: { ...options.env },
    logFile: join(folder, `holder-${Date.now()}-${Math.random()}.log`),
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  })
  await waitUntilReady(child, 'accountd', async () => {
    if (!/Key Manager at/.test(child.log()) && !config.includes('quiet')) return false
    const probe = await dial(socket)
    probe.socket.destroy()
    return true
  })
  return { ...child, log: child.log, hasEnded: child.hasEnded, socket, configFile, [Symbol.asyncDispose]: child.stop }
}

export type Dialled = {
  readonly socket: Socket
  /** Both lines of the greeting, then each answer; undefined: the connection was closed. */
  line(): Promise<string | undefined>
}

export async function dial(path: string): Promise<Dialled> {
  const socket = connect({ path })
  await new Promise<void>((done, fail) => {
    socket.once('connect', () => done())
    socket.once('error', fail)
  })
  socket.on('error', () => undefined)
  return { socket, line: linesOf(socket) }
}

export function linesOf(stream: NodeJS.ReadableStream): () => Promise<string | undefined> {
  let text = ''
  let ended = false
  let wake = () => {}
  stream.on('data', (chunk) => {
    text += String(chunk)
    wake()
  })
  for (const event of ['end', 'close', 'error'])
    stream.on(event, () => {
      ended = true
      wake()
    })
  return async () => {
    const deadline = performance.now() + 20_000
    for (;;) {
      const end = text.indexOf('\r\n')
      if (end >= 0) {
        const line = text.slice(0, end)
        text = text.slice(end + 2)
        return line
      }
      if (ended) return undefined
      if (performance.now() > deadline) throw new Error(`no line came, only ${JSON.stringify(text)}`)
      await Promise.race([new Promise<void>((done) => (wake = done)), sleep(200)])
    }
  }
}

/** A line to sign, as ACME clients make it. */
export function signingInput(header: object | string, payload?: object | string): string {
  const encode = (value: object | string) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  return `${encode(header)}.${payload === undefined ? '' : encode(payload)}`
}

/** Asks once on a connection of its own. undefined: it was refused. */
export async function askOnce(path: string, line: string): Promise<string | undefined> {
  const { socket, line: next } = await dial(path)
  await next()
  await next()
  socket.write(`${line}\r\n`)
  const answer = await next()
  socket.destroy()
  return answer
}

/** Everything that it writes, when this is all that it is given. */
export function runStdio(
  program: { command: string; args: string[] },
  args: readonly string[],
  input: string,
  env: Record<string, string> = {},
): Promise<{ out: string; err: string; code: number | null }> {
  return new Promise((done, fail) => {
    const child: ChildProcess = spawn(program.command, [...program.args, ...args], { env: { ...process.env, ...env } })
    let [out, err] = ['', '']
    child.stdout?.on('data', (chunk) => (out += String(chunk)))
    child.stderr?.on('data', (chunk) => (err += String(chunk)))
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
    child.on('error', fail)
    child.on('close', (code) => done({ out, err, code }))
  })
}

export function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' })
}

export function chmod(path: string, mode: number): void {
  chmodSync(path, mode)
}
