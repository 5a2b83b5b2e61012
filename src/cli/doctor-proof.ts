import { type Identifier, isWildcard } from '../acme/identifier.ts'
import { asProblemError } from '../acme/problem.ts'
import { type DnsServer, formatDnsServer } from '../dns/exchange.ts'
import { createResolver } from '../dns/lookup.ts'
import { findNameservers, followCnames } from '../dns/zone.ts'
import type { CheckFinding, PluginContext } from '../plugin-api.ts'
import type { NameView } from './doctor-dns.ts'
import type { DoctorFinding } from './doctor-finding.ts'
import type { Instruments, Way } from './doctor-instruments.ts'
import { isOwnAddress, type Rehearsal, rehearse } from './doctor-rehearsal.ts'
import { runningServers } from './running-servers.ts'

/** Would the CA see what proves the name? */
export async function examineProof(
  identifier: Identifier,
  { verification = '' }: Way,
  method: string | undefined,
  seen: NameView,
  servers: readonly DnsServer[],
  named: string | undefined,
  { config, context, desk, mayWrite }: Instruments,
): Promise<DoctorFinding[]> {
  const topic = method ?? 'proof'
  const unclear = (says: string, advice: string): DoctorFinding[] => [{ topic, verdict: 'unclear', says, advice }]
  const chosen = config.verifications.get(verification)
  if (chosen === undefined || (isWildcard(identifier) && method !== 'dns-01')) return []
  if (chosen.plugin.kind === 'dns' && !mayWrite) {
    const zone = await examineZone(identifier, servers, context)
    return [
      zone,
      ...(zone.verdict === 'fails' ? [] : unclear('no record was written', 'try it in earnest with --rehearse')),
    ]
  }
  if (method !== 'dns-01' && method !== undefined && seen.addresses.length === 0) return []
  if (desk === undefined || (await runningServers(desk.state, desk.clock.nowMs())).length === 0)
    return unclear('no acmems runs on this state that could show an answer', 'start it ("acmems serve") and ask again')
  const rehearsal = await rehearse(desk, chosen, identifier, named)
  const shown = chosen.plugin.kind === 'dns' ? 'an answer was written, and the servers of the zone show it' : undefined
  return judgeRehearsal(topic, rehearsal, seen, chosen.options['self-check'] === false, shown)
}

/** Where a provider would write. */
async function examineZone(
  { value }: Identifier,
  servers: readonly DnsServer[],
  context: PluginContext,
): Promise<DoctorFinding> {
  const topic = 'dns-01'
  try {
    const resolver = createResolver(servers)
    const fqdn = await followCnames(resolver, `_acme-challenge.${value.replace(/^\*\./, '')}`, context)
    const { zone, servers: owners } = await findNameservers(resolver, resolver, fqdn, context)
    const at = [...new Set(owners.map(({ name }) => name))].join(', ') || 'nobody known here'
    return { topic, verdict: 'good', says: `the record will be ${fqdn}, in the zone ${zone} of ${at}` }
  } catch (error) {
    const { message, retry } = asProblemError(error)
    const verdict = retry.when === 'never' ? 'fails' : 'unclear'
    return {
      topic,
      verdict,
      says: message,
      advice: `see where _acme-challenge leads, asking ${servers.map(formatDnsServer).join(', ')}`,
    }
  }
}

const advices: Readonly<Record<string, string>> = {
  'http-01':
    'lead port 80 of the addresses that the CA sees to the listener of the verification (docs/reverse-proxies.md)',
  'tls-alpn-01': 'lead port 443 of the addresses that the CA sees to the listener, unopened (docs/reverse-proxies.md)',
  'dns-01': 'publish what "acmems dns-records" shows (docs/dns-server.md)',
}

function judgeRehearsal(
  topic: string,
  { asCa, asServer, left }: Rehearsal,
  seen: NameView,
  isBlind: boolean,
  shown = 'an answer was shown, and seen as the CA will see it',
): DoctorFinding[] {
  const advice = advices[topic] ?? 'repair what it says'
  const asServerToo = asServer?.outcome === 'wrong' ? asServer.reason : undefined
  if (asCa.outcome === 'wrong' && isBlind)
    return [{ topic, verdict: 'unclear', says: `${asCa.reason}; from outside it may be another (self-check = no)` }]
  if (asCa.outcome === 'wrong') return [{ topic, verdict: 'fails', says: asCa.reason, advice }]
  const seenAsCa: DoctorFinding =
    asCa.outcome === 'visible'
      ? { topic, verdict: 'good', says: shown }
      : { topic, verdict: isNobodyHere(asCa, seen) ? 'fails' : 'unclear', says: asCa.reason, advice }
  const leftBehind: DoctorFinding[] =
    left === undefined ? [] : [{ topic, verdict: 'fails', says: `the answer could not be removed: ${left}` }]
  if (asServerToo === undefined) return [seenAsCa, ...leftBehind]
  return [
    ...[seenAsCa, ...leftBehind],
    {
      ...{ topic: 'self-check', verdict: 'fails', says: `the server's own look finds another host: ${asServerToo}` },
      advice: 'give the verification a resolver that answers as the public DNS does, or self-check = no',
    },
  ]
}

/** Refused elsewhere means little here: a router may not lead its own address back inside. On this machine it is sure. */
function isNobodyHere(finding: CheckFinding, { addresses }: NameView): boolean {
  return 'reason' in finding && /connection refused/.test(finding.reason) && addresses.every(isOwnAddress)
}
