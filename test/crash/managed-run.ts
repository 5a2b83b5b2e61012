// A machine that keeps certificates for itself, killed while it gets, installs and renews them.
import { execFileSync, spawn } from 'node:child_process'
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { existsSync, globSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { readFile, realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openState } from '../../src/state/state.ts'
import { sources } from '../program.ts'
import { failpointVariable, traceVariable } from './failpoint.ts'
import { crashPoints, deaths, stateFileOf, traceFileOf } from './server-folder.ts'

/** `first`: there is nothing yet; `renewal`: `acmems renew --force` with everything in order. */
export type ManagedSeries = 'first' | 'renewal'
export type ManagedKill = { readonly point: string } | { readonly afterMs: number }
export type ManagedPlan = { readonly series: ManagedSeries; readonly kills: readonly ManagedKill[] }

export type ManagedResult = {
  readonly plan: ManagedPlan
  readonly deaths: readonly string[]
  /** How often somebody else read the directory meanwhile. */
  readonly reads: number
  readonly violations: readonly string[]
  /** What the processes said. */
  readonly evidence: string
}

/** How the names are proven, and how many certificates the CA itself has issued for `web`. */
export type ManagedCa = {
  readonly config: string
  readonly name: string
  countCertificates(): Promise<number>
}

export interface ManagedMachine extends Disposable {
  run(plan: ManagedPlan): Promise<ManagedResult>
  /** Everything that a clean run passes. */
  listPoints(series: ManagedSeries): Promise<readonly string[]>
}

const failpoints = resolve(import.meta.dirname, 'failpoints.ts')
const directoryFiles = ['privkey.pem', 'cert.pem', 'chain.pem', 'fullchain.pem'] as const

/** @param ca undefined: the embedded one, and nobody counts */
export function makeManagedMachine(folder: string, ca?: ManagedCa): ManagedMachine {
  const at = (...names: string[]) => join(folder, ...names)
  const web = at('tls', 'web')
  mkdirSync(at('mail'))
  execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('printer.key')])
  execFileSync('openssl', ['pkey', '-in', at('printer.key'), '-pubout', '-out', at('printer.pub')])
  writeFileSync(at('hook'), `printf '%s\\n' "$ACMEMS_FACTS" >> ${at('told')}\n`)
  const local = `[account]\ntype = local\ndir = ${at('ca')}\n[auth "boxes"]\nip = 127.0.0.1\ndomain = x.test\n`
  const mail = ['key', 'certificate', 'chain', 'fullchain'].map((name) => `${name} = ${at('mail', name)}\n`).join('')
  const hook = `hook = sh ${at('hook')}\n`
  writeFileSync(
    at('acmems.ini'),
    `[state]\nurl = sqlite:${stateFileOf(folder)}\n${ca?.config ?? local}
[certificate "web"]\ndomain = ${ca?.name ?? 'www.example.org'}\ndirectory = ${web}\n${hook}
${
  ca === undefined
    ? `[certificate "mail"]\ndomain = mail.example.org\n${mail}${hook}
[certificate "printer"]\ndomain = printer.example.org\nrecipient = ${at('printer.pub')}\nauth = boxes\n`
    : ''
}`,
  )
  const isThere = (name: string) => ca === undefined || name === 'web'
  /** Every sealed key that there ever was, opened. */
  const sealed = new Set<string>()

  function start(args: readonly string[], point?: string) {
    const child = spawn(process.execPath, [sources, 'renew', ...args, at('acmems.ini')], {
      env: {
        ...process.env,
        NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? at('..', 'compiled'),
        NODE_OPTIONS: `--import=${failpoints}`,
        [traceVariable]: traceFileOf(folder),
        ...(point === undefined ? {} : { [failpointVariable]: point }),
      },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        output += String(chunk)
      })
    const ended = new Promise<{ code: number | null; output: string }>((done) =>
      child.on('close', (code) => done({ code, output })),
    )
    return { child, ended }
  }

  function forgetEverything(): void {
    for (const name of ['state', 'tls', 'mail', 'told']) rmSync(at(name), { recursive: true, force: true })
    mkdirSync(at('mail'))
  }

  async function prepare(series: ManagedSeries): Promise<void> {
    if (series === 'first') forgetEverything()
    else await recover([])
    rmSync(traceFileOf(folder), { force: true })
  }

  async function recover(violations: string[]): Promise<string> {
    const { code, output } = await start([]).ended
    if (code !== 0) violations.push(`the run after it ended with ${code}: ${output}`)
    return output
  }

  async function findBox() {
    await using state = await openState(`sqlite:${stateFileOf(folder)}`, Date.now)
    return await state.boxes.find('printer')
  }

  function openBox(sealedKeyPem: string): string {
    const args = ['cms', '-decrypt', '-inform', 'PEM', '-inkey', at('printer.key')]
    return execFileSync('openssl', args, { input: sealedKeyPem, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] })
  }

  async function judge(violations: string[]): Promise<void> {
    const serials = new Map<string, string>()
    const pair = (name: string, key: string, certificate: string) => {
      try {
        serials.set(name, serialOfPair(readFileSync(key, 'utf8'), readFileSync(certificate, 'utf8')))
      } catch (error) {
        violations.push(`${name}: ${error instanceof Error ? error.message : error}`)
      }
    }
    pair('web', join(web, 'privkey.pem'), join(web, 'fullchain.pem'))
    if (isThere('mail')) {
      pair('mail', at('mail', 'key'), at('mail', 'fullchain'))
      const [certificate, chain, both] = ['certificate', 'chain', 'fullchain'].map((name) =>
        readFileSync(at('mail', name), 'utf8'),
      )
      if (`${certificate}${chain}` !== both) violations.push('mail: the certificates are not of one chain')
    }
    const told = existsSync(at('told')) ? readFileSync(at('told'), 'utf8').split('\n').filter(Boolean) : []
    const facts = told.flatMap((line) => JSON.parse(line) as { name: string; serial: string }[])
    for (const [name, serial] of serials)
      if (facts.findLast((one) => one.name === name)?.serial !== serial)
        violations.push(`${name}: the hook was not told of ${serial}`)
    if (isThere('printer')) await judgeBox(violations)
    for (const file of globSync(['**/next.key.pem', '**/*.tmp', '**/.*.tmp', '**/.*.versions/.*'], { cwd: folder }))
      violations.push(`left behind: ${file}`)
    const versions = globSync('.web.versions/*', { cwd: at('tls') }).length
    if (versions > 2) violations.push(`${versions} versions of the directory`)
  }

  async function judgeBox(violations: string[]): Promise<void> {
    const box = await findBox()
    if (box === undefined) return void violations.push('there is no box')
    const key = openBox(box.sealedKeyPem)
    if (keyOf(key) !== certifiedKeyOf(box.chainPem)) violations.push('the box holds another key than its certificate')
    sealed.add(key.split('\n')[1] ?? '')
    sealed.add(rawKeyOf(key))
    for (const file of globSync(['**/*', '**/.*'], { cwd: folder, withFileTypes: true })) {
      if (!file.isFile()) continue
      const content = readFileSync(join(file.parentPath, file.name)).toString('latin1')
      for (const secret of sealed) if (content.includes(secret)) violations.push(`${file.name} holds a sealed key`)
    }
  }

  async function die(kill: ManagedKill, args: readonly string[]): Promise<string> {
    const { child, ended } = start(args, 'point' in kill ? kill.point : undefined)
    if ('afterMs' in kill) void sleep(kill.afterMs).then(() => child.kill('SIGKILL'))
    return (await ended).output
  }

  return {
    async run(plan) {
      const violations: string[] = []
      await prepare(plan.series)
      const wasIssued = (await ca?.countCertificates()) ?? 0
      const former = existsSync(web) ? serialIn(web) : undefined
      using reader = watchDirectory(web, violations)
      const said: string[] = []
      for (const kill of plan.kills) said.push(await die(kill, plan.series === 'renewal' ? ['--force'] : []))
      said.push(await recover(violations))
      reader.stop()
      await judge(violations)
      if (ca !== undefined) {
        const issued = (await ca.countCertificates()) - wasIssued
        const needed = existsSync(web) && serialIn(web) !== former ? 1 : 0
        // Each process that came to its end before it was to be killed has had a need of its own.
        if (issued !== needed && plan.kills.length === 1)
          violations.push(`${issued} certificates issued, ${needed} installed`)
      }
      // What is in order stays so.
      const again = await start([]).ended
      if (again.code !== 0 || again.output !== '') violations.push(`there is still something: ${again.output}`)
      return { plan, deaths: deaths(folder), reads: reader.reads, violations, evidence: said.join('\n') }
    },
    async listPoints(series) {
      await prepare(series)
      await start(series === 'renewal' ? ['--force'] : []).ended
      return crashPoints(folder)
    },
    [Symbol.dispose]: forgetEverything,
  }
}

