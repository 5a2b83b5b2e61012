import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'

/**
 * What is at a place that is somebody else's to fill: of a file without end no more than so much is read, no device is
 * opened (some act on that alone), and nobody waits for the other end of a pipe.
 * @returns undefined: there is no file, or it cannot be read
 */
export async function readForeignFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    if (!(await stat(path)).isFile()) return undefined
    // It may be another one by now.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    const there = await file.stat()
    if (!there.isFile()) return undefined
    const content = Buffer.alloc(Math.min(there.size, maxBytes))
    const { bytesRead } = await file.read(content, 0, content.length, 0)
    return content.subarray(0, bytesRead)
  } catch {
    return undefined
  }
}
