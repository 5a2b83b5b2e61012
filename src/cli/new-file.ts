import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeDurably } from '../durable-file.ts'

/**
 * Writes a configuration where none is, for us and our group.
 * @throws Error when there is a file already
 */
export async function writeNewFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 })
  try {
    await writeDurably(path, text, { mustBeNew: true, mode: 0o640 })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST')
      throw new Error(`${path} is there already, and is left as it is: move it away, or name another file`)
    throw error
  }
}
