import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import { UsageError } from './usage-error.ts'

/**
 * Asks a person before what cannot be undone.
 * @throws UsageError where nobody can be asked and `--yes` was not given; Error when the answer is no
 */
export async function confirm(what: string, yes: boolean): Promise<void> {
  if (yes) return
  if (process.stdin.isTTY !== true)
    throw new UsageError(`${what}? This cannot be undone, and there is no terminal to ask at: say --yes to do it`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    // Ctrl-C and Ctrl-D close it without an answer.
    const closed = once(terminal, 'close').then(() => 'no')
    const answer = await Promise.race([terminal.question(`${what}? This cannot be undone. [y/N] `), closed])
    if (!/^y(es)?$/i.test(answer.trim())) throw new Error('nothing was done')
  } finally {
    terminal.close()
  }
}
