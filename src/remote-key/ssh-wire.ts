/** Strings and numbers as SSH writes them (RFC 4251 §5). */

export function sshString(content: Uint8Array | string): Buffer {
  const bytes = Buffer.from(content)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

export function sshNumber(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** Reads one after the other. @throws RangeError where the bytes end too early */
export class SshReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes)
  }

  number(): number {
    const value = this.#bytes.readUInt32BE(this.#at)
    this.#at += 4
    return value
  }

  string(): Buffer {
    const length = this.number()
    if (this.#at + length > this.#bytes.length) throw new RangeError('a string is cut off')
    const value = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return value
  }
}

/** A number of arbitrary length as so many octets. @throws RangeError when it does not fit */
export function fixedWidth(number: Uint8Array, width: number): Buffer {
  const bytes = Buffer.from(number)
  const start = bytes.findIndex((byte) => byte !== 0)
  const digits = start < 0 ? Buffer.alloc(0) : bytes.subarray(start)
  if (digits.length > width) throw new RangeError('a number is too long')
  return Buffer.concat([Buffer.alloc(width - digits.length), digits])
}
