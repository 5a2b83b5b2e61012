import { lstatSync, type Stats, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { checkSocketPath } from './socket-path.ts'

/** Who we are; root owns everything anyhow. */
export type Who = { readonly uid: number; readonly gids: readonly number[] }

export const rootRights: Who = { uid: 0, gids: [0] }

/** The rights that this process has. */
export function ownRights(): Who {
  const gids = [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])]
  return { uid: process.geteuid?.() ?? 0, gids }
}

/**
 * May nobody else put another file in the place of this one? Its folder and all above it must be root's or ours, and
 * not writable by others; above it, a folder like /tmp will do, where only owners remove (the sticky bit).
 * @param alsoUid may own the folder itself, too
 * @throws Error saying which is not
 */
export function checkFoldersOf(path: string, who: Who, alsoUid = who.uid): void {
  const direct = dirname(resolve(path))
  for (let folder = direct; ; folder = dirname(folder)) {
    const stat = statSync(folder)
    if (folder !== direct || stat.uid !== alsoUid) checkOwner(folder, stat, who)
    const isSticky = folder !== direct && (stat.mode & 0o1000) !== 0
    if ((stat.mode & 0o022) !== 0 && !isSticky)
      throw new Error(`Insecure permissions on ${folder}: others can write there (mode ${modeOf(stat)}); chmod go-w it`)
    if (folder === dirname(folder)) return
  }
}

/**
 * A private key, or what opens one: ours or root's, and nobody else's to read. A group of ours may read root's.
 * @throws Error saying what is wrong with it
 */
export function checkSecretFile(path: string, who: Who): void {
  const stat = statSync(path)
  if (!stat.isFile()) throw new Error(`${path} is no file`)
  checkOwner(path, stat, who)
  const isGroupRead = stat.uid === 0 && who.uid !== 0 && who.gids.includes(stat.gid)
  const loose = stat.mode & (isGroupRead ? 0o037 : 0o077)
  if (loose !== 0)
    throw new Error(`Insecure permissions on ${path}: others can use it (mode ${modeOf(stat)}); chmod 600 it`)
  checkFoldersOf(path, who)
}

/**
 * A socket that we connect to: its folder may be that of whom the socket belongs to, a daemon with a user of its own.
 * @throws Error where it is none, its path is too long, others could put theirs in its place, or everybody may use it
 */
export function checkSocket(path: string, who: Who): void {
  checkSocketPath(path)
  const stat = lstatSync(path)
  if (!stat.isSocket()) throw new Error(`${path} is no socket`)
  if ((stat.mode & 0o006) !== 0)
    throw new Error(`Insecure permissions on ${path}: everybody can use it (mode ${modeOf(stat)})`)
  checkFoldersOf(path, who, stat.uid)
}

function checkOwner(path: string, stat: Stats, { uid }: Who): void {
  if (stat.uid !== 0 && stat.uid !== uid)
    throw new Error(`Insecure owner of ${path}: it belongs to user ${stat.uid}, neither root nor ours (${uid})`)
}

/** For people: `0640`. */
export function modeOf({ mode }: Stats): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}
