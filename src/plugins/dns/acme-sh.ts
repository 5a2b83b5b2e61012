import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ProblemError } from '../../acme/problem.ts'

/**
 * Run with acme.sh as $0. Sourced without arguments, acme.sh defines its functions and prints its help. All names begin
 * with hook_, because the functions know no local variables.
 */
export const acmeShWrapper = `hook_plugin=$1 hook_file=$2 hook_action=$3 hook_fqdn=$4 hook_value=$5
set --
. "$0" >/dev/null || exit 1
_initpath || exit 1
. "$hook_file" || exit 1
if ! command -v "\${hook_plugin}_$hook_action" >/dev/null; then
  echo "$hook_plugin has no \${hook_plugin}_$hook_action"
  [ "$hook_action" = rm ]
  exit
fi
"\${hook_plugin}_$hook_action" "$hook_fqdn" "$hook_value"
`

/** Where a plugin is installed. @throws ProblemError */
export async function findAcmeShPlugin(home: string, plugin: string): Promise<string> {
  const places = [join(home, 'dnsapi', `${plugin}.sh`), join(home, `${plugin}.sh`)]
  for (const place of [join(home, 'acme.sh'), ...places]) {
    const isThere = await stat(place).then(
      (found) => found.isFile(),
      () => false,
    )
    if (isThere && places.includes(place)) return place
    if (!isThere && !places.includes(place))
      throw new ProblemError('dns', `there is no acme.sh in ${home}: install it, or say home = where it is`)
  }
  throw new ProblemError('dns', `acme.sh in ${home} has no plugin ${plugin}`)
}

/** A folder that only we can read, gone when disposed of. Plugins keep credentials in their configuration folder. */
export async function makePrivateFolder(parent: string): Promise<AsyncDisposable & { readonly path: string }> {
  await mkdir(parent, { recursive: true, mode: 0o700 })
  const path = await mkdtemp(join(parent, 'acme.sh-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** What a crash left behind. */
export async function removeLeftovers(parent: string, beforeMs: number): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const path = join(parent, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && found.mtimeMs < beforeMs) await rm(path, { recursive: true, force: true })
  }
}

/**
 * Takes over what acme.sh has saved for its plugins when it was used by itself, and nothing else of its configuration.
 * @returns the saved values by name
 */
export async function copySavedCredentials(home: string, folder: string): Promise<Map<string, string>> {
  const text = await readFile(join(home, 'account.conf'), 'utf8').catch(() => '')
  const lines = text.split('\n').filter((line) => /^SAVED_\w+=/.test(line))
  await writeFile(join(folder, 'account.conf'), lines.map((line) => `${line}\n`).join(''), { mode: 0o600 })
  return new Map(
    lines.map((line) => {
      const at = line.indexOf('=')
      return [line.slice('SAVED_'.length, at), line.slice(at + 1).replace(/^'(.*)'$/, '$1')]
    }),
  )
}
