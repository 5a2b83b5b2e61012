import { constants, type Stats } from 'node:fs'
import { access, chmod, lstat, mkdir, readdir, readlink, rename, rm, rmdir, stat, symlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type FileOwner, removeLeftovers, syncFolder, writeDurably } from '../durable-file.ts'
import { errorCode } from '../error-code.ts'
import { isAlive } from '../process-id.ts'
import type { OutputFile } from './output-files.ts'
import { maxInstalledBytes, readInstalled } from './read-installed.ts'

/** What was installed can be taken back, as long as nobody installed anything else. */
export type Placed = { undo(): Promise<void> }

/** Some of the files are new and some are not, and it cannot be helped now. */
export class TornError extends Error {
  override readonly name = 'TornError'
  constructor(cause: unknown) {
    const why = cause instanceof Error ? cause.message : 'unknown reason'
    super(`the former files could not be put back, and the new ones are not complete: ${why}`, { cause })
  }
}

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
    for (const one of placed.toReversed())
      await one.undo().catch((cause: unknown) => {
        throw new TornError(cause)
      })
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

/**
 * Looks before a certificate is asked for whether it could be installed.
 * @throws Error as placeFiles would
 */
export async function checkPlaces(paths: readonly string[], directory: string | undefined): Promise<void> {
  if (directory !== undefined) {
    await refuseWhatIsInTheWay(directory)
    await checkFolderOf(await findFirstMissing(directory))
  }
  for (const path of paths) if (dirname(path) !== directory) await checkFolderOf(path)
}

