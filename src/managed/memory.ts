import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import { ensureDirectory, writeDurably } from '../durable-file.ts'
import type { Wish } from './wish.ts'

/** A request that was made for a managed certificate, and what it asks for. */
export type MadeRequest = { readonly csrPem: string; readonly wish: Wish }

/** What was installed where; `holdsKey` where the private key can be read from it. */
export type InstalledFile = { readonly path: string; readonly sha256: string; readonly holdsKey: boolean }

/** What we remember of a managed certificate, beside the files that are installed. */
export type CertificateMemory = {
  /** Asked for, not installed yet. */
  readonly next?: MadeRequest
  readonly current?: MadeRequest & { readonly serial: string; readonly files: readonly InstalledFile[] }
  /** The hook has not run for what is installed. */
  readonly hookDue?: Pause
  /** It could not be had, or not be installed. */
  readonly trouble?: Trouble
}

/** `wasThere`: the certificate was, and could not be installed. */
export type Trouble = Pause & { readonly reason: string; readonly wasThere: boolean }

export type Pause = { readonly failures: number; readonly retryAtMs: number }

const fileName = 'certificate.json'

/** @throws Error when it is damaged */
export async function readMemory(folder: string): Promise<CertificateMemory> {
  const path = join(folder, fileName)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return {}
  try {
    return parseMemory(JSON.parse(text))
  } catch (cause) {
    throw new Error(`${path} is damaged: move it away, and the certificate is ordered anew`, { cause })
  }
}

/** Durable when resolved. */
export async function writeMemory(folder: string, memory: CertificateMemory): Promise<void> {
  await ensureDirectory(folder)
  await writeDurably(join(folder, fileName), `${JSON.stringify(memory, undefined, 1)}\n`)
}

function parseMemory(value: unknown): CertificateMemory {
  if (!isJsonObject(value)) throw new TypeError('no object')
  const { next, current, hookDue, trouble } = value
  return {
    ...(isJsonObject(next) ? { next: parseRequest(next) } : {}),
    ...(isJsonObject(current) ? { current: { ...parseRequest(current), ...parseInstalled(current) } } : {}),
    ...(isJsonObject(hookDue) ? { hookDue: parsePause(hookDue) } : {}),
    ...(isJsonObject(trouble) ? { trouble: parseTrouble(trouble) } : {}),
  }
}

function parseRequest({ csrPem, wish }: JsonObject): MadeRequest {
  if (!isJsonObject(wish)) throw new TypeError('no wish')
  return { csrPem: textOf(csrPem), wish: Object.fromEntries(Object.entries(wish).map(([k, v]) => [k, textOf(v)])) }
}

function parseInstalled({ serial, files }: JsonObject): { serial: string; files: InstalledFile[] } {
  const list: unknown[] = Array.isArray(files) ? files : []
  return {
    serial: textOf(serial),
    files: list.filter(isJsonObject).map(({ path, sha256, holdsKey }) => ({
      ...{ path: textOf(path), sha256: textOf(sha256), holdsKey: holdsKey === true },
    })),
  }
}

function parseTrouble(trouble: JsonObject): Trouble {
  return { ...parsePause(trouble), reason: textOf(trouble.reason), wasThere: trouble.wasThere === true }
}

function parsePause({ failures, retryAtMs }: JsonObject): Pause {
  if (typeof failures !== 'number' || typeof retryAtMs !== 'number') throw new TypeError('no pause')
  return { failures, retryAtMs }
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('no text')
  return value
}
