// Ports for peers, which are told their port and cannot be asked for it afterwards.
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

// Below the ephemeral range (32768 and up on Linux), where any outgoing connection could take the port meanwhile.
const FIRST_PORT = 10_400
const PORTS_PER_PROCESS = 100
const RANGES = 223

/** Ports that are this process's to look at; the next one, and the one after the last. */
type Range = { next: number; readonly end: number }

let range: Promise<Range> | undefined

/** Between the look at a port and the peer that takes it, no other test process looks there. */
async function takeRange(): Promise<Range> {
  for (let tried = 0; tried < RANGES; tried++) {
    const one = (process.pid + tried) % RANGES
    const first = FIRST_PORT + one * PORTS_PER_PROCESS
    if (await holdWhileAlive(`range-${one}`)) return { next: first, end: first + PORTS_PER_PROCESS }
  }
  throw new Error('every range of ports is held by another test process')
}

/**
 * Whether this process has it from now on, and no other. By a name in the abstract namespace (unix(7)), which is, as ports
 * are, the network namespace's, and gone with the process.
 */
function holdWhileAlive(what: string): Promise<boolean> {
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

/** On any IPv4 address, by TCP and UDP. */
async function isFree(port: number): Promise<boolean> {
  return (await bindsTcp(port, '127.0.0.1')) && (await bindsTcp(port, '0.0.0.0')) && (await bindsUdp(port))
}

/** A port that nothing listens on, on any IPv4 address, TCP or UDP. Never the same one twice in a process. */
export async function freePort(): Promise<number> {
  for (;;) {
    range ??= takeRange()
    const taken = range
    const held = await taken
    while (held.next < held.end) {
      const port = held.next++
      if (await isFree(port)) return port
    }
    // Used up; it goes on being held. Another caller may have another one already.
    if (range === taken) range = undefined
  }
}

/** One below 1024 that is free, and no other test's. */
export async function freePrivilegedPort(): Promise<number> {
  for (let port = 900 + ((process.pid * 7) % 100); port < 1024; port++)
    if ((await isFree(port)) && (await holdWhileAlive(`port-${port}`))) return port
  throw new Error('no port below 1024 is free')
}
