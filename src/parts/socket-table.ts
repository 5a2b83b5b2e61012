import { readFileSync } from 'node:fs'
import { endianness } from 'node:os'

/** What a socket is for, as `/proc/PID/net` has it. */
export type SocketEntry = {
  readonly transport: 'tcp' | 'udp' | 'unix'
  readonly local: string
  /** Of a connection. */
  readonly remote: string | undefined
}

const tcpListening = '0A'

/** By inode, for the network that this process is in. */
export function readSocketTable(pid: number): Map<string, SocketEntry> {
  const entries = new Map<string, SocketEntry>()
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6'] as const)
    for (const line of readLines(pid, table)) {
      const [, local = '', remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/)
      const transport = table.startsWith('tcp') ? 'tcp' : 'udp'
      const isOpen = transport === 'udp' || state === tcpListening
      entries.set(inode, {
        transport,
        local: formatEndpoint(local),
        remote: isOpen ? undefined : formatEndpoint(remote),
      })
    }
  for (const line of readLines(pid, 'unix')) {
    const [, , , , , , inode = '', ...path] = line.trim().split(/\s+/)
    entries.set(inode, { transport: 'unix', local: path.join(' '), remote: undefined })
  }
  return entries
}

function readLines(pid: number, table: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/net/${table}`, 'latin1').trim().split('\n').slice(1)
  } catch {
    // A machine without IPv6, or a process that is gone.
    return []
  }
}

/** `0100007F:1F90`: words of 32 bits as this machine has them, then the port. */
export function formatEndpoint(hex: string): string {
  const [words = '', port = ''] = hex.split(':')
  const octets = (words.match(/.{8}/g) ?? []).flatMap((word) => {
    const four = [...Buffer.from(word, 'hex')]
    return endianness() === 'LE' ? four.reverse() : four
  })
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((octets[2 * i] ?? 0) << 8) | (octets[2 * i + 1] ?? 0)).toString(16),
  )
  const host = octets.length === 4 ? octets.join('.') : new URL(`http://[${groups.join(':')}]`).hostname
  return `${host}:${Number.parseInt(port, 16)}`
}
