import { lstat, mkdir, open, readdir, readFile, readlink, rename, rm, rmdir, stat, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type FileOwner, syncFolder, writeDurably } from '../durable-file.ts'
import type { OutputFile } from './output-files.ts'

/** What was installed can be taken back, as long as nobody installed anything else. */
export type Placed = { undo(): Promise<void> }

export type Placement = {
  /** A link to a folder of them all; undefined: each file by itself. */
  readonly directory: string | undefined
  readonly owner: FileOwner | undefined
}

/**
 * Installs the files. With a directory they change as one, by a link that is renamed; without it one after another,
 * each whole or not at all.
 * @param version names this installation among others of the same certificate
 * @throws Error that says which place cannot be used, and what to do
 */
export async function placeFiles(
  files: readonly OutputFile[],
  { directory, owner }: Placement,
  version: string,
): Promise<Placed> {
  const isInside = (file: OutputFile) => directory !== undefined && dirname(file.path) === directory
  const placed: Placed[] = []
  const undo = async () => {
    for (const one of placed.toReversed()) await one.undo()
  }
  try {
    for (const file of files.filter((one) => !isInside(one))) placed.push(await placeFile(file, owner))
    if (directory !== undefined) placed.push(await placeFolder(directory, files.filter(isInside), owner, version))
  } catch (error) {
    await undo()
    throw error
  }
  return { undo }
}

async function placeFile(file: OutputFile, owner: FileOwner | undefined): Promise<Placed> {
  await refuseLooseFolders(dirname(file.path))
  const former = await readFormer(file.path)
  const to = owner === undefined ? {} : { owner }
  await explain(file.path, () => writeDurably(file.path, file.content, { mode: file.mode, ...to }))
  return {
    async undo() {
      if (former === undefined) await rm(file.path, { force: true })
      else await writeDurably(file.path, former.content, { mode: former.mode, owner: former.owner })
    },
  }
}

async function readFormer(path: string) {
  try {
    const [content, { mode, uid, gid }] = [await readFile(path), await stat(path)]
    return { content, mode: mode & 0o7777, owner: { uid, gid } }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** `web` becomes a link into `.web.versions/`, whose folders are never changed once the link leads to them. */
async function placeFolder(
  directory: string,
  files: readonly OutputFile[],
  owner: FileOwner | undefined,
  version: string,
): Promise<Placed> {
  const parent = dirname(directory)
  const versions = `.${basename(directory)}.versions`
  await explain(parent, () => mkdir(parent, { recursive: true, mode: 0o755 }))
  await refuseLooseFolders(parent)
  await makeRoomForLink(directory)
  await explain(directory, () => mkdir(join(parent, versions), { recursive: true, mode: 0o755 }))
  const folder = join(parent, versions, version)
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { mode: 0o755 })
  const to = owner === undefined ? {} : { owner }
  for (const file of files)
    await explain(directory, () =>
      writeDurably(join(folder, basename(file.path)), file.content, { mode: file.mode, ...to }),
    )
  if (owner !== undefined) await chownFolder(folder, owner)
  await syncFolder(join(parent, versions))
  const former = await readlink(directory).catch(() => undefined)
  await pointTo(directory, join(versions, version))
  await removeOld(join(parent, versions), [version, former === undefined ? '' : basename(former)])
  return {
    async undo() {
      if (former === undefined) await rm(directory, { force: true })
      else await pointTo(directory, former)
    },
  }
}

async function chownFolder(folder: string, { uid, gid }: FileOwner): Promise<void> {
  await using handle = await open(folder, 'r')
  await handle.chown(uid, gid)
}

/** Renamed over the former link: who opens it gets the one or the other. */
async function pointTo(link: string, target: string): Promise<void> {
  const temporary = `${link}.${process.pid}.tmp`
  await rm(temporary, { force: true })
  await symlink(target, temporary)
  await rename(temporary, link)
  await syncFolder(dirname(link))
}

async function makeRoomForLink(directory: string): Promise<void> {
  const there = await lstat(directory).catch(() => undefined)
  if (there === undefined || there.isSymbolicLink()) return
  // An empty folder was made for us.
  if (there.isDirectory() && (await readdir(directory)).length === 0) return rmdir(directory)
  throw new Error(`${directory} must become a link to a folder of ours: move away what is there`)
}

async function removeOld(versions: string, kept: readonly string[]): Promise<void> {
  for (const entry of await readdir(versions))
    if (!kept.includes(entry)) await rm(join(versions, entry), { recursive: true, force: true })
}

/**
 * As root we write nowhere where another user could put something in our way.
 * @throws Error naming the folder
 */
async function refuseLooseFolders(folder: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  for (let path = folder; ; path = dirname(path)) {
    const { uid, mode } = await explain(path, () => stat(path))
    const isLoose = (mode & 0o022) !== 0 && (mode & 0o1000) === 0
    if (uid !== 0 || isLoose)
      throw new Error(`${path} can be changed by others than root: nothing is installed below it as root`)
    if (path === dirname(path)) return
  }
}

async function explain<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    const remedy =
      code === 'ENOENT'
        ? `the folder ${dirname(path)} is not there: make it`
        : code === 'EPERM'
          ? 'its owner cannot be set: run as root, or take owner away'
          : code === 'EACCES' || code === 'EROFS'
            ? 'it may not be written: see its permissions'
            : cause instanceof Error
              ? cause.message
              : 'unknown reason'
    throw new Error(`${path} cannot be written: ${remedy}`, { cause })
  }
}
