import { lstat, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { tokenPattern } from '../../acme/challenge.ts'
import { ProblemError } from '../../acme/problem.ts'
import { writeDurably } from '../../durable-file.ts'
import { errorCode } from '../../error-code.ts'

/** Puts http-01 answers where a web server shows them. */
export interface Webroot {
  put(token: string, keyAuthorization: string): Promise<void>
  /** Removes the token's file when it is the one that was put there, and nothing else. */
  remove(token: string, keyAuthorization: string): Promise<void>
}

const [outer, inner] = ['.well-known', 'acme-challenge']
const folderMode = 0o755
const fileMode = 0o644

/** @param directory the document root, or the challenge folder itself where the path ends so */
export function openWebroot(directory: string): Webroot {
  const given = resolve(directory)
  const isFolderItself = basename(given) === inner && basename(dirname(given)) === outer
  const root = isFolderItself ? dirname(dirname(given)) : given
  const folder = join(root, outer, inner)

  /**
   * Whoever may write into the document root could otherwise lead our writing anywhere with a link. The root itself may
   * be one: it is the operator's word.
   */
  async function ensureFolder(): Promise<void> {
    for (const path of [join(root, outer), folder]) {
      const kind = await kindOf(path)
      if (kind === 'nothing') await makeFolder(path)
      else if (kind !== 'a folder') throw refusal(`${path} is ${kind}, and should be a folder`)
    }
  }

  async function readOwn(path: string): Promise<string | undefined> {
    const kind = await kindOf(path)
    if (kind === 'nothing') return undefined
    if (kind !== 'a file') throw refusal(`${path} is ${kind}, and should be a file`)
    return await readFile(path, 'latin1')
  }

  function pathOf(token: string): string {
    if (!tokenPattern.test(token)) throw refusal('the token is none')
    return join(folder, token)
  }

  return {
    async put(token, keyAuthorization) {
      const path = pathOf(token)
      if ((await kindOf(root)) === 'nothing') throw refusal(`there is no folder ${root}`)
      await ensureFolder()
      const present = await readOwn(path)
      if (present === keyAuthorization) return
      // Another account's answer to the same token can only be an old one of ours.
      if (present !== undefined && !present.startsWith(`${token}.`)) throw refusal(`${path} is there, and is not ours`)
      await writeDurably(path, keyAuthorization, { mode: fileMode }).catch((cause: unknown) => {
        throw refusal(`cannot write ${path}: ${cause instanceof Error ? cause.message : 'unknown reason'}`, cause)
      })
      await setMode(path, fileMode)
    },
    async remove(token, keyAuthorization) {
      const path = pathOf(token)
      for (const above of [join(root, outer), folder]) if ((await kindOf(above)) !== 'a folder') return
      if ((await kindOf(path)) !== 'a file' || (await readOwn(path)) !== keyAuthorization) return
      await unlink(path)
    },
  }
}

type Kind = 'nothing' | 'a file' | 'a folder' | 'a symbolic link' | 'something else'

async function kindOf(path: string): Promise<Kind> {
  try {
    const stat = await lstat(path)
    if (stat.isSymbolicLink()) return 'a symbolic link'
    return stat.isDirectory() ? 'a folder' : stat.isFile() ? 'a file' : 'something else'
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return 'nothing'
    throw refusal(error instanceof Error ? error.message : `cannot look at ${path}`, error)
  }
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (cause) {
    // Another order made it meanwhile.
    if ((await kindOf(path)) === 'a folder') return
    throw refusal(`cannot make ${path}: ${cause instanceof Error ? cause.message : 'unknown reason'}`, cause)
  }
  await setMode(path, folderMode)
}

/** Whatever the umask says: the web server is another user. */
async function setMode(path: string, mode: number): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
}

function refusal(reason: string, cause?: unknown): ProblemError {
  return new ProblemError('serverInternal', `the answer cannot be put into the web server's folder: ${reason}`, {
    cause,
  })
}
