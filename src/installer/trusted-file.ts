import { lstatSync, realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { checkFoldersOf, modeOf, type Who } from '../channel/permissions.ts'

/**
 * What we obey: ours, or root's, and nobody else may write it, or put another one in its place. Where links lead is
 * looked at, too.
 * @throws Error naming file and remedy
 */
export function checkTrustedFile(path: string, who: Who): void {
  const real = realpathSync(path)
  const stat = statSync(real)
  if (!stat.isFile()) throw new Error(`${path} is no file`)
  if (stat.uid !== 0 && stat.uid !== who.uid)
    throw new Error(`${path} belongs to user ${stat.uid}, and root obeys only its own files: chown root ${path}`)
  if ((stat.mode & 0o022) !== 0)
    throw new Error(`${path} can be written by others (mode ${modeOf(stat)}): chmod go-w ${path}`)
  for (const one of new Set([path, real])) checkFoldersOf(one, who)
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
