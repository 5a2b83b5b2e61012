import { lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { checkFoldersOf, modeOf, type Who } from './channel/permissions.ts'
import { errorCode } from './error-code.ts'

/**
 * What we obey: ours, or root's, and nobody else may write it, or put another one in its place. Where links lead is
 * looked at, too.
 * @throws Error naming file and remedy
 */
export function checkTrustedFile(path: string, who: Who): void {
  const real = realPathOf(path)
  const stat = statSync(real)
  if (!stat.isFile()) throw new Error(`${path} is no file`)
  if (stat.uid !== 0 && stat.uid !== who.uid)
    throw new Error(`${path} belongs to user ${stat.uid}, and root obeys only its own files: chown root ${path}`)
  if ((stat.mode & 0o022) !== 0)
    throw new Error(`${path} can be written by others (mode ${modeOf(stat)}): chmod go-w ${path}`)
  checkWay(path, who)
}

/** The cause has the system's code. */
function realPathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch (cause) {
    const code = errorCode(cause)
    if (code === 'ENOENT') throw new Error(`${path} is not there`, { cause })
    if (code === 'EACCES') throw new Error(`${path} cannot be come to: who reads it must be root`, { cause })
    throw cause
  }
}

/** As the kernel has it. */
const maxLinks = 40

/**
 * Every folder on the way, and every one that a link on it is in: who can change one of these leads us elsewhere, even
 * where both ends are root's.
 * @throws Error naming the folder
 */
function checkWay(path: string, who: Who, links = 0): void {
  if (links > maxLinks) throw new Error(`${path} leads through too many links`)
  const names = resolve(path).split('/').filter(Boolean)
  let at = '/'
  for (const [index, name] of names.entries()) {
    const next = join(at, name)
    if (lstatSync(next).isSymbolicLink()) {
      checkFoldersOf(next, who)
      checkWay(join(resolve(at, readlinkSync(next)), ...names.slice(index + 1)), who, links + 1)
      return
    }
    at = next
  }
  checkFoldersOf(at, who)
}

/** A folder for us alone. @throws Error naming folder and remedy */
export function checkOwnFolder(folder: string, who: Who): void {
  const stat = lstatSync(folder)
  if (!stat.isDirectory()) throw new Error(`${folder} is no folder of its own: move away what is there`)
  if (stat.uid !== who.uid)
    throw new Error(`${folder} belongs to user ${stat.uid}: move it away, or chown ${who.uid} ${folder}`)
  if ((stat.mode & 0o077) !== 0)
    throw new Error(`${folder} is open to others (mode ${modeOf(stat)}): chmod 700 ${folder}`)
  checkFoldersOf(join(folder, 'x'), who)
}
