/** What a TLS client asks for before anything is answered. */
export type ClientHello = { readonly serverName: string | undefined; readonly protocols: readonly string[] }

const handshakeRecord = 22
const clientHelloMessage = 1
const maxRecordBytes = 16 * 1024
const recordHeadBytes = 5
const extensionType = { serverName: 0, alpn: 16 } as const

/**
 * Reads the first record of a TLS connection (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301 §3.1).
 * @returns undefined while octets are missing
 * @throws RangeError when it is no ClientHello in one record
 */
export function readClientHello(octets: Buffer): ClientHello | undefined {
  if (octets.length > 0 && octets[0] !== handshakeRecord) throw new RangeError('no TLS handshake')
  if (octets.length < recordHeadBytes) return undefined
  const recordBytes = octets.readUInt16BE(3)
  if (octets[1] !== 3 || recordBytes > maxRecordBytes) throw new RangeError('no TLS record')
  if (octets.length < recordHeadBytes + recordBytes) return undefined
  return parseHello(octets.subarray(recordHeadBytes, recordHeadBytes + recordBytes))
}

/** Every read is checked by Buffer itself: past the end is a RangeError. */
function parseHello(message: Buffer): ClientHello {
  if (message.readUInt8(0) !== clientHelloMessage || message.readUIntBE(1, 3) + 4 !== message.length)
    throw new RangeError('no ClientHello, or one in pieces')
  let position = 4 + 2 + 32
  position += 1 + message.readUInt8(position) // session id
  position += 2 + message.readUInt16BE(position) // cipher suites
  position += 1 + message.readUInt8(position) // compression methods
  const extensions = message.subarray(position + 2)
  if (position === message.length) return { serverName: undefined, protocols: [] }
  if (message.readUInt16BE(position) !== extensions.length) throw new RangeError('extensions of another length')
  let serverName: string | undefined
  let protocols: readonly string[] = []
  for (let at = 0; at < extensions.length; ) {
    const [type, length] = [extensions.readUInt16BE(at), extensions.readUInt16BE(at + 2)]
    const content = extensions.subarray(at + 4, at + 4 + length)
    if (content.length !== length) throw new RangeError('an extension that is cut off')
    if (type === extensionType.serverName) serverName = readServerName(content)
    if (type === extensionType.alpn) protocols = readProtocols(content)
    at += 4 + length
  }
  return { serverName, protocols }
}

/** The one host name (type 0) that there may be. */
function readServerName(content: Buffer): string {
  const length = content.readUInt16BE(3)
  if (content.readUInt16BE(0) !== content.length - 2 || content.readUInt8(2) !== 0 || length !== content.length - 5)
    throw new RangeError('a server name that cannot be read')
  return content.toString('latin1', 5)
}

function readProtocols(content: Buffer): string[] {
  if (content.readUInt16BE(0) !== content.length - 2) throw new RangeError('protocols that cannot be read')
  const protocols: string[] = []
  for (let at = 2; at < content.length; ) {
    const length = content.readUInt8(at)
    if (length === 0 || at + 1 + length > content.length) throw new RangeError('a protocol that is cut off')
    protocols.push(content.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return protocols
}
