import { type AnswerRecord, dns01Prefix } from '../../acme/answer-record.ts'
import { dns01TxtValue } from '../../acme/key-authorization.ts'
import { parseDnsServer } from '../../dns/exchange.ts'
import { createResolver, systemServers } from '../../dns/lookup.ts'
import type { ChallengeTask, CheckFinding, Option, OptionValues, Plugin, PluginContext } from '../../plugin-api.ts'
import { checkDelegation } from '../../self-check/dns-check.ts'
import { parseTcpListener } from '../option-values.ts'
import { selfCheckOptions } from './self-check-options.ts'

const options = {
  listener: {
    meaning: 'where questions arrive, by UDP and TCP; validators ask port 53; empty for none',
    type: 'listener',
    list: true,
    default: '0.0.0.0:1353',
    parse: parseTcpListener,
  },
  zone: {
    meaning:
      'the zone that is delegated to us; NAME.zone is what the CNAME of _acme-challenge.NAME points at (default: none, only names being validated are answered for)',
    type: 'name',
    parse: parseHostName,
  },
  ns: {
    meaning: 'our name as a name server of the zone, which must not be in the zone itself',
    type: 'name',
    list: true,
    parse: parseHostName,
  },
  hostmaster: {
    meaning: "a mail address for the zone's SOA record (default: hostmaster at the zone)",
    type: 'mail address',
    parse: parseMailbox,
  },
  'self-check': selfCheckOptions['self-check'],
  resolver: {
    meaning: "the DNS resolver that knows the names as the CA does, host[:port] (default: the system's)",
    type: 'host',
    list: true,
    parse: parseDnsServer,
  },
} as const satisfies Record<string, Option<unknown>>

/**
 * `type = dns01-server` (RFC 8555 §8.4): the values are records; the responder, an authoritative DNS server that
 * knows nothing of us, tells them. So every server on the same state answers for every other.
 */
export const dnsServerSolver: Plugin<'solver', typeof options> = {
  kind: 'solver',
  name: 'dns01-server',
  meaning: 'prove names by DNS, answered by our own DNS server: one static CNAME for each name, or a delegation',
  options,
  check({ zone, ns }) {
    if (zone === undefined) return
    if (ns.length === 0)
      throw new Error(`zone = ${zone} needs ns, the name under which this server is in the NS records`)
    const inside = ns.find((name) => name === zone || name.endsWith(`.${zone}`))
    if (inside !== undefined)
      throw new Error(`ns = ${inside} is in the zone itself, which has no addresses; use a name outside of ${zone}`)
  },
  async create(options, { answers }) {
    const { listener, zone, ns, hostmaster } = options
    return {
      type: 'dns-01',
      responderListeners: listener,
      responderZone: {
        name: zone,
        nameServers: ns,
        hostmaster: hostmaster ?? (zone === undefined ? undefined : `hostmaster.${zone}`),
      },
      present: (task) => answers.put(answerOf(task)),
      ...(options['self-check'] && { check: createCheck(options) }),
      cleanUp: (task) => answers.remove(answerOf(task)),
    }
  },
}

const slowMs = 2000
const restMs = 30_000

/** What cannot tell after so long is not asked again for a while: every order would wait for it. */
function createCheck({ zone, resolver: named }: Pick<OptionValues<typeof options>, 'zone' | 'resolver'>) {
  let rest = { reason: '', untilMs: Number.NEGATIVE_INFINITY }
  return async (task: ChallengeTask, context: PluginContext): Promise<CheckFinding> => {
    const { clock } = context
    const startedMs = clock.monotonicMs()
    if (rest.untilMs > startedMs) return { outcome: 'unknown', reason: rest.reason }
    const { host, keyAuthorization: value } = answerOf(task)
    const name = host.slice(dns01Prefix.length)
    const target = zone === undefined ? undefined : `${name}.${zone}`
    const resolver = createResolver(named.length > 0 ? named : systemServers())
    const view = { resolver, isCaView: named.length > 0 }
    const finding = await checkDelegation({ fqdn: host, value, target, zone }, view, context)
    const endedMs = clock.monotonicMs()
    if (finding.outcome === 'unknown' && endedMs - startedMs > slowMs)
      rest = { reason: finding.reason, untilMs: endedMs + restMs }
    return finding
  }
}

function answerOf({ challenge, identifier, keyAuthorization, expiresAtMs }: ChallengeTask): AnswerRecord {
  // A name and its wildcard have one owner name and two tokens, so they are two records.
  const host = `${dns01Prefix}${identifier.value.replace(/^\*\./, '')}`
  return {
    type: 'dns-01',
    token: challenge.token,
    host,
    keyAuthorization: dns01TxtValue(keyAuthorization),
    expiresAtMs,
  }
}

const hostLabel = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/
const maxNameLength = 200 // with room for the names that come in front of it

function parseHostName(text: string): string {
  const name = text.toLowerCase().replace(/\.$/, '')
  if (name.length > maxNameLength || !name.split('.').every((label) => hostLabel.test(label)))
    throw new Error(`${JSON.stringify(text)} is no name of a zone or a server; write acme.example.net`)
  return name
}

function parseMailbox(text: string): string {
  const [, local, domain] = /^([\x21-\x3f\x41-\x7e]{1,63})@(.+)$/.exec(text) ?? []
  if (local !== undefined && domain !== undefined) return `${local}@${parseHostName(domain)}`
  return parseHostName(text)
}
