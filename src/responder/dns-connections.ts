import type { Socket } from 'node:net'
import type { AnswerPacket } from './dns-responder.ts'
import { networkOf } from './response-rates.ts'

export type DnsConnectionLimits = {
  readonly maxConnections: number
  /** Of one network, so that nobody takes them all. */
  readonly maxPerNetwork: number
  /** Without a whole question for so long, a connection ends (RFC 7766 §6.2.3). */
  readonly idleMs: number
  /** Questions of one connection that are worked on at once; more are read later. */
  readonly maxPipelined: number
}

export const usualConnectionLimits: DnsConnectionLimits = {
  maxConnections: 500,
  maxPerNetwork: 100,
  idleMs: 10_000,
  maxPipelined: 32,
}

/** Who does not read what he asked for. */
const maxUnsentBytes = 256 * 1024
const lengthBytes = 2

export interface DnsConnections {
  take(socket: Socket): void
  /** Ends what has been idle for too long. */
  sweep(): void
  closeAll(): void
}

type Connection = { readonly socket: Socket; readonly network: string; lastQuestionAtMs: number }

/** DNS over TCP (RFC 7766): messages behind their length, several at once, answered as they are ready. */
export function createDnsConnections(
  answer: AnswerPacket,
  monotonicMs: () => number,
  limits: DnsConnectionLimits = usualConnectionLimits,
): DnsConnections {
  const open = new Set<Connection>()

  function makeRoom(network: string): void {
    const ofNetwork = [...open].filter((connection) => connection.network === network)
    // The one that has been silent for longest goes: a newcomer may be the validator.
    const crowd =
      ofNetwork.length >= limits.maxPerNetwork ? ofNetwork : open.size >= limits.maxConnections ? [...open] : []
    const [longest] = crowd.sort((left, right) => left.lastQuestionAtMs - right.lastQuestionAtMs)
    longest?.socket.destroy()
    if (longest !== undefined) open.delete(longest)
  }

  function take(socket: Socket): void {
    const remoteAddress = socket.remoteAddress ?? ''
    const network = networkOf(remoteAddress) ?? 'this machine'
    makeRoom(network)
    const connection: Connection = { socket, network, lastQuestionAtMs: monotonicMs() }
    open.add(connection)
    let received: Buffer = Buffer.alloc(0)
    let answering = 0
    let ended = false

    const finish = () => {
      if (ended && answering === 0) socket.end()
    }
    const reply = async (packet: Buffer) => {
      const message = await answer(packet, 'tcp', remoteAddress)
      answering -= 1
      // What gets no answer at all is no DNS client.
      if (message === undefined) socket.destroy()
      if (socket.destroyed || message === undefined) return
      const length = Buffer.alloc(lengthBytes)
      length.writeUInt16BE(message.length)
      socket.write(Buffer.concat([length, message]))
      if (socket.writableLength > maxUnsentBytes) socket.destroy()
      else read()
      finish()
    }
    const read = () => {
      while (answering < limits.maxPipelined && received.length >= lengthBytes) {
        const end = lengthBytes + received.readUInt16BE(0)
        if (received.length < end) break
        const packet = received.subarray(lengthBytes, end)
        received = received.subarray(end)
        connection.lastQuestionAtMs = monotonicMs()
        answering += 1
        void reply(packet)
      }
      if (answering >= limits.maxPipelined) socket.pause()
      else socket.resume()
    }
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
      read()
    })
    socket.on('end', () => {
      ended = true
      finish()
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => open.delete(connection))
  }

  return {
    take,
    sweep() {
      const nowMs = monotonicMs()
      for (const { socket, lastQuestionAtMs } of open) if (nowMs - lastQuestionAtMs > limits.idleMs) socket.destroy()
    },
    closeAll() {
      for (const { socket } of open) socket.destroy()
    },
  }
}
