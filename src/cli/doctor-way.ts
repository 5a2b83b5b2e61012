import type { CaaQuestion } from '../acme/caa.ts'
import { type Identifier, isWildcard } from '../acme/identifier.ts'
import { asProblemError } from '../acme/problem.ts'
import type { AuthBlock, Config } from '../config/config.ts'
import { type DnsServer, formatDnsServer, parseDnsServer } from '../dns/exchange.ts'
import { createResolver, systemServers } from '../dns/lookup.ts'
import { findNameservers, followCnames } from '../dns/zone.ts'
import type { CheckFinding, PluginContext } from '../plugin-api.ts'
import { coversName } from '../policy/name-pattern.ts'
import { readVerification } from './dns-records.ts'
import { type IssuerView, judgeIssuer, judgeLimits, viewIssuer } from './doctor-ca.ts'
import { type NameView, viewCaa, viewName } from './doctor-dns.ts'
import type { DoctorFinding } from './doctor-finding.ts'
import { judgeCaaView, judgePrivateView, judgePublicView } from './doctor-judgement.ts'
import { isOwnAddress, type Rehearsal, rehearse } from './doctor-rehearsal.ts'
import type { Desk } from './open-installation.ts'
import { runningServers } from './running-servers.ts'

/** What the doctor looks with. */
export type Instruments = {
  readonly config: Config
  readonly context: PluginContext
  /** Absent where no server has ever run. */
  readonly desk: Desk | undefined
  /** Answers as the public DNS does. */
  readonly resolver: string | undefined
  /** Answers as this network's DNS does; the machine's own otherwise. */
  readonly privateResolver: string | undefined
  /** May a verification that changes DNS do so? */
  readonly mayWrite: boolean
}

/** How a name is proven: what the blocks that cover it say. */
type Way = { readonly blocks: readonly AuthBlock[]; readonly issuer: string; readonly verification: string | undefined }

/** Walks the whole way of a name, on each way that the auth blocks know for it. */
export async function examine(identifier: Identifier, instruments: Instruments): Promise<DoctorFinding[]> {
  const ways = waysOf(identifier, instruments.config)
  if (ways.length === 0) return [refusal(identifier, instruments.config)]
  const findings: DoctorFinding[] = []
  for (const way of ways) findings.push(...(await examineWay(identifier, way, instruments)))
  return findings
}

function waysOf(identifier: Identifier, { blocks }: Config): Way[] {
  const ways = new Map<string, Way>()
  for (const block of blocks) {
    if (!coversName(block.values.domain, block.values.wildcard, identifier)) continue
    const { issuer, verification } = block
    const key = JSON.stringify([issuer, verification])
    ways.set(key, { issuer, verification, blocks: [...(ways.get(key)?.blocks ?? []), block] })
  }
  return [...ways.values()]
}

function refusal(identifier: Identifier, { blocks }: Config): DoctorFinding {
  const says = 'no auth block covers the name: every request for it is refused'
  const lacking = blocks.find(({ values }) => coversName(values.domain, true, identifier))
  const advice =
    lacking === undefined
      ? `add domain = ${identifier.value} to the [auth] block of the host${isWildcard(identifier) ? ', and wildcard = yes' : ''}`
      : `[auth "${lacking.name}"] would with wildcard = yes`
  return { topic: 'policy', verdict: 'fails', says, advice }
}

async function examineWay(identifier: Identifier, way: Way, instruments: Instruments): Promise<DoctorFinding[]> {
  const { config, context, desk } = instruments
  const { issuer, verification } = way
  const { method, resolver: configured } = readVerification(config, verification)
  const view = await viewIssuer(config, issuer)
  const first = [judgePolicy(identifier, way, method, view), ...judgeIssuer(issuer, view, config.fallbacks.get(issuer))]
  if (view === undefined) return first
  const named = instruments.resolver ?? configured
  const servers = named === undefined ? systemServers() : [parseDnsServer(named)]
  const name = identifier.value.replace(/^\*\./, '')
  const question: CaaQuestion = { ...view, wildcard: isWildcard(identifier), method }
  const { seen, findings } = await examineDns(
    name,
    method !== 'dns-01',
    view,
    servers,
    named !== undefined,
    instruments,
  )
  const [proof, caa, limits] = await Promise.all([
    examineProof(identifier, way, method, seen, servers, named, instruments),
    viewCaa(servers, name, context).then((records) => judgeCaaView(records, question)),
    desk === undefined ? [] : judgeLimits(desk, issuer, view, identifier),
  ])
  return [...first, ...findings, ...proof, caa, ...limits]
}

function judgePolicy(
  identifier: Identifier,
  { blocks, issuer, verification }: Way,
  method: string | undefined,
  view: IssuerView | undefined,
): DoctorFinding {
  const names = blocks.map(({ name }) => `"${name}"`).join(', ')
  const how = verification === undefined ? 'no verification' : `verification "${verification}" (${method ?? 'its own'})`
  const says = `auth block ${names}: issuer "${issuer}", ${how}`
  const finding = { topic: 'policy', says }
  if (view !== undefined && verification === undefined)
    return { ...finding, verdict: 'fails', advice: 'give the block a verification, or [mgmt] a default-verification' }
  if (isWildcard(identifier) && method !== undefined && method !== 'dns-01')
    return {
      ...finding,
      verdict: 'fails',
      advice: 'CAs take only dns-01 for wildcards: give the block such a verification',
    }
  return { ...finding, verdict: 'good' }
}

async function examineDns(
  name: string,
  isVisited: boolean,
  { isOwn: isOwnCa }: IssuerView,
  servers: readonly DnsServer[],
  isNamed: boolean,
  { context, privateResolver }: Instruments,
): Promise<{ readonly seen: NameView; readonly findings: readonly DoctorFinding[] }> {
  const inside = privateResolver === undefined ? systemServers() : [parseDnsServer(privateResolver)]
  const [seen, other] = await Promise.all([
    viewName(servers, name, context),
    isNamed || privateResolver !== undefined ? viewName(inside, name, context) : undefined,
  ])
  const question = { seen, isVisited, isOwnCa, isOwn: isOwnAddress, isNamed }
  const findings = [judgePublicView(question)]
  if (other !== undefined) findings.push(judgePrivateView(other, seen, isVisited))
  return { seen, findings }
}

async function examineProof(
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
