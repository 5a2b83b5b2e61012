const pinPattern = /^sha256\/\/[A-Za-z0-9+/]{43}=$/

/** Where another acmems is: its origin. @throws Error with a sentence for the operator */
export function parseHubUrl(text: string): string {
  if (!URL.canParse(text)) throw new Error(`${JSON.stringify(text)} is no URL; write https://hub.example:1313`)
  const url = new URL(text)
  const { protocol, hostname, username, password, pathname, search, hash, origin } = url
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || /^127\.[\d.]+$/.test(hostname)
  if (protocol !== 'https:' && !(protocol === 'http:' && isLoopback))
    throw new Error('a server is reached over https:// (plain http:// only on this machine)')
  if (username !== '' || password !== '' || search !== '' || hash !== '' || !['/', '/sign'].includes(pathname))
    throw new Error(`${JSON.stringify(text)} has more than a name and a port; write ${origin}`)
  return origin
}

/** As curl has it: one, or several with semicolons between them. @throws Error with a sentence for the operator */
export function parsePins(text: string): readonly string[] {
  const pins = text.split(';')
  for (const pin of pins)
    if (!pinPattern.test(pin))
      throw new Error(`${JSON.stringify(pin)} is no pin; write sha256//BASE64, the SHA-256 of the server's public key`)
  return pins
}

/** @throws Error with a sentence for the operator */
export function checkTrust(origin: string, pins: readonly string[], caFile: string | undefined): void {
  if (pins.length > 0 && caFile !== undefined)
    throw new Error('a pin is checked instead of the certificate: give pin or ca-file, not both')
  if (pins.length > 0 && !origin.startsWith('https:')) throw new Error('a pin needs a server with https://')
}
