// Within a network namespace: a machine with a firewall, a neighbour who tries to come in, and `acmems firewall`.
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Asker, createAsker } from '../src/channel/asker.ts'
import { rootRights } from '../src/channel/permissions.ts'
import { systemClock } from '../src/clock.ts'
import { type Child, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { needPeer, type PeerName } from './peers/peers.ts'
import { main } from './program.ts'

/** The machine's address and the neighbour's, by family. */
export const machine = { ip: '10.91.0.1', ip6: 'fd91::1' }
const neighbour = { ip: '10.91.0.2', ip6: 'fd91::2' }

/** Programs that fetch-peers unpacked need their libraries, which acmems does not hand on: each gets a script. */
export function makeToolFolder(folder: string): string {
  mkdirSync(folder)
  const script = (name: string, peer: PeerName, first = '') => {
    const { path, env } = needPeer(peer)
    const libraries = env.LD_LIBRARY_PATH ?? ''
    const extensions = libraries
      .split(':')
      .map((one) => join(one, 'xtables'))
      .find((one) => existsSync(one))
    const lines = libraries === '' ? [] : [`export LD_LIBRARY_PATH='${libraries}'`]
    if (extensions !== undefined) lines.push(`export XTABLES_LIBDIR='${extensions}'`)
    writeFileSync(join(folder, name), `#!/bin/sh\n${lines.join('\n')}\nexec '${path}' ${first} "$@"\n`)
    chmodSync(join(folder, name), 0o755)
  }
  script('nft', 'nft')
  for (const ip of ['iptables', 'ip6tables'])
    for (const kind of ['nft', 'legacy'] as const)
      for (const save of ['', '-save']) script(`${ip}-${kind}${save}`, `xtables-${kind}-multi`, `${ip}${save}`)
  return folder
}

/** @throws Error with what it said, unless it ends well */
export function run(command: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', input, timeout: 20_000 })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`)
  return stdout
}

export interface Neighbour extends Disposable {
  /** Does the machine's port take a connection of his? */
  reaches(port: number, family?: 'ip' | 'ip6'): Promise<boolean>
}

const probe = `
const { connect } = require('net')
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [host, port] = line.split(' ')
  const socket = connect({ host, port: Number(port) })
  const say = (text) => { socket.destroy(); process.stdout.write(text + '\\n') }
  const late = setTimeout(() => say('no'), 250)
  socket.on('connect', () => { clearTimeout(late); say('yes') })
  socket.on('error', () => { clearTimeout(late); say('no') })
})
process.stdout.write('here\\n')
`

/** A network namespace of his own at the other end of a cable. */
export async function makeNeighbour(): Promise<Neighbour> {
  const child = spawn('unshare', ['-n', process.execPath, '-e', probe], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines: string[] = []
  const waiting: ((line: string) => void)[] = []
  let rest = ''
  child.stdout.on('data', (chunk: Buffer) => {
    const all = (rest + chunk.toString()).split('\n')
    rest = all.pop() ?? ''
    for (const line of all) {
      const take = waiting.shift()
      if (take === undefined) lines.push(line)
      else take(line)
    }
  })
  const next = () =>
    new Promise<string>((take) => {
      const line = lines.shift()
      if (line === undefined) waiting.push(take)
      else take(line)
    })
  await next()
  const pid = `${child.pid}`
  run('ip', ['link', 'add', 'here0', 'type', 'veth', 'peer', 'name', 'there0', 'netns', pid])
  const there = (...args: string[]) => run('nsenter', ['-t', pid, '-n', 'ip', ...args])
  for (const [family, length] of [
    ['ip', 24],
    ['ip6', 64],
  ] as const) {
    const nodad = family === 'ip6' ? ['nodad'] : []
    run('ip', ['addr', 'add', `${machine[family]}/${length}`, 'dev', 'here0', ...nodad])
    there('addr', 'add', `${neighbour[family]}/${length}`, 'dev', 'there0', ...nodad)
  }
  run('ip', ['link', 'set', 'here0', 'up'])
  there('link', 'set', 'there0', 'up')
  return {
    async reaches(port, family = 'ip') {
      child.stdin.write(`${machine[family]} ${port}\n`)
      return (await next()) === 'yes'
    },
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  }
}

export interface FirewallProcess extends AsyncDisposable {
  readonly child: Child
  readonly socket: string
  readonly configFile: string
  guardPid(): number
  /** Someone who asks it, by a connection of his own. */
  asker(): Asker
}

/** `acmems firewall` with the capabilities that it needs, and no more. */
export async function startFirewallProcess(
  config: string,
  tools: string,
  {
    folder: givenFolder,
    capabilities = 'net_admin',
  }: { readonly folder?: string; readonly capabilities?: string } = {},
): Promise<FirewallProcess> {
  await using cleanup = new AsyncDisposableStack()
  const folder = givenFolder ?? cleanup.use(makeTempFolder('firewall')).path
  const configFile = join(folder, 'acmems.ini')
  writeFileSync(configFile, config)
  const socket = join(folder, 'S')
  const args = [process.execPath, main, 'firewall', '--socket', socket, configFile]
  const child = startChild('setpriv', [`--bounding-set=-all,+${capabilities}`, '--no-new-privs', ...args], {
    env: { PATH: `${tools}:${process.env.PATH}` },
    cwd: folder,
    logFile: join(folder, `log-${performance.now()}`),
  })
  cleanup.use(child)
  await waitUntilReady(child, 'acmems firewall', async () =>
    child.log().includes('"msg":"ports of validations may be opened"'),
  )
  const owned = cleanup.move()
  return {
    child,
    socket,
    configFile,
    guardPid: () => Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')[0]),
    asker: () =>
      createAsker({
        path: socket,
        who: rootRights,
        clock: systemClock,
        maxLineBytes: 4096,
        answerMs: 5000,
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
