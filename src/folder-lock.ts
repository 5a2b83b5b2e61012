import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ensureDirectory } from './durable-file.ts'

export const lockFile = 'lock.db'

/** SQLITE_BUSY */
const busy = 5

/**
 * One process at a time may change what is in the folder. undefined: another one does. Undone by disposing of it, and by
 * the system when the process dies: a file with a process id would outlive it, and the id may soon be another's (in a
 * container it always is).
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable | undefined> {
  await ensureDirectory(folder)
  const database = new DatabaseSync(join(folder, lockFile), { timeout: 0 })
  try {
    // Nothing is ever written, so the journal need be in no file, and a full disk keeps nobody from it.
    database.exec('pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    database.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === busy) return undefined
    throw error
  }
  return { [Symbol.asyncDispose]: async () => database.close() }
}
