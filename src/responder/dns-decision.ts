import { dns01Prefix } from '../acme/answer-record.ts'
import { any8482Data, nameData, soaData, txtData } from '../dns/record-data.ts'
import {
  type AnswerRecordData,
  type DnsAnswer,
  type DnsQuery,
  questionType,
  responseCode,
} from '../dns/server-message.ts'
import type { ResponderZone } from '../plugin-api.ts'
import type { TextRecords } from './live-answers.ts'

const internet = 1
/** Nothing is to be remembered: a first value for a name, or a second one, comes just before a validator asks. */
const answerSeconds = 0
const apexSeconds = 3600
/** RFC 2606: nobody's address. */
const nobody = 'nobody.invalid'

/** RFC 6895 §3.1: 128 to 255 are questions about something else than data. */
const isMetaType = (type: number) => type >= 128 && type <= 255

/**
 * Decides what to answer (RFC 1034 §4.3.2, with nothing to recurse to). In a zone, `NAME.zone` has the TXT records of
 * `_acme-challenge.NAME`: it is what a CNAME points at.
 */
export async function decideAnswer(
  query: DnsQuery,
  zones: readonly ResponderZone[],
  records: TextRecords,
): Promise<DnsAnswer> {
  if (query.edns !== undefined && query.edns.version > 0) return plain(responseCode.badVers)
  if (query.class !== internet || query.type === questionType.axfr || query.type === questionType.ixfr)
    return plain(responseCode.refused)
  if (isMetaType(query.type) && query.type !== questionType.any) return plain(responseCode.notImp)
  const zone = zoneOf(query.name, zones)
  if (zone !== undefined) return decideInZone(query, zone, records)
  if (query.name.startsWith(dns01Prefix)) return decideAlone(query, zones, records)
  return plain(responseCode.refused)
}

type NamedZone = ResponderZone & { readonly name: string }

async function decideInZone(query: DnsQuery, zone: NamedZone, records: TextRecords): Promise<DnsAnswer> {
  const { name } = query
  if (name === zone.name) return decideApex(query, zone)
  const relative = name.slice(0, -zone.name.length - 1)
  const above = labelCount(relative)
  const values = await records.find(`${dns01Prefix}${relative}`, name)
  if (values.length > 0) return decideTexts(query, values, zone, above)
  // RFC 8020: NXDOMAIN says that there is nothing below either, so that has to be true.
  const exists = await records.hasBelow(relative, name)
  return negative(exists ? responseCode.noError : responseCode.nxDomain, zone, above)
}

/** A name that was delegated to us by itself, or is asked for directly. */
async function decideAlone(query: DnsQuery, zones: readonly ResponderZone[], records: TextRecords): Promise<DnsAnswer> {
  const nameless = zones.find((zone) => zone.name === undefined)
  if (!/^[a-z0-9_.-]+$/.test(query.name)) return plain(responseCode.refused)
  const values = await records.find(query.name, query.name)
  if (values.length === 0 && nameless === undefined) return plain(responseCode.refused)
  const zone = { nameServers: [], hostmaster: nobody, ...nameless, name: query.name }
  if (values.length === 0) return negative(responseCode.nxDomain, zone, 0)
  if (query.type === questionType.soa || query.type === questionType.ns) return decideApex(query, zone)
  return decideTexts(query, values, zone, 0)
}

function decideApex(query: DnsQuery, zone: NamedZone): DnsAnswer {
  const found: AnswerRecordData[] = []
  if (query.type === questionType.soa) found.push({ ...soaOf(zone, 0), ttlSeconds: apexSeconds })
  if (query.type === questionType.ns) found.push(...nameServersOf(zone))
  if (query.type === questionType.any) found.push(any8482(apexSeconds))
  return found.length === 0 ? negative(responseCode.noError, zone, 0) : positive(found)
}

function decideTexts(query: DnsQuery, values: readonly string[], zone: NamedZone, above: number): DnsAnswer {
  if (query.type === questionType.any) return positive([any8482(answerSeconds)])
  if (query.type !== questionType.txt) return negative(responseCode.noError, zone, above)
  return positive(
    values.map((value) => ({
      type: questionType.txt,
      ttlSeconds: answerSeconds,
      labelsLeftOut: 0,
      data: txtData(value),
    })),
  )
}

/** The deepest one counts, as a delegation would. */
function zoneOf(name: string, zones: readonly ResponderZone[]): NamedZone | undefined {
  let best: NamedZone | undefined
  for (const zone of zones) {
    if (zone.name === undefined || (name !== zone.name && !name.endsWith(`.${zone.name}`))) continue
    if (best === undefined || zone.name.length > best.name.length) best = { ...zone, name: zone.name }
  }
  return best
}

function labelCount(name: string): number {
  return name.replaceAll('\\.', '').split('.').length
}

function soaOf(zone: NamedZone, labelsLeftOut: number): AnswerRecordData {
  const data = soaData({
    primary: zone.nameServers[0] ?? zone.name,
    hostmaster: zone.hostmaster ?? nobody,
    negativeSeconds: answerSeconds,
  })
  return { type: questionType.soa, ttlSeconds: answerSeconds, labelsLeftOut, data }
}

function nameServersOf(zone: NamedZone): AnswerRecordData[] {
  return zone.nameServers.map((nameServer) => ({
    type: questionType.ns,
    ttlSeconds: apexSeconds,
    labelsLeftOut: 0,
    data: nameData(nameServer),
  }))
}

function any8482(ttlSeconds: number): AnswerRecordData {
  return { type: questionType.hinfo, ttlSeconds, labelsLeftOut: 0, data: any8482Data }
}

function positive(answers: readonly AnswerRecordData[]): DnsAnswer {
  return { rcode: responseCode.noError, authoritative: true, answers, authority: [] }
}

/** RFC 2308 §3: the SOA says how long a resolver may remember that there is nothing. */
function negative(rcode: number, zone: NamedZone, labelsLeftOut: number): DnsAnswer {
  return { rcode, authoritative: true, answers: [], authority: [soaOf(zone, labelsLeftOut)] }
}

function plain(rcode: number): DnsAnswer {
  return { rcode, authoritative: false, answers: [], authority: [] }
}
