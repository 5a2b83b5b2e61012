/** What the server is not given, and not let do. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
}
