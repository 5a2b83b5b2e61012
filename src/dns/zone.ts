import { asProblemError, ProblemError } from '../acme/problem.ts'
import { type DnsServer, formatDnsServer } from './exchange.ts'
import type { LookupContext, Resolver } from './lookup.ts'
import { type Reply, recordType } from './message.ts'
import { addressOf, nameOf } from './rdata.ts'

/** Where a name really is: behind CNAMEs, in a zone, on the zone's servers. */

const maxCnames = 8

/**
 * The name where the chain of CNAME records ends; the name itself without any. Who refuses to say knows of none: a
 * server that only speaks for its own zones. @throws ProblemError `dns`
 */
export async function followCnames(resolver: Resolver, name: string, context: LookupContext): Promise<string> {
  const way = [name]
  for (let last = name; ; ) {
    const next = await targetOf(resolver, last, context)
    if (next === undefined) return last
    const loops = way.includes(next)
    way.push(next)
    if (loops) throw new ProblemError('dns', `the CNAME records lead in a circle: ${way.join(' -> ')}`)
    if (way.length > maxCnames + 1)
      throw new ProblemError('dns', `more than ${maxCnames} CNAME records one after another: ${way.join(' -> ')}`)
    last = next
  }
}

async function targetOf(resolver: Resolver, name: string, context: LookupContext): Promise<string | undefined> {
  const reply = await unlessRefused(resolver.ask(name, recordType.cname, context))
  const cname = reply?.answers.find((record) => record.type === recordType.cname && record.name === name)
  return cname === undefined ? undefined : nameOf(cname.rdata)
}

/**
 * The zone is where its SOA record is: the server names it in the answer, or, when the name is below it, beside it.
 * @throws ProblemError `dns`
 */
export async function findZone(resolver: Resolver, fqdn: string, context: LookupContext): Promise<string> {
  const labels = fqdn.split('.')
  let refusal: unknown
  for (let i = 0; i < labels.length; i++) {
    const name = labels.slice(i).join('.')
    const reply = await resolver.ask(name, recordType.soa, context).catch((error: unknown) => {
      if (asProblemError(error).retry.when !== 'never') throw error
      refusal = error
      return undefined
    })
    if (reply === undefined) continue
    const soa = [...reply.answers, ...reply.authority].find(({ type }) => type === recordType.soa)
    if (soa !== undefined && soa.name !== '' && (name === soa.name || name.endsWith(`.${soa.name}`))) return soa.name
    refuseReferral(reply, name)
  }
  const asked = resolver.servers.map(formatDnsServer).join(', ')
  throw new ProblemError('dns', `the DNS server ${asked} knows no zone for ${fqdn}`, { cause: refusal })
}

/** A server of the parent zone says who has the zone, and would take an update that nobody ever sees. */
function refuseReferral(reply: Reply & { readonly from: DnsServer }, name: string): void {
  const isReferral = reply.rcode === 0 && !reply.authoritative && !reply.recursive && reply.answers.length === 0
  const delegation = reply.authority.find((record) => record.type === recordType.ns && record.name !== '')
  if (!isReferral || delegation === undefined || !`.${name}`.endsWith(`.${delegation.name}`)) return
  throw new ProblemError(
    'dns',
    `the DNS server ${formatDnsServer(reply.from)} has delegated ${delegation.name} to ${nameOf(delegation.rdata)}: name a server of that zone, or a resolver that looks further`,
  )
}

/** A server that speaks for a zone, at one of its addresses. */
export type Nameserver = DnsServer & { readonly name: string }

export type Nameservers = {
  readonly zone: string
  readonly servers: readonly Nameserver[]
  /** Servers of the zone for which no address could be found. */
  readonly unknown: readonly string[]
}

/**
 * The servers of the zone that a name is in, at all their addresses.
 * @param others asked for addresses that the first does not know: a server that only speaks for its own zones
 * @throws ProblemError `dns`
 */
export async function findNameservers(
  resolver: Resolver,
  others: Resolver,
  fqdn: string,
  context: LookupContext,
): Promise<Nameservers> {
  const zone = await findZone(resolver, fqdn, context)
  const reply = await resolver.ask(zone, recordType.ns, context)
  const names = reply.answers.filter(({ type }) => type === recordType.ns).map(({ rdata }) => nameOf(rdata))
  const found = await Promise.all(
    [...new Set(names)].map(async (name) => {
      const known = await addressesOf(resolver, name, context)
      const addresses = known.length > 0 || resolver === others ? known : await addressesOf(others, name, context)
      return { name, addresses }
    }),
  )
  return {
    zone,
    servers: found.flatMap(({ name, addresses }) => addresses.map((host) => ({ name, host, port: 53 }))),
    unknown: found.filter(({ addresses }) => addresses.length === 0).map(({ name }) => name),
  }
}

async function addressesOf(resolver: Resolver, name: string, context: LookupContext): Promise<string[]> {
  const replies = await Promise.all(
    [recordType.a, recordType.aaaa].map(async (type) => {
      // What cannot be found out is reported as not known; others of the zone may do.
      const reply = await resolver.ask(name, type, context).catch(() => undefined)
      return (reply?.answers ?? []).filter((record) => record.type === type).map(({ rdata }) => addressOf(rdata))
    }),
  )
  return [...new Set(replies.flat())]
}

async function unlessRefused<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (asProblemError(error).retry.when === 'never') return undefined
    throw error
  }
}
