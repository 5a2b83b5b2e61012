import { link, mkdir, open, readdir, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isAlive } from './process-id.ts'

/**
 * Writes a file so that after a crash there is the old content or the new, never a part:
 * temporary file, fsync, rename, fsync of the folder.
 * @param options.mustBeNew refuse where a file is already
 * @param options.mode permission bits, whatever the umask; 0600 unless told otherwise
 * @param options.owner whose it is, from before it can be seen
 * @throws Error with the system's code (EEXIST, ENOSPC, EACCES …)
 */
export async function writeDurably(
  path: string,
  content: string | Uint8Array,
  options: { readonly mustBeNew?: boolean; readonly mode?: number; readonly owner?: FileOwner } = {},
): Promise<void> {
  const folder = dirname(path)
  const temporary = join(folder, `.${basename(path)}.${process.pid}.${++writes}.tmp`)
  await removeLeftovers(folder, basename(path))
  underWay.add(temporary)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
      if (options.owner !== undefined) await file.chown(options.owner.uid, options.owner.gid)
      if (options.mode !== undefined) await file.chmod(options.mode)
      await file.sync()
    } finally {
      await file.close()
    }
    // A hard link, unlike a rename, fails where something is already.
    if (options.mustBeNew) await link(temporary, path)
    else await rename(temporary, path)
  } finally {
    await unlink(temporary).catch(() => undefined)
    underWay.delete(temporary)
  }
  await syncFolder(folder)
}

/** -1: as it is. */
export type FileOwner = { readonly uid: number; readonly gid: number }

let writes = 0
const underWay = new Set<string>()

/** What a write that was killed left here: it can hold a key that nobody knows of. */
export async function removeLeftovers(folder: string, name: string): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    if (!entry.startsWith(`.${name}.`)) continue
    const pid = /^(\d+)\.\d+\.tmp$/.exec(entry.slice(name.length + 2))?.[1]
    if (pid === undefined || underWay.has(join(folder, entry))) continue
    if (Number(pid) === process.pid || !isAlive(Number(pid))) await unlink(join(folder, entry)).catch(() => undefined)
  }
}

/** What was made or renamed in it survives a power failure. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Makes the folder and what is missing above it, for us alone. */
export async function ensureDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
}
