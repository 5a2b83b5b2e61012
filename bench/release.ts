// The bundled release, as an installation would have it, and processes of it.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { buildRelease } from '../scripts/build.ts'
import { acceptsTcp, type Child, makeTempFolder, startChild, waitUntilReady } from '../test/peers/child.ts'
import { freePort } from '../test/peers/peers.ts'

const checkout = resolve(import.meta.dirname, '..')

export interface Release extends Disposable {
  /** What the `acmems` of a PATH would be a link to. */
  readonly launcher: string
  readonly folder: string
}

/** Built anew, so that it is the sources of this moment that are measured. */
export async function makeRelease(): Promise<Release> {
  const temp = makeTempFolder('bench')
  const folder = join(temp.path, 'package')
  for (const name of ['package.json', 'bin']) cpSync(join(checkout, name), join(folder, name), { recursive: true })
  await buildRelease({ outdir: join(folder, 'dist'), declarations: false })
  return { folder: temp.path, launcher: join(folder, 'bin/acmems.cjs'), [Symbol.dispose]: () => temp[Symbol.dispose]() }
}

export interface Server extends AsyncDisposable {
  readonly pid: number
  readonly port: number
  readonly signUrl: string
  log(): string
}

/** The configuration without what the server is given anyway: its state, its listener. */
export function writeServerConfig(folder: string, port: number, config: string): string {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'acmems.ini')
  const state = `[state]\nurl = sqlite:${join(folder, 'state', 'state.db')}\n`
  writeFileSync(file, `${state}[mgmt]\nlistener = 127.0.0.1:${port}\n${config}`)
  return file
}

/** Issues from the embedded CA, to everybody on this machine. */
export const localConfig = `[issuer "lab"]
type = local
[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
issuer = lab
`

export async function startServer(release: Release, name: string, config: string): Promise<Server> {
  const port = await freePort()
  const folder = join(release.folder, name)
  const args = [release.launcher, 'serve', writeServerConfig(folder, port, config)]
  const child = startChild(process.execPath, args, { env: {}, cwd: folder, logFile: join(folder, 'acmems.log') })
  await waitUntilReady(child, 'acmems', async () => child.log().includes('"msg":"serving"'))
  return describeServer(child, port)
}

type BareAnswer = { readonly headers: object; readonly body: string; readonly status?: number }
export type BareAnswers = BareAnswer & { readonly get?: BareAnswer }
/** Of the certificate and its key. */
export type TlsPaths = readonly [certificateFile: string, keyFile: string] | readonly []

/** A bare server that answers what acmems answered: as many octets in, the same octets out. */
export async function startBareServer(release: Release, answer: BareAnswers, tls: TlsPaths = []): Promise<Server> {
  const port = await freePort()
  const answerFile = join(release.folder, 'answer.json')
  writeFileSync(answerFile, JSON.stringify(answer))
  const args = [join(checkout, 'bench/bare-server.ts'), String(port), answerFile, ...tls]
  const logFile = join(release.folder, 'bare-server.log')
  const child = startChild(process.execPath, args, { env: {}, cwd: release.folder, logFile })
  await waitUntilReady(child, 'the bare server', () => acceptsTcp(port))
  return describeServer(child, port)
}

function describeServer(child: Child, port: number): Server {
  return {
    pid: child.pid,
    port,
    signUrl: `http://127.0.0.1:${port}/sign`,
    log: () => child.log(),
    [Symbol.asyncDispose]: () => child.stop(),
  }
}

/** What the system says about a process, in mebibytes: all that is resident, and its own part of that. */
export function readMemory(pid: number): { readonly residentMb: number; readonly anonymousMb: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024
  return { residentMb: field('VmRSS'), anonymousMb: field('RssAnon') }
}

/** Processor time that a process has used, all of its threads. */
export function readCpuMs(pid: number): number {
  const folder = `/proc/${pid}/task`
  const times = readdirSync(folder).map((thread) => readFileSync(join(folder, thread, 'schedstat'), 'latin1'))
  return times.reduce((sum, time) => sum + Number(time.split(' ')[0]) / 1e6, 0)
}
