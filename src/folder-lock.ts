import { join } from 'node:path'
import { ensureDirectory } from './durable-file.ts'
import { sqliteBusy, sqliteErrorCode } from './error-code.ts'
import { holdLock, openLockFile } from './lock-file.ts'

export const lockFile = 'lock.db'

/**
 * One process at a time may change what is in the folder. undefined: another one does. Undone by disposing of it, and by
 * the system when the process dies: a file with a process id would outlive it, and the id may soon be another's (in a
 * container it always is).
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable | undefined> {
  await ensureDirectory(folder)
  const lock = openLockFile(join(folder, lockFile), 0)
  try {
    holdLock(lock)
  } catch (error) {
    lock.close()
    if (sqliteErrorCode(error) === sqliteBusy) return undefined
    throw error
  }
  return { [Symbol.asyncDispose]: async () => lock.close() }
}
