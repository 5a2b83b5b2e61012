import { hash } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { isJsonObject } from '../acme/json-object.ts'
import { holdLock, openLockFile } from '../lock-file.ts'

/** Lines of JSON, each with the hash of the one before: what is changed, or taken out of the middle, shows. */
export interface AuditChain extends Disposable {
  /** @throws Error when it cannot be written; what it is about must then not happen */
  note(event: Readonly<Record<string, unknown>>): void
  /** After the file was moved away: the new one goes on where the old one ends. */
  reopen(): void
  readonly head: string
}

const firstPrevious = '0'.repeat(64)
/** Most lines are short; a few may be long. */
const shortTailBytes = 16 * 1024
const longTailBytes = 1024 * 1024

/** Another one holds the lock for as long as a line takes. */
const lockMs = 5000

/**
 * Several processes may write to it: with --stdio there is one for each connection. Each looks, before it writes, what
 * the others have written.
 */
export function openAuditChain(path: string, nowMs: () => number): AuditChain {
  const lock = openLock(`${path}.lock`)
  let fd = openSync(path, 'a+', 0o600)
  let head = firstPrevious
  let knownSize = 0

  /** What is empty was moved or cut away: the chain goes on all the same. */
  function goOn(): void {
    const { size } = fstatSync(fd)
    if (size !== knownSize && size > 0) head = lastHash(fd)
  }

  function follow(): void {
    const next = openSync(path, 'a+', 0o600)
    closeSync(fd)
    fd = next
    knownSize = 0
  }

  function write(event: Readonly<Record<string, unknown>>): void {
    goOn()
    const there = statSync(path, { throwIfNoEntry: false })
    // Another one has opened a new file already.
    if (there !== undefined && there.ino !== fstatSync(fd).ino) {
      follow()
      goOn()
    }
    const line = JSON.stringify({ at: new Date(nowMs()).toISOString(), ...event, previous: head })
    const bytes = Buffer.from(`${line}\n`)
    const { size } = fstatSync(fd)
    if (writeSync(fd, bytes) !== bytes.length) {
      ftruncateSync(fd, size)
      throw new Error('it could be written in part only: is the disk full?')
    }
    head = hash('sha256', line, 'hex')
    knownSize = size + bytes.length
  }

  return {
    note(event) {
      try {
        if (lock !== undefined) holdLock(lock)
        try {
          write(event)
        } finally {
          lock?.exec('rollback')
        }
      } catch (cause) {
        throw new Error(`the audit log ${path}: ${cause instanceof Error ? cause.message : 'unknown reason'}`, {
          cause,
        })
      }
    },
    reopen() {
      goOn()
      follow()
    },
    get head() {
      return head
    },
    [Symbol.dispose]: () => {
      closeSync(fd)
      lock?.close()
    },
  }
}

/** undefined: the folder is not ours to write to; then no more than one process is expected. */
function openLock(path: string): DatabaseSync | undefined {
  try {
    return openLockFile(path, lockMs)
  } catch {
    return undefined
  }
}

/** Goes on behind what is there; a line that a crash cut off is closed, and shows as broken. */
function lastHash(fd: number, tailBytes = shortTailBytes): string {
  const { size } = fstatSync(fd)
  const tail = Buffer.alloc(Math.min(size, tailBytes))
  readSync(fd, tail, 0, tail.length, size - tail.length)
  const text = tail.toString().replace(/\n$/, '')
  const before = text.lastIndexOf('\n')
  if (before < 0 && tail.length < size && tailBytes < longTailBytes) return lastHash(fd, longTailBytes)
  if (tail.at(-1) !== 10) writeSync(fd, '\n')
  return hash('sha256', text.slice(before + 1), 'hex')
}

export type ChainCheck = { readonly lines: number; readonly head: string; readonly flaw?: string }

/** @param files in their order in time, as rotation left them. @throws Error when one cannot be read */
export function checkAuditChain(files: readonly string[]): ChainCheck {
  let head: string | undefined
  let lines = 0
  for (const file of files) {
    const text = readFileSync(file, 'utf8')
    for (const [index, line] of text.replace(/\n$/, '').split('\n').entries()) {
      if (text === '') break
      const previous = previousOf(line)
      const where = `${file}:${index + 1}`
      if (previous === undefined) return { lines, head: head ?? firstPrevious, flaw: `${where}: no line of ours` }
      if (head !== undefined && previous !== head)
        return { lines, head, flaw: `${where}: it does not follow the line before` }
      head = hash('sha256', line, 'hex')
      lines += 1
    }
  }
  return { lines, head: head ?? firstPrevious }
}

function previousOf(line: string): string | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return isJsonObject(value) && typeof value.previous === 'string' ? value.previous : undefined
  } catch {
    return undefined
  }
}
