import { createSocket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { connect, isIP } from 'node:net'
import { ProblemError } from '../acme/problem.ts'
import { parseReply, type Question, type Reply, readQuestion } from './message.ts'

/** Where a DNS server listens. */
export type DnsServer = { readonly host: string; readonly port: number }

/**
 * Sends one message over TCP (RFC 7766) and returns what comes back. TCP, because an answer that must be believed
 * should not come from whoever guesses 16 bits.
 * @throws ProblemError `dns`, to be tried again
 */
export async function exchange(
  server: DnsServer,
  message: Uint8Array,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Reply> {
  return readReply(server, await exchangeOctets(server, message, timeoutMs, signal), message)
}

/** The same, the answer as it came: for who looks at its signature. */
export function exchangeOctets(
  server: DnsServer,
  message: Uint8Array,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...server, signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) })
    const fail = (reason: string, cause?: unknown) => {
      socket.destroy()
      reject(networkTrouble(server, reason, cause))
    }
    let received = Buffer.alloc(0)
    socket.on('connect', () =>
      socket.write(Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message])),
    )
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
      socket.destroy()
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)))
    })
    socket.on('end', () => fail('closed the connection without an answer'))
    socket.on('error', (cause: NodeJS.ErrnoException) => fail(reasonOf(cause, timeoutMs), cause))
  })
}

/**
 * Sends one question as a datagram. What does not fit to the question, by its number or by its name, is not heard.
 * @throws ProblemError `dns`, to be tried again
 */
export async function exchangeDatagrams(
  server: DnsServer,
  message: Uint8Array,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Reply> {
  const address = await addressOf(server)
  const untilThen = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  return await new Promise((resolve, reject) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4')
    let open = true
    const end = (act: () => void) => {
      if (!open) return
      open = false
      untilThen.removeEventListener('abort', onAbort)
      socket.close()
      act()
    }
    const fail = (cause: NodeJS.ErrnoException) =>
      end(() => reject(networkTrouble(server, reasonOf(cause, timeoutMs), cause)))
    const onAbort = () => fail(Object.assign(new Error('aborted'), { name: 'AbortError' }))
    untilThen.addEventListener('abort', onAbort)
    if (untilThen.aborted) return onAbort()
    socket.on('error', fail)
    socket.on('message', (octets) => {
      try {
        const reply = readReply(server, octets, message)
        end(() => resolve(reply))
      } catch {
        // Somebody guesses, or an answer to an earlier question is late: ours may still come.
      }
    })
    // Connected, so that nobody else is heard, and a port where nobody listens is known at once.
    // Without a callback: that would be called for a connection that fails, too, and the error not be emitted.
    socket.on('connect', () => socket.send(message, (error) => error !== null && fail(error)))
    socket.connect(server.port, address)
  })
}

/** The answer to this question. @throws ProblemError when it is none */
export function readReply(server: DnsServer, octets: Uint8Array, message: Uint8Array): Reply {
  let reply: Reply
  try {
    reply = parseReply(octets)
  } catch (cause) {
    throw networkTrouble(server, 'sent something that is no DNS message', cause)
  }
  const asked = readQuestion(message)
  // Some servers leave the question out when they refuse.
  const [said] = reply.questions
  if (reply.id !== Buffer.from(message).readUInt16BE(0) || (said !== undefined && !isSame(said, asked)))
    throw networkTrouble(server, 'answered another question')
  return reply
}

function isSame(one: Question, other: Question): boolean {
  return one.name === other.name && one.type === other.type
}

async function addressOf(server: DnsServer): Promise<string> {
  if (isIP(server.host) !== 0) return server.host
  try {
    return (await lookup(server.host)).address
  } catch (cause) {
    throw networkTrouble(server, 'has no address', cause)
  }
}

export function formatDnsServer({ host, port }: DnsServer): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function networkTrouble(server: DnsServer, reason: string, cause?: unknown): ProblemError {
  return new ProblemError('dns', `the DNS server ${formatDnsServer(server)} ${reason}`, {
    retry: { when: 'backoff' },
    cause,
  })
}

function reasonOf(cause: NodeJS.ErrnoException, timeoutMs: number): string {
  return cause.name === 'AbortError' || cause.name === 'TimeoutError'
    ? `did not answer within ${timeoutMs} ms`
    : `cannot be reached (${cause.code})`
}

/** `host`, `host:port`, `[v6]:port` or a bare IPv6 address. @throws Error with a sentence for the operator */
export function parseDnsServer(text: string): DnsServer {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+))(?::(\d{1,5}))?$/.exec(text)
  if (match !== null && Number(match[3] ?? 53) <= 65535)
    return { host: match[1] ?? match[2] ?? '', port: Number(match[3] ?? 53) }
  if (/^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/.test(text)) return { host: text, port: 53 }
  throw new Error(`${JSON.stringify(text)} is no DNS server; write 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53`)
}
