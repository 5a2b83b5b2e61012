import type { KeyObject } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { parsePrivateKey } from '../x509/private-key.ts'

/** More than any key, and any chain with its key. */
export const maxInstalledBytes = 1024 * 1024

/**
 * What is where we installed something. Its owner may have put there what he likes: of a file without end only so much
 * is read, and nobody waits for the other end of a pipe.
 * @returns undefined: it cannot be read
 */
export async function readInstalled(path: string): Promise<Buffer | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stat = await file.stat()
    if (stat.isFIFO()) return undefined
    const content = Buffer.alloc(Math.min(stat.size, maxInstalledBytes))
    const { bytesRead } = await file.read(content, 0, content.length, 0)
    return content.subarray(0, bytesRead)
  } catch {
    return undefined
  }
}

export async function readKey(path: string): Promise<KeyObject | undefined> {
  const content = await readInstalled(path)
  if (content === undefined) return undefined
  try {
    return parsePrivateKey(content)
  } catch {
    return undefined
  } finally {
    content.fill(0)
  }
}
