import { parseAuthority } from '../signature/authority.ts'

/** Readers for option values that several plugins and sections share. Each throws a sentence for the operator. */

export function parseYesNo(text: string): boolean {
  const word = text.toLowerCase()
  if (['yes', 'true', 'on', '1'].includes(word)) return true
  if (['no', 'false', 'off', '0'].includes(word)) return false
  throw new Error(`${JSON.stringify(text)} is neither yes nor no`)
}

/** `yes` in any spelling as "yes", anything else by the given reader. */
export function parseYesOr(read: (text: string) => string): (text: string) => string {
  return (text) => (['yes', 'true', 'on', '1'].includes(text.toLowerCase()) ? 'yes' : read(text))
}

/** `4k`, `1m`, `512`: octets. */
export function parseSize(text: string): number {
  const match = /^(\d{1,12})\s*([kmg]?)b?$/i.exec(text)
  if (match === null) throw new Error(`${JSON.stringify(text)} is no size; write 4096, 4k or 1m`)
  const unit = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[(match[2] ?? '').toLowerCase()] ?? 1
  const bytes = Number(match[1]) * unit
  if (bytes < 1 || bytes > 1024 ** 3) throw new Error('a size must be between 1 byte and 1g')
  return bytes
}

/** `14` (days, acmems' unit), `36h`, `14d`, `2w`: milliseconds. */
export function parseDays(text: string): number {
  const match = /^(\d{1,6})\s*([hdw]?)$/i.exec(text)
  if (match === null) throw new Error(`${JSON.stringify(text)} is no time span; write 14 or 14d (days), 36h or 2w`)
  const hours = { '': 24, h: 1, d: 24, w: 168 }[(match[2] ?? '').toLowerCase()] ?? 24
  return Number(match[1]) * hours * 3_600_000
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`${JSON.stringify(text)} is no whole number above zero`)
  return Number(text)
}

/** A whole number of seconds, which may be none. */
export function parseSeconds(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new Error(`${JSON.stringify(text)} is no whole number of seconds`)
  return Number(text)
}

/** `host:port`, `[v6]:port`, `[v6%zone]:port`. */
export function parseTcpListener(text: string): string {
  if (text.startsWith('/') || text.startsWith('unix:'))
    throw new Error('a unix socket is of no use here; give an address and a port')
  const match = /^(\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(text)
  if (match === null) {
    throw new Error(
      `${JSON.stringify(text)} is no listener; write 192.0.2.1:1313, [2001:db8::1]:1313 or [fe80::1%eth0]:1313`,
    )
  }
  if (Number(match[2]) > 65535) throw new Error('a port is at most 65535')
  return text
}

/** What parseTcpListener takes, `unix:/path`, or `fd:3` for a socket that was opened before us. */
export function parseListener(text: string): string {
  if (text.startsWith('/')) throw new Error(`a unix socket is written unix:${text}`)
  if (/^unix:\/.{1,106}$/.test(text) || /^fd:\d{1,4}$/.test(text)) return text
  return parseTcpListener(text)
}

/** `hub.example`, `hub.example:1313`, `[2001:db8::1]:1313`: in lower case, without a default port. */
export function parsePublicName(text: string): string {
  const authority = parseAuthority(text)
  if (authority === undefined)
    throw new Error(`${JSON.stringify(text)} is no name of a server; write hub.example or hub.example:1313`)
  return authority
}

export function parseAbsolutePath(text: string): string {
  if (!text.startsWith('/')) throw new Error(`${JSON.stringify(text)} is no absolute path`)
  return text
}
