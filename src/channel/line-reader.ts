/** One line of what a peer sent. Whatever it sends, no more than a line's worth of it is kept. */
export type Line =
  | { readonly kind: 'line'; readonly text: string }
  /** Not ended by CR LF, or longer than may be: nothing after it can be understood. */
  | { readonly kind: 'broken'; readonly why: string; readonly text?: string }

/** Cuts octets into lines. After a broken one there are no more. */
export interface LineReader {
  push(chunk: Uint8Array): Line[]
  /** Octets of a line that has begun and not ended. */
  readonly pendingBytes: number
}

export function createLineReader(maxBytes: number): LineReader {
  let parts: Buffer[] = []
  let length = 0
  let isBroken = false

  function broken(why: string, text?: string): Line {
    isBroken = true
    parts = []
    length = 0
    return { kind: 'broken', why, ...(text === undefined ? {} : { text }) }
  }

  return {
    push(chunk) {
      const lines: Line[] = []
      let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      while (!isBroken && rest.length > 0) {
        const end = rest.indexOf(10)
        const part = end < 0 ? rest : rest.subarray(0, end + 1)
        rest = rest.subarray(part.length)
        length += part.length
        if (length > maxBytes) {
          lines.push(broken(`line of more than ${maxBytes} octets`))
          break
        }
        // A copy: the chunk is a piece of a larger buffer, which a slow peer would keep alive.
        if (end < 0) {
          parts.push(Buffer.from(part))
          break
        }
        const text = (parts.length === 0 ? part : Buffer.concat([...parts, part])).toString('latin1')
        parts = []
        length = 0
        if (text.endsWith('\r\n')) lines.push({ kind: 'line', text: text.slice(0, -2) })
        else lines.push(broken('line without CR at its end', text.slice(0, -1)))
      }
      return lines
    },
    get pendingBytes() {
      return length
    },
  }
}
