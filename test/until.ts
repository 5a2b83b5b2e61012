// Waiting for what other processes do.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Not yet: look again. A file that is still empty, too. */
type Nothing = undefined | null | false | ''

export interface Patience {
  /** How long a slow machine may take. Only who fails waits for so long. */
  readonly withinMs?: number
  readonly everyMs?: number
  /** Whose logs are shown when it did not come about. */
  readonly logs?: readonly { log(): string }[]
}

/** Looks until there is something, and gives it. What `look` throws is thrown. */
export async function until<T>(
  what: string,
  look: () => T | Nothing | Promise<T | Nothing>,
  { withinMs = 30_000, everyMs = 20, logs = [] }: Patience = {},
): Promise<T> {
  for (const endMs = performance.now() + withinMs; ; await sleep(everyMs)) {
    const found = await look()
    if (found !== undefined && found !== null && found !== false && found !== '') return found
    if (performance.now() > endMs)
      return assert.fail([`not within ${withinMs} ms: ${what}`, ...logs.map((child) => child.log())].join('\n---\n'))
  }
}

/** What another process has written so far. */
export const readSoFar = (file: string): string => (existsSync(file) ? readFileSync(file, 'utf8') : '')

/** A server answers first and writes its log when it has time for it. */
export const untilLogged = (child: { log(): string }, what: RegExp): Promise<true> =>
  until(`${what} in the log`, () => what.test(child.log()), { logs: [child] })
