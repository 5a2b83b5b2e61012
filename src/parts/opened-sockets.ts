import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { errorCode } from '../error-code.ts'
import { describeListenFailure, hostAndPort } from '../http/listen-address.ts'
import { socketDescriptors } from './descriptors.ts'

/** Where a part is to listen, and what only root may open. */
export type SocketWish = { readonly protocol: 'tcp' | 'udp'; readonly address: string }

const usualFirstUnprivileged = 1024

/** Below it, a port is for root, or who has CAP_NET_BIND_SERVICE. */
export function firstUnprivilegedPort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
  } catch (error) {
    // systemd's ProcSubset=pid shows no settings of the kernel.
    if (errorCode(error) === 'ENOENT') return usualFirstUnprivileged
    throw error
  }
}

export function isPrivileged(address: string, firstUnprivileged: number): boolean {
  if (address.startsWith('unix:') || address.startsWith('fd:')) return false
  const { port } = hostAndPort(address)
  return port !== 0 && port < firstUnprivileged
}

/**
 * Opens sockets to be inherited by a process that `use` starts; then they are closed here. As long as addresses need no
 * lookup all of it happens within one turn of the event loop: nothing that arrives is taken by us, it waits for the part.
 * @param onMissing told of those that cannot be had, when it may do without
 * @throws Error naming the address that cannot be had
 */
export async function withOpenedSockets<T>(
  wishes: readonly SocketWish[],
  use: (descriptors: readonly number[]) => T,
  onMissing: (error: unknown, wish: SocketWish) => void = (error) => {
    throw error
  },
): Promise<T> {
  const before = socketDescriptors()
  const openings = await Promise.allSettled(wishes.map(openSocket))
  const closings = openings.flatMap((opening) => (opening.status === 'fulfilled' ? (opening.value ?? []) : []))
  try {
    for (const [index, wish] of wishes.entries()) {
      const opening = openings[index]
      if (opening?.status === 'rejected') onMissing(opening.reason, wish)
    }
    // Node.js does not say which descriptor a socket has; the new ones are they, as nothing else was opened meanwhile.
    const opened = [...socketDescriptors()].filter(([fd, target]) => before.get(fd) !== target).map(([fd]) => fd)
    if (opened.length !== closings.length) throw new Error('the sockets that were opened cannot be told from others')
    return use(opened)
  } finally {
    for (const close of closings) close()
  }
}

type Close = () => void

/** undefined: this machine has no IPv6. */
async function openSocket({ protocol, address }: SocketWish): Promise<Close | undefined> {
  try {
    return await (protocol === 'tcp' ? openTcp(address) : openUdp(address))
  } catch (error) {
    const code = errorCode(error)
    if (address.startsWith('[') && (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT')) return undefined
    throw describeListenFailure(address, error as NodeJS.ErrnoException)
  }
}

function openTcp(address: string): Promise<Close> {
  const { host, port } = hostAndPort(address)
  const server = createServer((socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, ipv6Only: host.includes(':') }, () => resolve(() => server.close()))
  })
}

function openUdp(address: string): Promise<Close> {
  const { host, port } = hostAndPort(address)
  const isIpv6 = host.includes(':')
  const socket = createSocket({ type: isIpv6 ? 'udp6' : 'udp4', ipv6Only: isIpv6 })
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close()
      reject(error)
    })
    socket.bind({ address: host, port, exclusive: true }, () => resolve(() => socket.close()))
  })
}
