import { type InetSocket, readInetSockets, readNetTable } from '../http/inet-sockets.ts'

/** What a socket is for, as `/proc/PID/net` has it. */
export type SocketEntry = Omit<InetSocket, 'transport'> & { readonly transport: InetSocket['transport'] | 'unix' }

/** By inode, for the network that this process is in. */
export function readSocketTable(pid: number): Map<string, SocketEntry> {
  const entries = new Map<string, SocketEntry>(readInetSockets(pid))
  for (const line of readNetTable(pid, 'unix')) {
    const [, , , , , , inode = '', ...path] = line.trim().split(/\s+/)
    entries.set(inode, { transport: 'unix', local: path.join(' '), remote: undefined })
  }
  return entries
}