function serialIn(directory: string): string | undefined {
  return new X509Certificate(readFileSync(join(realpathSync(directory), 'cert.pem'))).serialNumber
}

const spki = (key: ReturnType<typeof createPublicKey>) => key.export({ type: 'spki', format: 'pem' }).toString()
const keyOf = (keyPem: string) => spki(createPublicKey(keyPem))
const certifiedKeyOf = (chainPem: string) => spki(new X509Certificate(chainPem).publicKey)
const rawKeyOf = (keyPem: string) =>
  Buffer.from(createPrivateKey(keyPem).export({ format: 'jwk' }).d ?? '', 'base64url').toString('latin1')

/** @throws Error when they are no pair */
function serialOfPair(keyPem: string, chainPem: string): string {
  if (keyOf(keyPem) !== certifiedKeyOf(chainPem)) throw new Error('key and certificate do not belong together')
  return new X509Certificate(chainPem).serialNumber
}

/** Reads it as a server does at its start, again and again. */
function watchDirectory(directory: string, violations: string[]) {
  let isWatching = true
  const stop = () => {
    isWatching = false
  }
  const watching = { reads: 0, stop, [Symbol.dispose]: stop }
  let known = ''
  async function look(): Promise<void> {
    const folder = await realpath(directory).catch(() => undefined)
    if (folder === undefined) {
      if (known !== '') throw new Error('the directory was gone')
      return
    }
    const [key = '', certificate = '', chain = '', fullchain = ''] = await Promise.all(
      directoryFiles.map((file) => readFile(join(folder, file), 'utf8')),
    )
    watching.reads += 1
    if (folder === known) return
    serialOfPair(key, certificate)
    if (`${certificate}${chain}` !== fullchain) throw new Error('the files are not of one chain')
    known = folder
  }
  void (async () => {
    while (isWatching) {
      try {
        await look()
      } catch (error) {
        violations.push(`somebody who read the directory: ${error instanceof Error ? error.message : error}`)
        return
      }
      await sleep(2)
    }
  })()
  return watching
}
