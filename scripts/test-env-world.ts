// What scripts/test-env starts: Pebble, challtestsrv and an acmems from the sources, knowing each other.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { acceptsTcp } from '../test/peers/child.ts'
import { makePebbleEnv, renderPebbleConfig } from '../test/peers/pebble-config.ts'
import { findPeer, type Peer } from '../test/peers/peers.ts'
import { makeTlsIdentity } from '../test/peers/tls-identity.ts'
import { type DetachedCommand, findDetached, startDetached, stopDetached } from './detached.ts'

const checkout = resolve(import.meta.dirname, '..')

/** In the order of their start. */
export const processNames = ['challtestsrv', 'pebble', 'acmems'] as const

export type World = { readonly ports: ReturnType<typeof portsFrom>; readonly caFile: string }

export const worldFile = (folder: string) => join(folder, 'world.json')

function portsFrom(first: number) {
  return {
    acme: first,
    management: first + 1,
    http: first + 2,
    tls: first + 3,
    dns: first + 4,
    challtestsrv: first + 5,
    mgmt: first + 6,
  }
}

/** Does nothing when all of it runs. @param first of seven ports in a row */
export async function startWorld(folder: string, first: number): Promise<void> {
  const running = processNames.filter((name) => findDetached(folder, name) !== undefined)
  if (running.length === processNames.length) return
  await stopWorld(folder)
  const [pebble, dns] = [need('pebble'), need('pebble-challtestsrv')]
  need('openssl')
  const world: World = { ports: portsFrom(first), caFile: join(folder, 'tls-ca.pem') }
  const { ports } = world
  for (const [purpose, port] of Object.entries(ports)) {
    if (await acceptsTcp(port)) throw new Error(`port ${port} (${purpose}) is taken; choose others with --port`)
  }
  clearFolder(folder)
  writeFileSync(worldFile(folder), JSON.stringify(world))
  try {
    const identity = await makeTlsIdentity(folder)
    writeFileSync(join(folder, 'pebble.json'), renderPebbleConfig({}, ports, identity))
    writeFileSync(join(folder, 'acmems.ini'), renderAcmemsConfig(folder, world))
    await startDetached(folder, challtestsrvCommand(dns, ports), () => acceptsTcp(ports.challtestsrv))
    await startDetached(folder, pebbleCommand(pebble, ports), () => acceptsTcp(ports.management))
    await startDetached(folder, acmemsCommand(), () => acceptsTcp(ports.mgmt))
  } catch (error) {
    await stopWorld(folder)
    throw error
  }
}

/** @returns what was running */
export async function stopWorld(folder: string): Promise<string[]> {
  const stopped: string[] = []
  for (const name of processNames.toReversed()) if (await stopDetached(folder, name)) stopped.push(name)
  return stopped
}

/** Pebble forgets everything when it ends, so what acmems remembers of it is worth nothing any more. */
function clearFolder(folder: string): void {
  if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(worldFile(folder)))
    throw new Error(`${folder} holds other things; choose an empty folder`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
}

function need(name: 'pebble' | 'pebble-challtestsrv' | 'openssl'): Peer {
  const peer = findPeer(name)
  if (peer === undefined) throw new Error(`${name} is not on this machine and could not be fetched`)
  return peer
}

/** challtestsrv renamed its DNS flag and grew DoH, which needs a certificate unless it is switched off: ask its help. */
function challtestsrvCommand({ path, env }: Peer, { dns, challtestsrv }: World['ports']): DetachedCommand {
  const usage = spawnSync(path, ['-help'], { encoding: 'utf8', env: { ...process.env, ...env } }).stderr
  const listen = [usage.includes('-dnsserver ') ? '-dnsserver' : '-dns01', `127.0.0.1:${dns}`]
  const off = ['-http01', '', '-https01', '', '-tlsalpn01', '', ...(usage.includes('-doh ') ? ['-doh', ''] : [])]
  const everyName = ['-defaultIPv4', '127.0.0.1', '-defaultIPv6', '']
  const args = [...listen, '-management', `127.0.0.1:${challtestsrv}`, ...everyName, ...off]
  return { name: 'challtestsrv', path, args, env }
}

function pebbleCommand({ path, env }: Peer, { dns }: World['ports']): DetachedCommand {
  const args = ['-config', 'pebble.json', '-dnsserver', `127.0.0.1:${dns}`]
  return { name: 'pebble', path, args, env: { ...env, ...makePebbleEnv({}) } }
}

function acmemsCommand(): DetachedCommand {
  const args = ['--disable-warning=ExperimentalWarning', join(checkout, 'src/main.ts'), 'serve', 'acmems.ini']
  return { name: 'acmems', path: process.execPath, args, env: {} }
}

function renderAcmemsConfig(folder: string, { ports, caFile }: World): string {
  return `[state]
url = sqlite:${join(folder, 'state', 'state.db')}
[mgmt]
listener = 127.0.0.1:${ports.mgmt}
[account]
acme-server = https://127.0.0.1:${ports.acme}/dir
ca-file = ${caFile}
accept-terms-of-service = yes
[verification "http"]
type = http01
listener = 127.0.0.1:${ports.http}
[auth "this machine"]
ip = 127.0.0.0/8
domain = **.example.test
verification = http
`
}
