// A network of one's own, where port 53 and the machine's resolver are ours.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { makeTempFolder } from './peers/child.ts'
import { findPeer } from './peers/peers.ts'

export type NamespaceRun = { readonly status: number | null; readonly output: string }

/**
 * Runs a TypeScript file there, with every address of 127/8 its own and this resolver as the machine's.
 * @returns undefined when that cannot be had here; the test is then skipped, saying why
 */
export function runInNamespace(t: TestContext, file: string, resolver: string): NamespaceRun | undefined {
  const reason = whyNot()
  if (reason !== undefined) {
    t.skip(`no network namespace: ${reason}`)
    return undefined
  }
  using folder = makeTempFolder('namespace')
  const resolvConf = join(folder.path, 'resolv.conf')
  writeFileSync(resolvConf, `nameserver ${resolver}\n`)
  const script = `mount --bind "$1" /etc/resolv.conf && ${ipCommand()} link set lo up && shift && exec "$@"`
  const args = ['-n', '-m', 'sh', '-c', script, 'sh', resolvConf, process.execPath, file]
  // Its output is for people, whatever it is run by.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const run = spawnSync('unshare', args, { env, encoding: 'utf8', timeout: 120_000, killSignal: 'SIGTERM' })
  return { status: run.status, output: run.stdout + run.stderr }
}

/** Within: gives the machine addresses of 127/8 by name, for programs that listen only where they find one. */
export function addAddresses(addresses: Iterable<string>): void {
  for (const address of addresses) {
    const added = spawnSync('sh', ['-c', `${ipCommand()} addr add ${address}/32 dev lo`], { encoding: 'utf8' })
    if (added.status !== 0) throw new Error(`no address ${address}: ${added.stderr}`)
  }
}

/** Busybox's when there is no other: tests know no package for it. */
function ipCommand(): string {
  const has = spawnSync('sh', ['-c', 'command -v ip || command -v /usr/sbin/ip || command -v /sbin/ip'], {
    encoding: 'utf8',
  })
  const path = has.stdout.trim()
  return path === '' ? `${findPeer('busybox')?.path ?? 'busybox'} ip` : path
}

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make one'
  const script = `mount --bind /etc/resolv.conf /etc/resolv.conf && ${ipCommand()} link set lo up`
  const tried = spawnSync('unshare', ['-n', '-m', 'sh', '-c', script], { encoding: 'utf8', timeout: 10_000 })
  if (tried.status === 0) return undefined
  return (tried.error?.message ?? tried.stderr.trim()) || `status ${tried.status}`
}
