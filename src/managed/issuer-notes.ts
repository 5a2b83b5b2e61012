import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isJsonObject } from '../acme/json-object.ts'
import { ensureDirectory, writeDurably } from '../durable-file.ts'
import { sha256Of } from './output-files.ts'

/** A certificate has at most a current request and a next one. */
const maxNotes = 4

/** Which issuer a request is for. Only the server knows its issuers: whoever makes requests knows but their names. */
export interface IssuerNotes {
  /** A request that is new is for today's issuer. Durable when resolved. */
  issuerOf(csrPem: string): Promise<string>
}

export function createIssuerNotes(path: string, issuerKey: string): IssuerNotes {
  async function read(): Promise<[string, string][]> {
    try {
      const value: unknown = JSON.parse(await readFile(path, 'utf8'))
      if (!isJsonObject(value)) return []
      return Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
    } catch {
      // Lost: all there is counts as today's, which orders nothing that need not be.
      return []
    }
  }

  return {
    async issuerOf(csrPem) {
      const digest = sha256Of(Buffer.from(csrPem, 'latin1'))
      const notes = await read()
      const noted = notes.find(([key]) => key === digest)?.[1]
      if (noted !== undefined) return noted
      await ensureDirectory(dirname(path))
      const kept = [...notes.slice(1 - maxNotes), [digest, issuerKey]]
      await writeDurably(path, `${JSON.stringify(Object.fromEntries(kept), undefined, 1)}\n`)
      return issuerKey
    },
  }
}
