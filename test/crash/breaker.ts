// Breaks one write, of a state or of files, in one of the ways in which a write breaks.
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { basename } from 'node:path'

/**
 * `failed`: nothing was written, and it says so; `failed but persisted`: it was written, and it says that it was not;
 * `half`: a file got its first half; `failing from then on`: nothing is written any more, until it is mended.
 */
export type Breakage = 'failed' | 'failed but persisted' | 'half' | 'failing from then on'

export interface Breaker {
  /** The writes so far, broken or not: `orders.save#2` is the second of its kind. */
  readonly writes: readonly string[]
  /** Did it come to the write that it was to break? */
  readonly hasBroken: boolean
  mend(): void
  /** Does the write, or does not. */
  around<T>(label: string, write: () => Promise<T>, half?: () => Promise<unknown>): Promise<T>
}

/** @param point which write; undefined breaks none */
export function createBreaker(point: string | undefined, breakage: Breakage, makeError: () => Error): Breaker {
  const writes: string[] = []
  const counts = new Map<string, number>()
  let hasBroken = false
  let mended = false
  return {
    writes,
    get hasBroken() {
      return hasBroken
    },
    mend() {
      mended = true
    },
    async around(label, write, half) {
      const nth = (counts.get(label) ?? 0) + 1
      counts.set(label, nth)
      const name = `${label}#${nth}`
      writes.push(name)
      const isBroken = name === point || (hasBroken && breakage === 'failing from then on')
      if (!isBroken || mended) return await write()
      hasBroken = true
      if (breakage === 'failed but persisted') await closeIfOpen(await write())
      if (breakage === 'half') await half?.()
      throw makeError()
    },
  }
}

/** A file that was opened, which nobody will know. */
async function closeIfOpen(result: unknown): Promise<void> {
  if (typeof result === 'object' && result !== null && Symbol.asyncDispose in result)
    await (result as AsyncDisposable)[Symbol.asyncDispose]()
}

/** The same object, with these methods broken where the breaker says so. */
export function breakWrites<T extends object>(
  target: T,
  name: string,
  writes: readonly (keyof T)[],
  breaker: Breaker,
): T {
  const broken = writes.map((key) => [
    key,
    (...args: unknown[]) =>
      breaker.around(`${name}.${String(key)}`, async () => {
        const method = target[key] as (...given: unknown[]) => unknown
        return await Reflect.apply(method, target, args)
      }),
  ])
  return { ...target, ...(Object.fromEntries(broken) as Partial<T>) }
}

/** As SQLite says it. */
export function fullDisk(): Error {
  return Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 })
}

/** As the system says it. */
export function fileError(code: 'ENOSPC' | 'EIO' | 'EROFS'): Error {
  const words = { ENOSPC: 'no space left on device', EIO: 'i/o error', EROFS: 'read-only file system' }
  return Object.assign(new Error(`${code}: ${words[code]}, write`), { code })
}

const breakers = new Map<string, Breaker>()
let isPatched = false

/** Breaks the writes to files below this folder, as everything in this process makes them. */
export function breakFiles(folder: string, breaker: Breaker): Disposable {
  patchFiles()
  breakers.set(folder, breaker)
  return { [Symbol.dispose]: () => breakers.delete(folder) }
}

function breakerOf(path: unknown): Breaker | undefined {
  return [...breakers].find(([folder]) => String(path).startsWith(`${folder}/`))?.[1]
}

/** The temporary file of src/durable-file.ts by the name that it will have; folders are alike. */
function fileOf(path: unknown): string {
  const name = basename(String(path))
  return /^\.(.+)\.\d+\.\d+\.tmp$/.exec(name)?.[1] ?? (name.includes('.') ? name : 'a folder')
}

type Method = (this: unknown, ...args: unknown[]) => Promise<unknown>

function replace(owner: object, name: string, make: (former: Method) => Method): void {
  const former = Reflect.get(owner, name) as Method
  Object.defineProperty(owner, name, { value: make(former), configurable: true, writable: true })
}

function patchFiles(): void {
  if (isPatched) return
  isPatched = true
  for (const name of ['rename', 'link', 'mkdir', 'rm'])
    replace(fs, name, (former) => async (...args) => {
      const act = () => former(...args)
      return await (breakerOf(args[0])?.around(`${name} ${fileOf(args[name === 'rename' ? 1 : 0])}`, act) ?? act())
    })
  replace(fs, 'open', (former) => async (...args) => {
    const [path, flags] = args
    const breaker = flags === undefined || flags === 'r' ? undefined : breakerOf(path)
    if (breaker === undefined) return await former(...args)
    const handle = (await breaker.around(`open ${fileOf(path)}`, () => former(...args))) as fs.FileHandle
    replace(handle, 'sync', (sync) => () => breaker.around(`sync ${fileOf(path)}`, () => sync.call(handle)))
    replace(handle, 'writeFile', (write) => (content) => {
      const octets = Buffer.from(content as string)
      const put = (part: Uint8Array) => write.call(handle, part)
      return breaker.around(
        `write ${fileOf(path)}`,
        () => put(octets),
        () => put(octets.subarray(0, octets.length / 2)),
      )
    })
    return handle
  })
  syncBuiltinESMExports()
}
