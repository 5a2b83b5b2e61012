import { connect } from 'node:net'
import { ProblemError } from '../acme/problem.ts'
import { parseReply, type Reply } from './message.ts'

/** Where a DNS server listens. */
export type DnsServer = { readonly host: string; readonly port: number }

/**
 * Sends one message over TCP (RFC 7766) and returns what comes back. TCP, because an answer that must be believed
 * should not come from whoever guesses 16 bits.
 * @throws ProblemError `dns`, to be tried again
 */
export function exchange(
  server: DnsServer,
  message: Uint8Array,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Reply> {
  const where = `${server.host}:${server.port}`
  return new Promise((resolve, reject) => {
    const socket = connect({ ...server, signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) })
    const fail = (reason: string, cause?: unknown) => {
      socket.destroy()
      reject(new ProblemError('dns', `the DNS server ${where} ${reason}`, { retry: { when: 'backoff' }, cause }))
    }
    let received = Buffer.alloc(0)
    socket.on('connect', () =>
      socket.write(Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message])),
    )
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
      try {
        const reply = parseReply(received.subarray(2, 2 + received.readUInt16BE(0)))
        if (reply.id !== Buffer.from(message).readUInt16BE(0)) return fail('answered another question')
        socket.destroy()
        resolve(reply)
      } catch (cause) {
        fail('sent something that is no DNS message', cause)
      }
    })
    socket.on('end', () => fail('closed the connection without an answer'))
    socket.on('error', (cause: NodeJS.ErrnoException) =>
      fail(
        cause.name === 'AbortError' ? `did not answer within ${timeoutMs} ms` : `cannot be reached (${cause.code})`,
        cause,
      ),
    )
  })
}

/** `host`, `host:port`, `[v6]:port` or a bare IPv6 address. @throws Error with a sentence for the operator */
export function parseDnsServer(text: string): DnsServer {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+))(?::(\d{1,5}))?$/.exec(text)
  if (match !== null && Number(match[3] ?? 53) <= 65535)
    return { host: match[1] ?? match[2] ?? '', port: Number(match[3] ?? 53) }
  if (/^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/.test(text)) return { host: text, port: 53 }
  throw new Error(`${JSON.stringify(text)} is no DNS server; write 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53`)
}
