// Ports for peers, which are told their port and cannot be asked for it afterwards.
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

// Below the ephemeral range (32768 and up on Linux), where any outgoing connection could take the port meanwhile.
const FIRST_PORT = 10_400
const PORTS_PER_PROCESS = 100
// A prime, so that test processes, whose pids are near to each other, get different ranges.
const RANGES = 223

const start = Math.floor(Math.random() * PORTS_PER_PROCESS)
let handedOut = 0

function bindsTcp(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

function bindsUdp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.once('error', () => {
      socket.close()
      resolve(false)
    })
    socket.bind({ port, address: '0.0.0.0', exclusive: true }, () => socket.close(() => resolve(true)))
  })
}

/** A port that nothing listens on, on any IPv4 address, TCP or UDP. Never the same one twice in a process. */
export async function freePort(): Promise<number> {
  while (handedOut < PORTS_PER_PROCESS * RANGES) {
    const range = (process.pid + Math.floor(handedOut / PORTS_PER_PROCESS)) % RANGES
    const port = FIRST_PORT + range * PORTS_PER_PROCESS + ((start + handedOut) % PORTS_PER_PROCESS)
    handedOut += 1
    if ((await bindsTcp(port, '127.0.0.1')) && (await bindsTcp(port, '0.0.0.0')) && (await bindsUdp(port))) return port
  }
  throw new Error('no free port is left')
}
