import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { checkFoldersOf, rootRights } from '../channel/permissions.ts'

const openToAll = 0o755

/**
 * Made where it is missing; root's, and nobody else can put anything into it.
 * @param within will be made there, in the place of what a predecessor left
 * @param mark a file that is there where one of us was before
 * @throws Error saying what is wrong
 */
export function makeRunFolder(path: string, within: readonly SocketFolder[], mark: string): void {
  // Another's folder of that name would be lost. Parts cannot make the mark.
  const strange = within.find((one) => existsSync(one.path))
  if (strange !== undefined && !existsSync(join(path, mark)))
    throw new Error(
      `${strange.path} is there, and was not made by acmems serve: name another folder in [process] run-directory`,
    )
  // Parts come through those above it, too.
  const before = process.umask(0o022)
  try {
    mkdirSync(path, { recursive: true, mode: openToAll })
  } finally {
    process.umask(before)
  }
  checkFoldersOf(join(path, 'part'), rootRights)
  chmodSync(path, openToAll)
}

export type SocketFolder = {
  readonly path: string
  /** Of the side that answers. */
  readonly uid: number
  /** Of the side that asks: what is made in the folder is this group's. */
  readonly gid: number
}

/** A folder for one socket: who answers makes it there, who asks may come in, nobody else sees it. */
export function makeSocketFolder({ path, uid, gid }: SocketFolder): void {
  // What a killed predecessor left. Something of its user may run yet, and put in more: not where the new one is.
  const aside = `${path}.${process.pid}.old`
  for (const entry of readdirSync(dirname(path)))
    if (entry.startsWith(`${basename(path)}.`) && entry.endsWith('.old')) removeLeft(join(dirname(path), entry))
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) renameSync(path, aside)
  mkdirSync(path, { mode: 0o700 })
  chownSync(path, uid, gid)
  chmodSync(path, 0o2750)
  removeLeft(aside)
}

/** Links in it are not followed. What cannot be removed is in nobody's way: the next start tries again. */
function removeLeft(aside: string): void {
  try {
    if (lstatSync(aside, { throwIfNoEntry: false })?.isDirectory() === true) {
      chownSync(aside, 0, 0)
      chmodSync(aside, 0o700)
    }
    rmSync(aside, { recursive: true, force: true })
  } catch {
    // Somebody puts in more.
  }
}

/** A configuration for a user who may not come to where it is. */
export type Copy = { readonly from: string; readonly to: string; readonly uid: number; readonly gid: number }

/** The folder may be that user's: whatever he put there is not followed. */
export function makeCopy({ from, to, uid, gid }: Copy): void {
  const text = readFileSync(from)
  rmSync(to, { force: true })
  const fd = openSync(to, 'wx', 0o400)
  try {
    fchownSync(fd, uid, gid)
    writeFileSync(fd, text)
  } finally {
    closeSync(fd)
  }
}

/**
 * The server's own folder. One that is there is not given to another user: what is in it may be somebody's.
 * @throws Error with the command that does it
 */
export function makeStateFolder(path: string, { uid, gid }: { readonly uid: number; readonly gid: number }): void {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    chownSync(path, uid, gid)
    return
  }
  const owner = statSync(path).uid
  if (owner !== uid)
    throw new Error(
      `${path} belongs to user ${owner}, and the server is to run as user ${uid}: chown -R ${uid}:${gid} ${path}`,
    )
}
