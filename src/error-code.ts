/** The system's or Node's word for what went wrong, like ENOENT; undefined where the error has none. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** SQLite's result codes (sqlite.org/rescode.html). */
export const sqliteBusy = 5
export const sqliteLocked = 6
export const sqliteFull = 13

/** SQLite's own number for what went wrong; undefined where the error is none of its. */
export function sqliteErrorCode(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' ? error.errcode : undefined
}
