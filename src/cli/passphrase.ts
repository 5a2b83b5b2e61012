import { openSync } from 'node:fs'
import { ReadStream } from 'node:tty'

/** Asks at the terminal, wherever standard input comes from; what is typed is not shown. @throws Error without one */
export async function askPassphrase(prompt: string): Promise<string> {
  const terminal = openTerminal()
  // First: who types at once must not see it.
  terminal.setRawMode(true)
  process.stderr.write(prompt)
  try {
    let typed = ''
    for await (const chunk of terminal) {
      for (const character of String(chunk)) {
        if (character === '\r' || character === '\n') return typed
        if (character === '\u0003' || (character === '\u0004' && typed === ''))
          throw new Error('no pass phrase was given')
        // Control and U, as at any terminal: from the beginning.
        if (character === '\u0015') typed = ''
        else typed = character === '\u007f' || character === '\b' ? typed.slice(0, -1) : typed + character
      }
    }
    throw new Error('no pass phrase was given')
  } finally {
    process.stderr.write('\n')
    if (!terminal.destroyed) terminal.setRawMode(false)
    terminal.destroy()
  }
}

function openTerminal(): ReadStream {
  try {
    return new ReadStream(openSync('/dev/tty', 'r+'))
  } catch (cause) {
    throw new Error('the key is locked by a pass phrase, and there is no terminal to ask at: set passphrase-file', {
      cause,
    })
  }
}
