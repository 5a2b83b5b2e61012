import { readFileSync } from 'node:fs'
import { endianness } from 'node:os'

export type Transport = 'tcp' | 'udp'

/** A socket of the network, as `/proc/PID/net` has it (proc_pid_net(5)). */
export type InetSocket = {
  readonly transport: Transport
  /** `192.0.2.1:80` or `[2001:db8::1]:80`. */
  readonly local: string
  /** Of a connection. */
  readonly remote: string | undefined
}

const tcpListening = '0A'
const tables = [
  ['tcp', 'tcp'],
  ['tcp6', 'tcp'],
  ['udp', 'udp'],
  ['udp6', 'udp'],
] as const

/** By inode: those of the network namespace that this process is in. */
export function readInetSockets(pid: number | 'self'): Map<string, InetSocket> {
  const sockets = new Map<string, InetSocket>()
  for (const [table, transport] of tables)
    for (const line of readNetTable(pid, table)) {
      const [, local = '', remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/)
      const isOpen = transport === 'udp' || state === tcpListening
      sockets.set(inode, {
        transport,
        local: addressOfHex(local),
        remote: isOpen ? undefined : addressOfHex(remote),
      })
    }
  return sockets
}

/** Its lines but for the first, which names the columns. */
export function readNetTable(pid: number | 'self', table: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/net/${table}`, 'latin1').trim().split('\n').slice(1)
  } catch {
    // A machine without IPv6, or a process that is gone.
    return []
  }
}

/** `0100007F:1F90`: words of 32 bits as this machine has them, then the port. */
function addressOfHex(hex: string): string {
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
