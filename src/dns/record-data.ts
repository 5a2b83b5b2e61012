// The data of the records that we serve (RFC 1035 §3.3), as octets.

/** One character string of at most 255 octets. */
export function txtData(value: string): Buffer {
  return characterString(value)
}

export function nameData(name: string): Buffer {
  return Buffer.concat([...name.split('.').filter(Boolean).map(characterString), Buffer.of(0)])
}

export type Soa = {
  readonly primary: string
  /** A mail address. */
  readonly hostmaster: string
  readonly negativeSeconds: number
}

const serial = 1 // nothing is ever transferred, so nobody compares it
const [refreshSeconds, retrySeconds, expireSeconds] = [3600, 600, 86_400]

export function soaData({ primary, hostmaster, negativeSeconds }: Soa): Buffer {
  const numbers = Buffer.alloc(20)
  for (const [index, value] of [serial, refreshSeconds, retrySeconds, expireSeconds, negativeSeconds].entries())
    numbers.writeUInt32BE(value, index * 4)
  return Buffer.concat([nameData(primary), mailboxData(hostmaster), numbers])
}

/** RFC 1035 §8: what stands before the `@` is one label, dots and all. */
function mailboxData(address: string): Buffer {
  const at = address.indexOf('@')
  if (at < 0) return nameData(address)
  return Buffer.concat([characterString(address.slice(0, at)), nameData(address.slice(at + 1))])
}

/** RFC 8482 §4.2: what ANY gets where there is something. */
export const any8482Data = Buffer.concat([characterString('RFC8482'), characterString('')])

function characterString(text: string): Buffer {
  const octets = Buffer.from(text, 'latin1')
  if (octets.length > 255) throw new RangeError('a text of more than 255 octets')
  return Buffer.concat([Buffer.of(octets.length), octets])
}
