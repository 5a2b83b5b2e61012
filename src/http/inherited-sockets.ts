import { readlinkSync } from 'node:fs'
import { readInetSockets, type Transport } from './inet-sockets.ts'
import { hostAndPort } from './listen-address.ts'

/** Sockets that were opened before us (systemd, our launcher) and that nobody has listened on yet, by where they are bound. */
const adopted = new Map<string, number>()

/**
 * Remembers inherited sockets by what they are bound to; whoever is to listen there later uses them.
 * @returns what each is bound to, as `tcp 0.0.0.0:80`
 * @throws Error naming a descriptor that is no listening TCP socket and no bound UDP socket
 */
export function adoptSockets(descriptors: readonly number[]): string[] {
  if (descriptors.length === 0) return []
  const sockets = readInetSockets('self')
  return descriptors.map((descriptor) => {
    const socket = sockets.get(inodeOf(descriptor))
    if (socket === undefined || socket.remote !== undefined)
      throw new Error(`descriptor ${descriptor} is no TCP socket that listens, and no UDP socket that is bound`)
    const place = `${socket.transport} ${socket.local}`
    adopted.set(place, descriptor)
    return place
  })
}

/**
 * The inherited socket for an address, once: closed, it is gone, and the next one there is bound anew.
 * @param address `192.0.2.1:80` or `[2001:db8::1]:80`
 */
export function takeInherited(transport: Transport, address: string): number | undefined {
  const place = `${transport} ${canonicalAddress(address)}`
  const descriptor = adopted.get(place)
  adopted.delete(place)
  return descriptor
}

/** Is there one that nobody has taken yet? */
export function hasInherited(transport: Transport, address: string): boolean {
  return adopted.has(`${transport} ${canonicalAddress(address)}`)
}

/** `3-5,8`, as of a flag `--sockets`; nothing where there is none. @throws Error when it is none */
export function parseDescriptors(text = ''): number[] {
  if (text === '') return []
  return text.split(',').flatMap((part) => {
    const [, first, last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part) ?? []
    const [from, to] = [Number(first), Number(last)]
    if (first === undefined || from < 3 || to < from || to - from > 100)
      throw new Error(`--sockets: ${JSON.stringify(text)} names no descriptors; write 3, 3-5 or 3,7`)
    return Array.from({ length: to - from + 1 }, (_, i) => from + i)
  })
}

/** What systemd hands over (sd_listen_fds(3)): it is for us only when it says so. */
export function systemdDescriptors(environment: Readonly<Record<string, string | undefined>>): number[] {
  const { LISTEN_PID, LISTEN_FDS } = environment
  if (LISTEN_PID !== String(process.pid) || !/^[1-9]\d{0,2}$/.test(LISTEN_FDS ?? '')) return []
  return Array.from({ length: Number(LISTEN_FDS) }, (_, i) => 3 + i)
}

/** Empty for what is no socket. */
function inodeOf(descriptor: number): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1] ?? ''
  } catch {
    return ''
  }
}

/** One spelling for an address; a zone is not in the tables. */
function canonicalAddress(address: string): string {
  const { host, port } = hostAndPort(address)
  if (!host.includes(':')) return `${host}:${port}`
  return `${new URL(`http://[${host.replace(/%.*$/, '')}]`).hostname}:${port}`
}
