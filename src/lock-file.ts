import { closeSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { errorCode } from './error-code.ts'

/**
 * A file for `begin exclusive`, into which nothing is ever written: so its journal need be in no file, and a full disk
 * keeps nobody from it. The system undoes a lock when its process dies.
 * @param timeoutMs how long a lock is waited for
 * @throws Error when it cannot be opened
 */
export function openLockFile(path: string, timeoutMs: number): DatabaseSync {
  try {
    // Who may read it could hold it, too. Only a new one: by closing it this process would let go of what it holds.
    closeSync(openSync(path, 'ax', 0o600))
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
  return new DatabaseSync(path, { timeout: timeoutMs })
}

/** Held until it is undone by `rollback`, or the file closed. @throws Error, with SQLITE_BUSY where another one holds it */
export function holdLock(lock: DatabaseSync): void {
  lock.exec('pragma journal_mode = memory; begin exclusive')
}
