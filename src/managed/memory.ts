import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import { ensureDirectory, removeLeftovers, writeDurably } from '../durable-file.ts'
import { errorCode } from '../error-code.ts'
import type { FetchedBox } from '../plugin-api.ts'
import { parseCsrPem } from '../x509/csr.ts'
import type { Wish } from './wish.ts'

/**
 * A request that was made for a managed certificate, and what it asks for. Where the key came in a sealed box the
 * request says whose key it is, and the box is kept, sealed, for repairs.
 */
export type MadeRequest = { readonly csrPem: string; readonly wish: Wish; readonly box?: FetchedBox }

/** What was installed where; `holdsKey` where the private key can be read from it. */
export type InstalledFile = { readonly path: string; readonly sha256: string; readonly holdsKey: boolean }

export type InstalledCertificate = MadeRequest & {
  readonly serial: string
  /** Nothing older takes its place. */
  readonly notBeforeMs?: number
  readonly files: readonly InstalledFile[]
}

/** What we remember of a managed certificate, beside the files that are installed. */
export type CertificateMemory = {
  /** Asked for, not installed yet. */
  readonly next?: MadeRequest
  readonly current?: InstalledCertificate
  /** Files are being written, or were when the process died: they may not belong together. */
  readonly placing?: boolean
  /** The hook has not run for what was installed then. */
  readonly hookDue?: HookDue
  readonly trouble?: Trouble
}

export type Pause = { readonly failures: number; readonly retryAtMs: number }
export type HookDue = Pause & { readonly sinceMs: number }
/** It could not be had, or not be installed. */
export type Trouble = Pause & { readonly reason: string; readonly at: 'ordering' | 'installing' }

const fileName = 'certificate.json'

/** Somebody wrote in our file, or the disk did. */
export class DamagedMemoryError extends Error {
  override readonly name = 'DamagedMemoryError'
}

/** @throws DamagedMemoryError */
export async function readMemory(folder: string): Promise<CertificateMemory> {
  const path = join(folder, fileName)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return {}
  try {
    return parseMemory(JSON.parse(text))
  } catch (cause) {
    throw new DamagedMemoryError(`${path} is damaged: it is put aside at the next look, and the certificate ordered`, {
      cause,
    })
  }
}

/**
 * What cannot be read is kept beside, for whoever wants to know, and the certificate begins anew: a machine that
 * nobody looks at must not lose its certificate for it.
 * @returns where it is kept; undefined: it was in order
 */
export async function setAsideDamaged(folder: string): Promise<string | undefined> {
  await removeLeftovers(folder, fileName)
  try {
    await readMemory(folder)
    return undefined
  } catch (error) {
    if (!(error instanceof DamagedMemoryError)) throw error
    const aside = join(folder, `${fileName}.damaged`)
    await rename(join(folder, fileName), aside)
    return aside
  }
}

/** Durable when resolved. */
export async function writeMemory(folder: string, memory: CertificateMemory): Promise<void> {
  await ensureDirectory(folder)
  await writeDurably(join(folder, fileName), `${JSON.stringify(memory, undefined, 1)}\n`)
}

/** Somebody cured what failed: it is tried again at the next look. */
export async function forgetTrouble(folder: string): Promise<void> {
  const { trouble, ...rest } = await readMemory(folder)
  if (trouble !== undefined) await writeMemory(folder, rest)
}

function parseMemory(value: unknown): CertificateMemory {
  if (!isJsonObject(value)) throw new TypeError('no object')
  const { next, current, hookDue, trouble, placing } = value
  return {
    ...(isJsonObject(next) ? { next: parseRequest(next) } : {}),
    ...(isJsonObject(current) ? { current: { ...parseRequest(current), ...parseInstalled(current) } } : {}),
    ...(placing === true ? { placing } : {}),
    ...(isJsonObject(hookDue) ? { hookDue: { ...parsePause(hookDue), sinceMs: numberOf(hookDue.sinceMs ?? 0) } } : {}),
    ...(isJsonObject(trouble) ? { trouble: parseTrouble(trouble) } : {}),
  }
}

function parseRequest({ csrPem, wish, box }: JsonObject): MadeRequest {
  if (!isJsonObject(wish)) throw new TypeError('no wish')
  parseCsrPem(textOf(csrPem))
  return {
    csrPem: textOf(csrPem),
    wish: Object.fromEntries(Object.entries(wish).map(([key, text]) => [key, textOf(text)])),
    ...(isJsonObject(box) ? { box: parseBox(box) } : {}),
  }
}

function parseBox({ pem, etag }: JsonObject): FetchedBox {
  return { pem: textOf(pem), etag: etag === undefined ? undefined : textOf(etag) }
}

function parseInstalled({ serial, files, notBeforeMs }: JsonObject): Omit<InstalledCertificate, keyof MadeRequest> {
  const list: unknown[] = Array.isArray(files) ? files : []
  return {
    serial: textOf(serial),
    ...(notBeforeMs === undefined ? {} : { notBeforeMs: numberOf(notBeforeMs) }),
    files: list.filter(isJsonObject).map(({ path, sha256, holdsKey }) => ({
      ...{ path: textOf(path), sha256: textOf(sha256), holdsKey: holdsKey === true },
    })),
  }
}

function parseTrouble({ reason, at, ...pause }: JsonObject): Trouble {
  return { ...parsePause(pause), reason: textOf(reason), at: at === 'installing' ? at : 'ordering' }
}

function parsePause({ failures, retryAtMs }: JsonObject): Pause {
  return { failures: numberOf(failures), retryAtMs: numberOf(retryAtMs) }
}

function numberOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new TypeError('no number')
  return value
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('no text')
  return value
}
