/** The command was called wrongly: main exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