/** Folders above it that are missing are made: where the first of them goes, or itself. */
async function findFirstMissing(directory: string): Promise<string> {
  const parent = dirname(directory)
  const isThere = await lstat(parent).then(
    () => true,
    (error: unknown) => !['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? ''),
  )
  return isThere ? directory : await findFirstMissing(parent)
}

async function checkFolderOf(path: string): Promise<void> {
  await refuseLooseFolders(dirname(path))
  await explain(path, () => access(dirname(path), constants.W_OK))
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
    const { size, mode, uid, gid } = await stat(path)
    const content = size > maxInstalledBytes ? undefined : await readInstalled(path)
    if (content === undefined)
      throw new Error(`${path} is in the way, and could not be put back: it is too large, or no file; move it away`)
    return { content, mode: mode & 0o7777, owner: { uid, gid } }
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

const folderMode = 0o755
/** As the kernel has it. */
const maxLinks = 40

/** `web` becomes a link into `.web.versions/`, whose folders are never changed once the link leads to them. */
async function placeFolder(
  directory: string,
  files: readonly OutputFile[],
  owner: FileOwner | undefined,
  version: string,
): Promise<Placed> {
  const parent = dirname(directory)
  const versions = join(parent, `.${basename(directory)}.versions`)
  await explain(parent, () => mkdir(parent, { recursive: true, mode: 0o755 }))
  await refuseLooseFolders(parent)
  await removeLeftLinks(directory)
  await makeRoomForLink(directory)
  await explain(directory, () => mkdir(versions, { recursive: true }))
  // In a folder like /tmp somebody else may have been there first.
  await refuseLooseFolders(versions)
  await explain(directory, () => chmod(versions, folderMode))
  const folder = await explain(directory, () => makeNewFolder(join(versions, version)))
  const to = owner === undefined ? {} : { owner }
  for (const file of files)
    await explain(directory, () =>
      writeDurably(join(folder, basename(file.path)), file.content, { mode: file.mode, ...to }),
    )
  await syncFolder(versions)
  const former = await readlink(directory).catch(() => undefined)
  await explain(directory, () => pointTo(directory, join(basename(versions), basename(folder))))
  await removeOld(versions, [basename(folder), former === undefined ? '' : basename(former)])
  return {
    async undo() {
      if (former === undefined) await rm(directory, { force: true })
      else await pointTo(directory, former)
    },
  }
}

/**
 * Never one that is there: the link may lead to it. It stays ours, whoever owns the files: another owner could put
 * something else in their place, and have us remove what he likes.
 */
async function makeNewFolder(wanted: string): Promise<string> {
  for (let n = 1; ; n += 1) {
    const path = n === 1 ? wanted : `${wanted}-${n}`
    try {
      await mkdir(path)
      await chmod(path, folderMode)
      return path
    } catch (error) {
      if (errorCode(error) !== 'EEXIST' || n > 100) throw error
    }
  }
}

/** What a process that was killed has left beside what it was to write. */
export async function removeLeftPlaces(paths: readonly string[], directory: string | undefined): Promise<void> {
  if (directory !== undefined) await removeLeftLinks(directory)
  for (const path of paths) if (dirname(path) !== directory) await removeLeftovers(dirname(path), basename(path))
}

/** Links that were made and not renamed any more. */
async function removeLeftLinks(directory: string): Promise<void> {
  const parent = dirname(directory)
  for (const entry of await readdir(parent).catch(() => [])) {
    if (!entry.startsWith(`${basename(directory)}.`)) continue
    const pid = /^(\d+)\.tmp$/.exec(entry.slice(basename(directory).length + 1))?.[1]
    if (pid === undefined || (Number(pid) !== process.pid && isAlive(Number(pid)))) continue
    const path = join(parent, entry)
    if ((await lstat(path).catch(() => undefined))?.isSymbolicLink() === true) await rm(path, { force: true })
  }
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
  // An empty folder was made for us.
  if ((await refuseWhatIsInTheWay(directory)) === 'an empty folder') await rmdir(directory)
}

async function refuseWhatIsInTheWay(directory: string): Promise<'an empty folder' | undefined> {
  const there = await lstat(directory).catch(() => undefined)
  if (there === undefined || there.isSymbolicLink()) return undefined
  if (there.isDirectory() && (await readdir(directory)).length === 0) return 'an empty folder'
  throw new Error(`${directory} must become a link to a folder of ours: move away what is there`)
}

async function removeOld(versions: string, kept: readonly string[]): Promise<void> {
  for (const entry of await readdir(versions))
    if (!kept.includes(entry)) await rm(join(versions, entry), { recursive: true, force: true })
}

/**
 * As root we write nowhere where another user could put something in our way: not in the folder, and not in any folder
 * that a link on the way to it is in.
 * @throws Error naming the folder
 */
async function refuseLooseFolders(folder: string, links = 0): Promise<void> {
  if (process.getuid?.() !== 0) return
  if (links > maxLinks) throw new Error(`${folder} leads through too many links`)
  for (let path = folder; ; path = dirname(path)) {
    const there = await lstat(path).catch((error: unknown) => {
      throw errorCode(error) === 'ENOENT' ? new Error(`the folder ${path} is not there: make it`) : error
    })
    if (there.isSymbolicLink()) await refuseLooseFolders(resolve(dirname(path), await readlink(path)), links + 1)
    else if (!there.isDirectory()) throw new Error(`${path} is no folder`)
    else refuseLoose(path, there)
    if (path === dirname(path)) return
  }
}

function refuseLoose(path: string, { uid, mode }: Stats): void {
  const isLoose = (mode & 0o022) !== 0 && (mode & 0o1000) === 0
  if (uid === 0 && !isLoose) return
  throw new Error(
    `${path} can be changed by others than root, so nothing is installed below it as root: give it to root (chown root, chmod go-w), or run acmems as its owner`,
  )
}

async function explain<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    throw new Error(`${path} cannot be written: ${remedyFor(cause, path)}`, { cause })
  }
}

function remedyFor(cause: unknown, path: string): string {
  switch (errorCode(cause)) {
    case 'ENOENT':
      return `the folder ${dirname(path)} is not there: make it`
    case 'EPERM':
      return 'its owner cannot be set: run as root, or take owner away'
    case 'EACCES':
      return 'it may not be written: see its permissions'
    case 'EROFS':
      return 'it is only to be read there: mount it for writing, or have the unit that acmems runs in write there (ReadWritePaths=)'
    default:
      return cause instanceof Error ? cause.message : 'unknown reason'
  }
}
