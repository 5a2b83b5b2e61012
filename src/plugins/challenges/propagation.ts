import { asProblemError, ProblemError } from '../../acme/problem.ts'
import { type DnsServer, formatDnsServer } from '../../dns/exchange.ts'
import { lookUp, type Resolver } from '../../dns/lookup.ts'
import { type Reply, rcodeName, recordType, txtValue } from '../../dns/message.ts'
import { nameOf, soaOf } from '../../dns/rdata.ts'
import { findNameservers, type Nameserver } from '../../dns/zone.ts'
import type { PluginContext, TxtRecord } from '../../plugin-api.ts'

export type PropagationSettings = {
  /** Asked in the place of the zone's own servers. */
  readonly nameservers: readonly DnsServer[]
  readonly timeoutMs: number
}

const firstPauseMs = 500
const longestPauseMs = 10_000
/** After this the order goes on by itself: the record is there, only not everywhere. */
const resumeAfterMs = 60_000
const code = { noError: 0, nxDomain: 3 }

/** What a server says of the record. */
type Sight =
  | { readonly is: 'shown' }
  | { readonly is: 'missing'; readonly said: string }
  /** It is not known what validators get from it: it cannot be reached from here, or does not talk to us. */
  | { readonly is: 'unknown'; readonly reason: string }

/**
 * Waits until every server of the zone shows the value, because a validator may ask any of them. Only a definite
 * wrong answer is waited for; what cannot be told from here is noted, and the CA decides.
 * @param others see findNameservers
 * @throws ProblemError `dns` naming the server that lags and what it said
 */
export async function waitUntilShown(
  record: TxtRecord,
  settings: PropagationSettings,
  resolver: Resolver,
  others: Resolver,
  context: PluginContext,
): Promise<void> {
  const { log } = context
  const asked = await whomToAsk(record, settings, resolver, others, context)
  if ('reason' in asked) {
    log.warn('the servers of a zone are not known; the CA decides', { name: record.fqdn, reason: asked.reason })
    return
  }
  const deadlineMs = context.clock.monotonicMs() + settings.timeoutMs
  const seen = await Promise.all(
    asked.servers.map(async (server) => ({ server, sight: await watch(server, record, deadlineMs, context) })),
  )
  const lagging = seen.flatMap(({ server, sight }) =>
    sight.is === 'missing' ? [`${describe(server)} says ${sight.said}`] : [],
  )
  if (lagging.length > 0) {
    const waited = `after ${Math.round(settings.timeoutMs / 1000)} s`
    throw new ProblemError(
      'dns',
      `the TXT record of ${record.fqdn} is not on every server of its zone ${waited}: ${lagging.join('; ')}`,
      { retry: { when: 'notBefore', atMs: context.clock.nowMs() + resumeAfterMs } },
    )
  }
  const shown = seen.filter(({ sight }) => sight.is === 'shown').map(({ server }) => server)
  // A server that has shown it at one of its addresses needs no word about another: mostly there is no IPv6 here.
  const isKnown = ({ name }: Asked['servers'][number]) => name !== undefined && shown.some((one) => one.name === name)
  const unasked = [
    ...asked.unknown.map((name) => `${name} has no address`),
    ...seen.flatMap(({ server, sight }) =>
      sight.is === 'unknown' && !isKnown(server) ? [`${describe(server)}: ${sight.reason}`] : [],
    ),
  ]
  if (unasked.length === 0) return
  if (shown.length > 0) log.info('some servers of a zone could not be asked', { name: record.fqdn, servers: unasked })
  else log.warn('no server of a zone could be asked; the CA decides', { name: record.fqdn, servers: unasked })
}

type Asked = {
  readonly servers: readonly (DnsServer & { readonly name?: string })[]
  readonly unknown: readonly string[]
}

async function whomToAsk(
  record: TxtRecord,
  { nameservers }: PropagationSettings,
  resolver: Resolver,
  others: Resolver,
  context: PluginContext,
): Promise<Asked | { readonly reason: string }> {
  if (nameservers.length > 0) return { servers: nameservers, unknown: [] }
  try {
    return await findNameservers(resolver, others, record.fqdn, context)
  } catch (error) {
    if (context.signal.aborted) throw error
    return { reason: asProblemError(error).message }
  }
}

/** Looks at one server, quickly at first and ever more rarely, until it shows the value or the time is over. */
async function watch(
  server: DnsServer,
  record: TxtRecord,
  deadlineMs: number,
  { clock, ...context }: PluginContext,
): Promise<Sight> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 1.5, longestPauseMs)) {
    const sight = await look(server, record, { clock, ...context })
    const leftMs = deadlineMs - clock.monotonicMs()
    if (sight.is !== 'missing' || leftMs <= 0) return sight
    await clock.sleep(Math.min(pauseMs, leftMs), context.signal)
  }
}

async function look(server: DnsServer, { fqdn, value }: TxtRecord, context: PluginContext): Promise<Sight> {
  let reply: Reply
  try {
    reply = await lookUp(server, fqdn, recordType.txt, context)
  } catch (error) {
    if (context.signal.aborted) throw error
    return { is: 'unknown', reason: asProblemError(error).message }
  }
  const values = reply.answers.filter(({ type }) => type === recordType.txt).map(({ rdata }) => txtValue(rdata))
  if (values.includes(value)) return { is: 'shown' }
  if (reply.rcode !== code.noError && reply.rcode !== code.nxDomain)
    return { is: 'unknown', reason: `it answered ${rcodeName(reply.rcode)}` }
  if (!reply.authoritative && !reply.recursive && values.length === 0)
    return { is: 'unknown', reason: 'it does not speak for the zone' }
  return { is: 'missing', said: describeMissing(reply, values) }
}

function describeMissing(reply: Reply, values: readonly string[]): string {
  if (values.length > 0) return `only ${values.map((value) => JSON.stringify(value)).join(', ')}`
  const cname = reply.answers.find(({ type }) => type === recordType.cname)
  if (cname !== undefined) return `that it is a CNAME to ${nameOf(cname.rdata)}`
  const soa = reply.authority.find(({ type }) => type === recordType.soa)
  const serial = soa === undefined ? '' : ` (its zone has the serial ${soaOf(soa.rdata).serial})`
  return `${reply.rcode === code.nxDomain ? 'NXDOMAIN' : 'that there is no TXT record'}${serial}`
}

function describe(server: DnsServer & Partial<Nameserver>): string {
  return server.name === undefined ? formatDnsServer(server) : `${server.name} (${server.host})`
}
