import { asProblemError, ProblemError } from '../acme/problem.ts'
import { type DnsServer, formatDnsServer } from '../dns/exchange.ts'
import { type LookupContext, lookUp } from '../dns/lookup.ts'
import { queryFlag, type Reply, rcodeName, recordType } from '../dns/message.ts'
import { addressOf, type Caa, caaOf, nameOf } from '../dns/rdata.ts'

/** What one resolver knows of a name. */
export type NameView = {
  readonly from: string
  /** Where the CNAME records lead, one after another. */
  readonly way: readonly string[]
  readonly addresses: readonly string[]
  /** `bogus`: a validating resolver refuses what others would tell. */
  readonly outcome: 'found' | 'nothing' | 'bogus' | 'unknown'
  readonly authentic: boolean
  /** Why nothing is known. */
  readonly reason: string
}

const code = { noError: 0, servFail: 2, nxDomain: 3, refused: 5 }
const maxClimb = 12

/** A reply that says something, and whether it is only told to who does not want signatures looked at. */
type Heard = { readonly reply: Reply; readonly from: DnsServer; readonly bogus: boolean }

/** @throws ProblemError when no server says anything; `retry.when` is `never` when one did answer */
async function hear(servers: readonly DnsServer[], name: string, type: number, context: LookupContext): Promise<Heard> {
  let failure = new ProblemError('dns', 'this machine has no DNS resolver', { retry: { when: 'backoff' } })
  for (const from of servers) {
    try {
      const reply = await lookUp(from, name, type, context, queryFlag.authentic)
      if (reply.rcode === code.noError || reply.rcode === code.nxDomain) return { reply, from, bogus: false }
      const unchecked =
        reply.rcode === code.servFail ? await lookUp(from, name, type, context, queryFlag.unchecked) : reply
      if (unchecked.rcode === code.noError || unchecked.rcode === code.nxDomain)
        return { reply: unchecked, from, bogus: true }
      const words = `${formatDnsServer(from)} answered ${rcodeName(reply.rcode)} when asked for ${name}`
      failure = new ProblemError('dns', words, { cause: reply.rcode })
    } catch (error) {
      if (context.signal.aborted) throw error
      failure = asProblemError(error)
    }
  }
  throw failure
}

/** Addresses and CNAME records of a name, and whether they are signed. */
export async function viewName(servers: readonly DnsServer[], name: string, context: LookupContext): Promise<NameView> {
  const none = { from: servers.map(formatDnsServer).join(', '), way: [], addresses: [], authentic: false, reason: '' }
  try {
    const [v6, v4] = await Promise.all(
      [recordType.aaaa, recordType.a].map((type) => hear(servers, name, type, context)),
    )
    if (v6 === undefined || v4 === undefined) return { ...none, outcome: 'unknown' }
    const addresses = [v6, v4].flatMap(({ reply }) =>
      reply.answers
        .filter(({ type }) => type === recordType.a || type === recordType.aaaa)
        .map(({ rdata }) => addressOf(rdata)),
    )
    return {
      from: formatDnsServer(v4.from),
      way: v4.reply.answers.filter(({ type }) => type === recordType.cname).map(({ rdata }) => nameOf(rdata)),
      addresses,
      outcome: v4.bogus || v6.bogus ? 'bogus' : addresses.length === 0 ? 'nothing' : 'found',
      authentic: v4.reply.authentic && v6.reply.authentic,
      reason: v4.reply.rcode === code.nxDomain ? 'there is no such name' : 'the name has no address',
    }
  } catch (error) {
    return { ...none, outcome: 'unknown', reason: asProblemError(error).message }
  }
}

export type CaaView =
  | { readonly at: string; readonly records: readonly Caa[] }
  /** `definite`: a CA gets the same answer, and must not issue (RFC 8659 §5.5, the CAs' own rules). */
  | { readonly reason: string; readonly definite: boolean }

/** RFC 8659 §3: the name's own CAA records, or those of the nearest name above that has any. */
export async function viewCaa(servers: readonly DnsServer[], name: string, context: LookupContext): Promise<CaaView> {
  const labels = name.split('.')
  for (let i = 0; i < Math.min(labels.length, maxClimb); i++) {
    const at = labels.slice(i).join('.')
    try {
      const { reply, bogus } = await hear(servers, at, recordType.caa, context)
      if (bogus) return { reason: `the DNSSEC signatures of ${at} are not good`, definite: true }
      const records = reply.answers.filter(({ type }) => type === recordType.caa).map(({ rdata }) => caaOf(rdata))
      if (records.length > 0) return { at, records }
    } catch (error) {
      const { message, retry, cause } = asProblemError(error)
      // A server that only speaks for its own zones was asked for what is above them.
      if (i > 0 && cause === code.refused) break
      return { reason: message, definite: retry.when === 'never' && cause !== code.refused }
    }
  }
  return { at: name, records: [] }
}
