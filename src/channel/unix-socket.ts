import { chmodSync, chownSync, linkSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { errorCode } from '../error-code.ts'
import { checkFoldersOf, type Who } from './permissions.ts'
import { checkSocketPath } from './socket-path.ts'

export type SocketSettings = {
  /** `/path`, or `fd:3` for one that was opened before us (systemd). */
  readonly place: string
  readonly mode: number
  /** Gets the socket, where its folder does not decide that. */
  readonly gid: number | undefined
  /** What listens there, if another one does: for the error. */
  readonly name: string
  /** So many at once: one more is closed, and told of. */
  readonly limit?: { readonly maxConnections: number; refused(why: string): void }
}

/** Listens until it is disposed of; then the socket goes away, if it is still ours. */
export async function listenOnSocket(
  { place: given, mode, gid, name, limit }: SocketSettings,
  who: Who,
  accept: (socket: Socket) => void,
): Promise<AsyncDisposable> {
  // Half open: a client may say all it has to say, close, and still read the answers.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, accept)
  if (limit !== undefined) {
    server.maxConnections = limit.maxConnections
    server.on('drop', () => limit.refused(`more than ${limit.maxConnections} connections at once`))
  }
  const inherited = /^fd:(\d{1,4})$/.exec(given)?.[1]
  if (inherited !== undefined) {
    await listening(server, () => server.listen({ fd: Number(inherited) })).catch((cause: unknown) => {
      throw new Error(`${given}: descriptor ${inherited} is no UNIX socket that one can listen at`, { cause })
    })
    return { [Symbol.asyncDispose]: () => closed(server) }
  }
  const place = resolve(given)
  // Made under another name, and linked to its own when all about it is right: link() never replaces anything, and
  // Node.js, which removes what it bound when it closes, then removes nothing that a successor made.
  const draft = join(dirname(place), `.${process.pid.toString(36)}`)
  for (const path of [place, draft]) checkSocketPath(path)
  if (lstatOf(dirname(place)) === undefined)
    throw new Error(
      `there is no folder ${dirname(place)} for the socket ${place}: make it; what is below /run is gone after each boot (systemd: RuntimeDirectory=, or tmpfiles.d)`,
    )
  checkFoldersOf(place, who)
  removeDraft(draft)
  const before = process.umask(0o177)
  try {
    await listening(server, () => server.listen({ path: draft }))
  } finally {
    process.umask(before)
  }
  try {
    if (gid !== undefined) chownSync(draft, -1, gid)
    if (mode !== 0o600) chmodSync(draft, mode)
    const ours = lstatSync(draft)
    await linkOver(draft, place, name)
    unlinkSync(draft)
    return {
      async [Symbol.asyncDispose]() {
        if (isSame(lstatOf(place), ours)) unlinkSync(place)
        await closed(server)
      },
    }
  } catch (error) {
    await closed(server)
    throw error
  }
}

/** @throws Error when somebody listens there, or it is no socket */
async function linkOver(draft: string, place: string, name: string): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      linkSync(draft, place)
      return
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error
    }
    const there = lstatOf(place)
    if (there === undefined) continue
    if (!there.isSocket()) throw new Error(`${place} is there already, and is no socket: move it away`)
    if (await isListening(place)) throw new Error(`bind: Address already in use: another ${name} listens at ${place}`)
    removeStale(draft, place, there)
  }
  throw new Error(`${place} is taken again and again by others`)
}

/**
 * Removes a socket that a killed process left, so that its place can be had.
 * @returns whether there was one; what is no socket, or is listened at, stays
 */
export async function removeStaleSocket(path: string): Promise<boolean> {
  const there = lstatOf(path)
  if (there?.isSocket() !== true || (await isListening(path))) return false
  removeStale(join(dirname(path), `.${process.pid.toString(36)}`), path, there)
  return true
}

/** Between the look and the removal another one may have begun there: what turns out to be another is put back. */
function removeStale(draft: string, place: string, stale: Stats): void {
  const aside = `${draft}o`
  try {
    renameSync(place, aside)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return
    throw error
  }
  if (!isSame(lstatOf(aside), stale)) linkSync(aside, place)
  unlinkSync(aside)
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error) => {
      const code = errorCode(error)
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false)
      // Its queue is full: somebody is there.
      else if (code === 'EAGAIN') resolve(true)
      else if (code === 'EACCES')
        reject(
          new Error(
            `${path} is there already, and another user's: nobody can say from here whether somebody listens there; if not, remove it`,
          ),
        )
      else reject(error)
    })
  })
}

/** What a killed process of the same id left. */
function removeDraft(draft: string): void {
  for (const path of [draft, `${draft}o`]) if (lstatOf(path)?.isSocket() === true) unlinkSync(path)
}

function isSame(left: Stats | undefined, right: Stats): boolean {
  return left?.ino === right.ino && left.dev === right.dev
}

function lstatOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      // Out of descriptors, say: those who wait are accepted later.
      server.on('error', () => undefined)
      resolve()
    })
    listen()
  })
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
