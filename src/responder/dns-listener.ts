import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server } from 'node:net'
import { hasInherited, takeInherited } from '../http/inherited-sockets.ts'
import { boundAddressOf, describeListenFailure, hostAndPort } from '../http/listen-address.ts'
import { listenAt } from '../http/listener.ts'
import { createDnsConnections, type DnsConnectionLimits } from './dns-connections.ts'
import type { AnswerPacket } from './dns-responder.ts'

/** One address at which questions arrive, by UDP and by TCP. */
export interface DnsListener {
  readonly address: string
  readonly boundAddress: string
  close(graceMs: number): Promise<void>
}

const sweepMs = 1000
const portAttempts = 5

/**
 * @param address `host:port` or `[v6%zone]:port`
 * @throws Error naming the address when it cannot be listened on
 */
export async function openDnsListener(
  address: string,
  answer: AnswerPacket,
  monotonicMs: () => number,
  limits?: DnsConnectionLimits,
): Promise<DnsListener> {
  const connections = createDnsConnections(answer, monotonicMs, limits)
  const { server, udp } = await bindBoth(address)
  server.on('connection', (socket) => connections.take(socket))
  udp.on('message', (packet, remote) => void answerDatagram(udp, packet, remote, answer))
  // A client that is gone (ICMP) is no reason to stop.
  udp.on('error', () => undefined)
  const sweep = setInterval(() => connections.sweep(), sweepMs)
  sweep.unref()
  return {
    address,
    boundAddress: boundAddressOf(server, address),
    async close() {
      clearInterval(sweep)
      const closed = [
        new Promise<void>((resolve) => server.close(() => resolve())),
        new Promise<void>((resolve) => udp.close(() => resolve())),
      ]
      connections.closeAll()
      await Promise.all(closed)
    },
  }
}

async function answerDatagram(
  udp: UdpSocket,
  packet: Buffer,
  { address, port }: RemoteInfo,
  answer: AnswerPacket,
): Promise<void> {
  // Port nought cannot be answered, and 53 would be another server's: two that answer each other never end.
  if (port === 0) return
  const reply = await answer(packet, 'udp', address)
  if (reply === undefined) return
  try {
    // With a callback, what goes wrong on the way comes here and not as an event.
    udp.send(reply, port, address, () => undefined)
  } catch {
    // Closed meanwhile.
  }
}

/** The same port for both; where the system chooses it, it may be free for only one of them. */
async function bindBoth(address: string): Promise<{ server: Server; udp: UdpSocket }> {
  const { host, port } = hostAndPort(address)
  const listen = async (): Promise<Server> => {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    await listenAt(server, address)
    return server
  }
  // An inherited one that is closed cannot be had again: what may fail comes first.
  if (port !== 0 && hasInherited('tcp', address)) {
    const udp = await bindUdp(address, host, port)
    try {
      return { server: await listen(), udp }
    } catch (error) {
      udp.close()
      throw error
    }
  }
  for (let attempt = 1; ; attempt++) {
    const server = await listen()
    const chosen = server.address()
    try {
      const taken = typeof chosen === 'object' && chosen !== null ? chosen.port : port
      return { server, udp: await bindUdp(address, host, taken) }
    } catch (error) {
      await new Promise<void>((resolve) => server.close(() => resolve()))
      if (port !== 0 || attempt >= portAttempts) throw error
    }
  }
}

function bindUdp(address: string, host: string, port: number): Promise<UdpSocket> {
  return new Promise((resolve, reject) => {
    const isIpv6 = host.includes(':')
    const udp = createSocket({ type: isIpv6 ? 'udp6' : 'udp4', ipv6Only: isIpv6 })
    const fail = (error: NodeJS.ErrnoException) => {
      udp.close()
      reject(describeListenFailure(`${address} by UDP${isTcpThere ? ' (for TCP, a socket was passed on)' : ''}`, error))
    }
    udp.once('error', fail)
    const isTcpThere = hasInherited('tcp', address)
    const inherited = takeInherited('udp', address)
    udp.bind(inherited === undefined ? { address: host, port, exclusive: true } : { fd: inherited }, () => {
      udp.off('error', fail)
      resolve(udp)
    })
  })
}
