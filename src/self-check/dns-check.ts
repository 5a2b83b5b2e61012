import { asProblemError } from '../acme/problem.ts'
import { formatDnsServer } from '../dns/exchange.ts'
import { type LookupContext, lookUp, type Resolver } from '../dns/lookup.ts'
import { type Reply, recordType, txtValue } from '../dns/message.ts'
import { nameOf } from '../dns/rdata.ts'
import { findNameservers, findZone, followCnames } from '../dns/zone.ts'
import type { CheckFinding } from '../plugin-api.ts'
import { isPublicAddress } from './public-address.ts'

/** A value that our own DNS server tells, and the way on which a validator should come to it. */
export type DelegatedValue = {
  /** `_acme-challenge.NAME` */
  readonly fqdn: string
  readonly value: string
  /** Where its CNAME should lead; undefined: only a delegation by NS records leads to us. */
  readonly target: string | undefined
  /** The zone that `target` is in. */
  readonly zone: string | undefined
}

export type DnsView = {
  readonly resolver: Resolver
  /** Named as the one that knows the names as the CA does; the machine's may know others. */
  readonly isCaView: boolean
}

/**
 * Looks for a value that our own DNS server tells, as a validator does (RFC 8555 §8.4). Resolvers remember what was: only
 * what a server says of its own zone is a definite answer, and where the view may be another than the CA's only one
 * that is on the Internet.
 */
export async function checkDelegation(
  wanted: DelegatedValue,
  view: DnsView,
  context: LookupContext,
): Promise<CheckFinding> {
  try {
    if (await isShown(wanted, view.resolver, context)) return { outcome: 'visible' }
    return await findTheEnd(wanted, view, context)
  } catch (error) {
    return unknown(asProblemError(error).message)
  }
}

async function isShown({ fqdn, value }: DelegatedValue, resolver: Resolver, context: LookupContext): Promise<boolean> {
  try {
    const { answers } = await resolver.ask(fqdn, recordType.txt, context)
    return answers.some(({ type, rdata }) => type === recordType.txt && txtValue(rdata) === value)
  } catch (error) {
    if (context.signal.aborted) throw error
    // A CNAME into a zone that nobody answers for gets an error, too; the way there says more.
    await resolver.ask(fqdn, recordType.cname, context)
    return false
  }
}

/** Where the way ends that should lead to us. */
async function findTheEnd(wanted: DelegatedValue, view: DnsView, context: LookupContext): Promise<CheckFinding> {
  const { resolver } = view
  const { fqdn, target } = wanted
  const end = await followCnames(resolver, fqdn, context)
  if (end === target || end === fqdn) {
    const zone = await findZone(resolver, end, context)
    const isOurs = end === target ? zone === wanted.zone : zone === fqdn
    if (isOurs) return unknown(`${end} is delegated, but its value cannot be seen (do its NS records lead to us?)`)
    if (end === target && zone !== undefined) return await undelegated(wanted, zone, view, context)
  }
  const asked = await askOwners(fqdn, view, context)
  if (asked === undefined) return unknown(`no server of the zone of ${fqdn} can be asked about it from here`)
  return judgeOwners(wanted, asked)
}

function judgeOwners({ fqdn, target }: DelegatedValue, { reply, from }: OwnersWord): CheckFinding {
  const cname = reply.answers.find(({ type, name }) => type === recordType.cname && name === fqdn)
  const led = cname === undefined ? undefined : nameOf(cname.rdata)
  // From there on it may lead on to us.
  if (led !== undefined && led === target) return unknown(`${fqdn} leads to ${led}`)
  const publish = target === undefined ? 'delegate it to us by NS records' : `publish ${fqdn}. IN CNAME ${target}.`
  const isDelegated = reply.authority.some(({ type, name }) => type === recordType.ns && name === fqdn)
  if (isDelegated && led === undefined) return unknown(`${fqdn} is delegated by NS records`)
  const found = led === undefined ? 'is not there' : `is a CNAME to ${led}, which does not lead to us`
  return { outcome: 'wrong', reason: `${fqdn} ${found} (says ${from}); ${publish}` }
}

async function undelegated(
  { target = '', zone }: DelegatedValue,
  found: string,
  view: DnsView,
  context: LookupContext,
): Promise<CheckFinding> {
  const asked = await askOwners(target, view, context)
  const isReferral = asked?.reply.authority.some(({ type, name }) => type === recordType.ns && name === zone) === true
  const reason = `${target} is in the zone ${found}: ${zone} is not delegated to us by NS records`
  return asked === undefined || isReferral
    ? { outcome: 'unknown', reason }
    : { outcome: 'wrong', reason: `${reason} (says ${asked.from})` }
}

type OwnersWord = { readonly reply: Reply; readonly from: string }

/** What the zone's own servers say; undefined when none can be asked, or might be the wrong ones. */
async function askOwners(name: string, view: DnsView, context: LookupContext): Promise<OwnersWord | undefined> {
  const { resolver, isCaView } = view
  const direct = await resolver.ask(name, recordType.cname, context)
  if (isCaView && direct.authoritative) return { reply: direct, from: formatDnsServer(direct.from) }
  const { servers } = await findNameservers(resolver, resolver, name, context)
  for (const server of servers.filter(({ host }) => isCaView || isPublicAddress(host))) {
    try {
      const reply = await lookUp(server, name, recordType.cname, context)
      const isOwn = reply.authoritative || reply.authority.some(({ type }) => type === recordType.ns)
      if (isOwn && (reply.rcode === 0 || reply.rcode === 3)) return { reply, from: server.name }
    } catch (error) {
      if (context.signal.aborted) throw error
    }
  }
  return undefined
}

function unknown(reason: string): CheckFinding {
  return { outcome: 'unknown', reason }
}
