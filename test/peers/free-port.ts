// Ports for peers, which are told their port and cannot be asked for it afterwards.
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

// Below the ephemeral range (32768 and up on Linux), where any outgoing connection could take the port meanwhile.
const FIRST_PORT = 10_400
const PORTS_PER_PROCESS = 100
const RANGES = 223

let handedOut = 0
let range: Promise<number> | undefined

/** Between the look at a port and the peer that takes it, no other test process looks there. */
async function takeRange(): Promise<number> {
  for (let tried = 0; tried < RANGES; tried++) {
    const one = (process.pid + tried) % RANGES
    if (await holdWhileAlive(`range-${one}`)) return one
  }
  throw new Error('every range of ports is held by another test process')
}

/**
 * Whether this process has it from now on, and no other. By a name in the abstract namespace (unix(7)), which is, as ports
 * are, the network namespace's, and gone with the process.
 */
export function holdWhileAlive(what: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(`\0acmems-tests-${what}`, () => resolve(true))
    server.unref()
  })
}

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
  range ??= takeRange()
  const firstPort = FIRST_PORT + (await range) * PORTS_PER_PROCESS
  while (handedOut < PORTS_PER_PROCESS) {
    const port = firstPort + handedOut
    handedOut += 1
    if ((await bindsTcp(port, '127.0.0.1')) && (await bindsTcp(port, '0.0.0.0')) && (await bindsUdp(port))) return port
  }
  // This one is used up: those of before go on being held.
  handedOut = 0
  range = takeRange()
  return freePort()
}
