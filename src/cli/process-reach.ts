import { spawnSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { boundingSetArgument } from '../parts/confinement.ts'
import type { ProcessLook } from '../parts/process-look.ts'
import type { Reach, Secret } from '../parts/promises.ts'
import { searchPath } from '../search-path.ts'

// What systemd hides (InaccessiblePaths=) is an empty file without any mode, which root may read.
const isShown = '[ -r "$path" ] && [ "$(stat -c %a "$path")" != 0 ]'
const script = `for path; do if [ -S "$path" ]; then test -w "$path"; else ${isShown}; fi && echo "$path"; done`
const timeoutMs = 10_000

/**
 * Lets its user try, with its groups, where it sees the file system. Whoever runs it may have made that file system, and
 * the shell in it: so root is given up before anything of it is run, and our terminal is not there.
 * @returns undefined where it is not tried
 */
export function reachOf({ pid, standing }: ProcessLook, secrets: readonly Secret[]): Reach | undefined {
  const { uids, gids, groups } = standing
  const [, uid = -1] = uids
  const isRoot = uids.every((id) => id === 0)
  // Partly root: a set-user-ID program that somebody else gave these words. In another user namespace: root of his own.
  if ((!isRoot && uids.includes(0)) || !isOfOurUsers(pid)) return undefined
  // setpriv has no word for the others.
  const named = standing.capabilities.bounding.filter((name) => !name.startsWith('cap_'))
  const identity = [`--regid=${gids[1]}`, groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`]
  const enter = ['nsenter', `--target=${pid}`, '--mount']
  const command = isRoot
    ? [...enter, 'setpriv', ...identity, boundingSetArgument(named), '--no-new-privs', '--inh-caps=-all']
    : ['setpriv', ...identity, '--no-new-privs', '--inh-caps=-all', ...enter, `--setuid=${uid}`, '--']
  const [program = '', ...args] = [...command, '/bin/sh', '-c', script, 'sh', ...secrets.map(({ path }) => path)]
  const { stdout, error } = spawnSync(program, args, {
    ...{ encoding: 'utf8', env: { PATH: searchPath }, cwd: '/' },
    ...{ stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' },
    // A session of its own.
    ...{ detached: true },
  })
  if (error !== undefined) throw new Error(`what ${pid} could come to cannot be tried: ${error.message}`)
  const paths = new Set(stdout.split('\n'))
  return { pid, reachable: secrets.filter(({ path }) => paths.has(path)) }
}

function isOfOurUsers(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync('/proc/self/ns/user')
  } catch {
    return false
  }
}
