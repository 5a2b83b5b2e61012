// acmems itself as a process, configured by a text, with its state in a folder of its own.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort } from './peers/peers.ts'
import { main } from './program.ts'

export interface Acmems extends AsyncDisposable {
  readonly pid: number
  readonly folder: string
  readonly configFile: string
  readonly signUrl: string
  readonly mgmtPort: number
  log(): string
  /** The log's lines, as the JSON that they are. */
  logLines(): Record<string, unknown>[]
  hasEnded(): boolean
  stop(): Promise<void>
}

export type AcmemsOptions = {
  readonly env?: Readonly<Record<string, string>>
  readonly mgmtPort?: number
  /** Kept between two runs when given. */
  readonly folder?: string
  readonly args?: readonly string[]
  /** What keeps certificates up without doors; then there is no [mgmt] listener but one that is written. */
  readonly command?: 'serve' | 'agent'
  /** The file to run; `sources` for what wraps modules. */
  readonly program?: string
}

/** @param config sections as a function of what only the moment knows; [state] and [mgmt] listener are added */
export async function startAcmems(config: string, options: AcmemsOptions = {}): Promise<Acmems> {
  await using cleanup = new AsyncDisposableStack()
  const folder = options.folder ?? cleanup.use(makeTempFolder('server')).path
  const mgmtPort = options.mgmtPort ?? (await freePort())
  const configFile = join(folder, 'acmems.ini')
  const { command = 'serve' } = options
  const isWritten = config.includes('[mgmt]') || command === 'agent'
  const listener = isWritten ? '' : `[mgmt]\nlistener = 127.0.0.1:${mgmtPort}\n`
  const state = config.includes('[state]') ? '' : `[state]\nurl = sqlite:${join(folder, 'state', 'state.db')}\n`
  writeFileSync(
    configFile,
    command === 'agent'
      ? `${state}${config}`
      : `${state}${listener}${config.replace('[mgmt]\n', `[mgmt]\nlistener = 127.0.0.1:${mgmtPort}\n`)}`,
  )
  const logFile = join(folder, `acmems-${Date.now()}.log`)
  const child = startChild(process.execPath, [options.program ?? main, command, configFile, ...(options.args ?? [])], {
    env: { ...options.env },
    cwd: folder,
    logFile,
  })
  cleanup.use(child)
  await waitUntilReady(child, 'acmems', async () => child.log().includes('"msg":"serving"'))
  const owned = cleanup.move()
  const stop = () => owned.disposeAsync()
  return {
    pid: child.pid,
    folder,
    configFile,
    mgmtPort,
    signUrl: `http://127.0.0.1:${mgmtPort}/sign`,
    log: () => child.log(),
    logLines: () => jsonLinesOf(child.log()),
    hasEnded: () => child.hasEnded(),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** Of a log, those that are JSON: other programs write into it, too. The last one may be half written yet. */
export function jsonLinesOf(log: string): Record<string, unknown>[] {
  return log
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

type PebbleAddress = { readonly directoryUrl: string; readonly caFile: string; readonly httpPort: number }

/** An account at this Pebble, its terms accepted. */
export function accountAt({ directoryUrl, caFile }: PebbleAddress): string {
  return `[account]\nacme-server = ${directoryUrl}\nca-file = ${caFile}\naccept-terms-of-service = yes\n`
}

/** The same, with names proven by http01 where this Pebble looks for it. */
export function accountAndHttp01(pebble: PebbleAddress): string {
  return `${accountAt(pebble)}[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${pebble.httpPort}\n`
}
