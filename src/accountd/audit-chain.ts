import { hash } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { isJsonObject } from '../acme/json-object.ts'

/** Lines of JSON, each with the hash of the one before: what is changed, or taken out of the middle, shows. */
export interface AuditChain extends Disposable {
  /** @throws Error when it cannot be written; what it is about must then not happen */
  note(event: Readonly<Record<string, unknown>>): void
  /** After the file was moved away: the new one goes on where the old one ends. */
  reopen(): void
  readonly head: string
}

const firstPrevious = '0'.repeat(64)
const tailBytes = 1024 * 1024

export function openAuditChain(path: string, nowMs: () => number): AuditChain {
  let fd = openSync(path, 'a+', 0o600)
  let head = lastHash(fd)

  function write(event: Readonly<Record<string, unknown>>): void {
    const line = JSON.stringify({ at: new Date(nowMs()).toISOString(), ...event, previous: head })
    const bytes = Buffer.from(`${line}\n`)
    const { size } = fstatSync(fd)
    if (writeSync(fd, bytes) !== bytes.length) {
      ftruncateSync(fd, size)
      throw new Error(`${path} could be written in part only: is the disk full?`)
    }
    head = hash('sha256', line, 'hex')
  }

  return {
    note: write,
    reopen() {
      const next = openSync(path, 'a+', 0o600)
      const isSame = fstatSync(next).ino === fstatSync(fd).ino
      closeSync(fd)
      fd = next
      if (!isSame && fstatSync(fd).size > 0) head = lastHash(fd)
    },
    get head() {
      return head
    },
    [Symbol.dispose]: () => closeSync(fd),
  }
}

/** Goes on behind what is there; a line that a crash cut off is closed, and shows as broken. */
function lastHash(fd: number): string {
  const { size } = fstatSync(fd)
  if (size === 0) return firstPrevious
  const length = Math.min(size, tailBytes)
  const tail = Buffer.alloc(length)
  readSync(fd, tail, 0, length, size - length)
  if (tail.at(-1) !== 10) writeSync(fd, '\n')
  const text = tail.toString().replace(/\n$/, '')
  return hash('sha256', text.slice(text.lastIndexOf('\n') + 1), 'hex')
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
