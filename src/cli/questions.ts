import { createInterface } from 'node:readline'

export interface Questions extends Disposable {
  /**
   * Asks until there is an answer that can be read; an empty one means the one in brackets.
   * @throws Error when whoever is asked goes away
   */
  ask<T>(question: string, usual: string, read: (text: string) => T): Promise<T>
}

/** Asks at the terminal that standard input is. */
export function openQuestions(): Questions {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // What was typed ahead is kept. Ctrl-C and Ctrl-D end it without an answer.
  const lines = terminal[Symbol.asyncIterator]()
  let isClosed = false
  terminal.once('close', () => {
    isClosed = true
  })
  const goneAway = () => new Error('nothing was written')
  return {
    async ask(question, usual, read) {
      for (;;) {
        if (isClosed) throw goneAway()
        terminal.setPrompt(usual === '' ? `${question}: ` : `${question} [${usual}]: `)
        terminal.prompt()
        const { value: answer, done } = await lines.next()
        if (done === true) throw goneAway()
        try {
          return read(answer.trim() || usual)
        } catch (error) {
          process.stderr.write(`  ${error instanceof Error ? error.message : 'that cannot be read'}\n`)
        }
      }
    },
    [Symbol.dispose]() {
      terminal.close()
    },
  }
}

/** @throws Error for anything else */
export function readYesNo(text: string): boolean {
  if (/^y(es)?$/i.test(text)) return true
  if (/^no?$/i.test(text)) return false
  throw new Error('answer yes or no')
}
