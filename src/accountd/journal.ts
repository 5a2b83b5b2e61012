import { closeSync, openSync, writeSync } from 'node:fs'

/** lacme-accountd's levels: what is always said, what --quiet hides from standard error, what only --debug shows. */
export type Level = 'always' | 'usual' | 'debug'

export interface Journal extends Disposable {
  say(level: Level, text: string): void
  reopen(): void
}

const order: readonly Level[] = ['always', 'usual', 'debug']

/** lacme-accountd's two places: standard error as far as it was asked for, a file with the time in front. */
export function createJournal(
  shown: Level,
  logFile: string | undefined,
  nowMs: () => number,
  toStderr: (text: string) => void,
): Journal {
  // lacme's is made with the caller's umask; what is in it is for nobody else.
  const open = () => (logFile === undefined ? undefined : openSync(logFile, 'a', 0o600))
  let fd = open()
  const upTo = order.indexOf(shown)
  return {
    say(level, text) {
      const line = oneLine(text)
      const index = order.indexOf(level)
      if (index <= upTo) toStderr(`${line}\n`)
      if (fd === undefined || index > Math.max(upTo, order.indexOf('usual'))) return
      try {
        writeSync(fd, `[${localTime(nowMs())}] ${line}\n`)
      } catch {
        // A full disk is no reason not to sign; the audit log is what must be complete.
      }
    },
    reopen() {
      const next = open()
      if (fd !== undefined) closeSync(fd)
      fd = next
    },
    [Symbol.dispose]() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

/** As C's ctime and Perl's localtime write it: Sun Nov  1 06:50:23 2026 */
function localTime(atMs: number): string {
  const date = new Date(atMs)
  const [weekday, month, , year, time] = date.toString().split(' ')
  return `${weekday} ${month} ${String(date.getDate()).padStart(2)} ${time} ${year}`
}

/** What a client sent cannot begin a line of its own, nor move a terminal's cursor. */
function oneLine(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
