/** The system's or Node's word for what went wrong, like ENOENT; undefined where the error has none. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
