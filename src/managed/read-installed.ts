import type { KeyObject } from 'node:crypto'
import { readForeignFile } from '../foreign-file.ts'
import { parsePrivateKey } from '../x509/private-key.ts'

/** More than any key, and any chain with its key. */
export const maxInstalledBytes = 1024 * 1024

/** What is where we installed something, or its beginning: its owner may have put there what he likes. */
export async function readInstalled(path: string): Promise<Buffer | undefined> {
  return await readForeignFile(path, maxInstalledBytes)
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
