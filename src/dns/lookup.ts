import { getServers } from 'node:dns'
import { asProblemError, ProblemError } from '../acme/problem.ts'
import { type DnsServer, exchange, exchangeDatagrams, formatDnsServer, parseDnsServer } from './exchange.ts'
import { encodeQuery, type Reply, rcodeName } from './message.ts'

/** What a question needs of the world. */
export type LookupContext = { readonly signal: AbortSignal; randomBytes(length: number): Uint8Array }

/** RFC 9715 §3: what comes through everywhere in one piece. */
const udpOctets = 1232
const datagramTimeoutsMs = [1000, 1500]
const streamTimeoutMs = 2000
const code = { noError: 0, formErr: 1, nxDomain: 3, notImp: 4, refused: 5 }

/**
 * Asks one server: by datagrams first, by TCP when the answer is too long, too old a server does not know EDNS, or
 * nothing came back. @throws ProblemError `dns`, to be tried again, when it cannot be reached
 * @param flags of `queryFlag`
 */
export async function lookUp(
  server: DnsServer,
  name: string,
  type: number,
  context: LookupContext,
  flags = 0,
): Promise<Reply> {
  for (const timeoutMs of datagramTimeoutsMs) {
    const query = encodeQuery(messageId(context), name, type, udpOctets, flags)
    try {
      const reply = await exchangeDatagrams(server, query, timeoutMs, context.signal)
      if (reply.truncated || reply.rcode === code.formErr || reply.rcode === code.notImp) break
      return reply
    } catch (error) {
      if (context.signal.aborted) throw error
    }
  }
  return await exchange(
    server,
    encodeQuery(messageId(context), name, type, undefined, flags),
    streamTimeoutMs,
    context.signal,
  )
}

/** Asks servers in their order until one knows. */
export interface Resolver {
  readonly servers: readonly DnsServer[]
  /**
   * An answer, or that there is none (NXDOMAIN, or no such record).
   * @throws ProblemError `dns`: `backoff` when none answers; `never` when all refuse to
   */
  ask(name: string, type: number, context: LookupContext): Promise<Reply & { readonly from: DnsServer }>
}

export function createResolver(servers: readonly DnsServer[]): Resolver {
  return {
    servers,
    async ask(name, type, context) {
      let failure = new ProblemError('dns', 'there is no DNS resolver: name one with resolver = ADDRESS')
      for (const server of servers) {
        try {
          const reply = await lookUp(server, name, type, context)
          if (reply.rcode === code.noError || reply.rcode === code.nxDomain) return { ...reply, from: server }
          failure = new ProblemError(
            'dns',
            `the DNS server ${formatDnsServer(server)} answered ${rcodeName(reply.rcode)} when asked for ${name}`,
            { retry: { when: reply.rcode === code.refused ? 'never' : 'backoff' } },
          )
        } catch (error) {
          if (context.signal.aborted) throw error
          failure = asProblemError(error)
        }
      }
      throw failure
    },
  }
}

/** Those of the machine, as they are now. */
export function systemServers(): DnsServer[] {
  return getServers().flatMap((text) => {
    try {
      return [parseDnsServer(text)]
    } catch {
      return [] // An address with a zone index, which we cannot write down.
    }
  })
}

export function messageId(context: Pick<LookupContext, 'randomBytes'>): number {
  const [high = 0, low = 0] = context.randomBytes(2)
  return high * 256 + low
}
