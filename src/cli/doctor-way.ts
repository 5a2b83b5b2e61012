import type { CaaQuestion } from '../acme/caa.ts'
import { type Identifier, identifierKey, isWildcard } from '../acme/identifier.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import type { Config } from '../config/config.ts'
import { type DnsServer, parseDnsServer } from '../dns/exchange.ts'
import { systemServers } from '../dns/lookup.ts'
import { exposedListeners } from '../mgmt-listeners.ts'
import { coversName } from '../policy/name-pattern.ts'
import { readVerification } from './dns-records.ts'
import { type IssuerView, judgeIssuer, judgeLimits, viewIssuer } from './doctor-ca.ts'
import { type NameView, viewCaa, viewName } from './doctor-dns.ts'
import type { DoctorFinding } from './doctor-finding.ts'
import { examineInstaller } from './doctor-installer.ts'
import type { Instruments, Way } from './doctor-instruments.ts'
import { judgeCaaView, judgePrivateView, judgePublicView } from './doctor-judgement.ts'
import { examineProof } from './doctor-proof.ts'
import { isOwnAddress } from './doctor-rehearsal.ts'

/** Walks the whole way of a name, on each way that the auth blocks know for it. */
export async function examine(identifier: Identifier, instruments: Instruments): Promise<DoctorFinding[]> {
  const ways = waysOf(identifier, instruments.config)
  if (ways.length === 0) return [refusal(identifier, instruments.config)]
  const findings = [...examineDoors(instruments.config), ...(await examineInstaller(identifier, instruments))]
  for (const way of ways) findings.push(...(await examineWay(identifier, way, instruments)))
  return findings
}

function waysOf(identifier: Identifier, { blocks, certificates }: Config): Way[] {
  const wanted = identifierKey(identifier)
  const covering = [
    ...blocks
      .filter(({ values }) => coversName(values.domain, values.wildcard, identifier))
      .map((block) => ({ ...block, section: `[auth "${block.name}"]` })),
    ...certificates
      .filter(({ values }) => identifiersOf(values).some((one) => identifierKey(one) === wanted))
      .map((certificate) => ({ ...certificate, section: `[certificate "${certificate.name}"]` })),
  ]
  const ways = new Map<string, Way>()
  for (const { issuer, verification, section } of covering) {
    const key = JSON.stringify([issuer, verification])
    ways.set(key, { issuer, verification, sections: [...(ways.get(key)?.sections ?? []), section] })
  }
  return [...ways.values()]
}

/** What concerns every host that asks this server. */
function examineDoors(config: Config): DoctorFinding[] {
  const exposed = exposedListeners(config)
  if (exposed.length === 0) return []
  const says = `requests come in plain HTTP from other machines (${exposed.join(', ')}): who is on the way reads them`
  const advice = '[mgmt] tls = managed NAME, or tls-certificate and tls-key, or a proxy with TLS in front'
  return [{ topic: 'door', verdict: 'note', says, advice }]
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
  { sections, issuer, verification }: Way,
  method: string | undefined,
  view: IssuerView | undefined,
): DoctorFinding {
  const how = verification === undefined ? 'no verification' : `verification "${verification}" (${method ?? 'its own'})`
  const says = `${sections.join(', ')}: issuer "${issuer}", ${how}`
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
