import { existsSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeDurably } from '../durable-file.ts'
import { errorCode } from '../error-code.ts'

/**
 * Writes a configuration where none is, or one that says nothing, for us and our group.
 * @throws Error when there is a file with settings already
 */
export async function writeNewFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 })
  try {
    await writeDurably(path, text, { mustBeNew: isTaken(path) || !existsSync(path), mode: 0o640 })
  } catch (error) {
    if (errorCode(error) === 'EEXIST')
      throw new Error(`${path} is there already, and is left as it is: move it away, or name another file`)
    throw error
  }
}

/** Is something there that must not be lost? Comments alone, as Debian's package brings them, say nothing. */
export function isTaken(path: string): boolean {
  if (!existsSync(path)) return false
  return readFileSync(path, 'utf8')
    .split('\n')
    .some((line) => !/^\s*([#;].*)?$/.test(line))
}
