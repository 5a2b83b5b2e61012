import { open, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { ensureDirectory } from '../durable-file.ts'
import { isAlive } from '../process-id.ts'

/** One process at a time may change what is in the folder. undefined: another one does. Undone by disposing of it. */
export async function lockFolder(folder: string): Promise<AsyncDisposable | undefined> {
  await ensureDirectory(folder)
  const path = join(folder, 'lock')
  for (const last of [false, true]) {
    try {
      await using file = await open(path, 'wx', 0o600)
      await file.writeFile(String(process.pid))
      return { [Symbol.asyncDispose]: () => unlink(path).catch(() => undefined) }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      const pid = Number(await readFile(path, 'utf8').catch(() => ''))
      // Of a process that was killed; one that is just beginning has not written its number yet.
      if (last || pid === process.pid || pid === 0 || isAlive(pid)) return undefined
      await unlink(path).catch(() => undefined)
    }
  }
  return undefined
}
