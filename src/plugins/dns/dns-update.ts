import { ProblemError } from '../../acme/problem.ts'
import { type DnsServer, exchange, parseDnsServer } from '../../dns/exchange.ts'
import { encodeQuery, encodeTxtUpdate, rcodeName, recordType, type TxtChange } from '../../dns/message.ts'
import type { Option, Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { parseCount } from '../option-values.ts'

const options = {
  'dns-server': {
    meaning: 'the primary server of the zone, host[:port]; of several the first that answers',
    type: 'host',
    list: true,
    default: '127.0.0.1',
    parse: parseDnsServer,
  },
  ttl: { meaning: 'time to live of the records', type: 'seconds', default: '60', parse: parseCount },
  timeout: {
    meaning: 'how long one question to a DNS server may take',
    type: 'seconds',
    default: '5',
    parse: parseCount,
  },
  zone: { meaning: 'the zone to update (default: found by its SOA record)', type: 'name', parse: String },
} as const satisfies Record<string, Option<unknown>>

type Settings = {
  readonly servers: readonly DnsServer[]
  readonly ttlSeconds: number
  readonly timeoutMs: number
  readonly zone: string | undefined
}

/** `type = dns01-dnsUpdate`: TXT records by RFC 2136. Adds one value and keeps the others, removes exactly its own. */
export const dnsUpdateProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-dnsUpdate',
  meaning: 'prove names by DNS, with dynamic updates (RFC 2136) to your own server',
  options,
  async create({ 'dns-server': servers, ttl: ttlSeconds, timeout, zone }) {
    const settings: Settings = { servers, ttlSeconds, timeoutMs: timeout * 1000, zone }
    return {
      addTxt: (record, context) => change(settings, record, 'add', context),
      removeTxt: (record, context) => change(settings, record, 'remove', context),
    }
  },
}

async function change(
  settings: Settings,
  record: TxtRecord,
  action: TxtChange['action'],
  context: PluginContext,
): Promise<void> {
  let failure: unknown = new ProblemError('dns', 'no dns-server is configured')
  for (const server of settings.servers) {
    try {
      const zone = settings.zone ?? (await findZone(settings, server, record.fqdn, context))
      const update = encodeTxtUpdate(messageId(context), zone, { ...record, ttlSeconds: settings.ttlSeconds, action })
      const { rcode } = await exchange(server, update, settings.timeoutMs, context.signal)
      if (rcode === 0) return
      const where = `${server.host}:${server.port}`
      failure = new ProblemError(
        'dns',
        `the DNS server ${where} answered ${rcodeName(rcode)} to the update of ${record.fqdn} in zone ${zone}`,
      )
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

/** The zone is where its SOA record is: the server names it in the answer, or, when the name is below it, beside it. */
async function findZone(settings: Settings, server: DnsServer, fqdn: string, context: PluginContext): Promise<string> {
  const labels = fqdn.split('.')
  for (let i = 0; i < labels.length - 1; i++) {
    const name = labels.slice(i).join('.')
    const reply = await exchange(
      server,
      encodeQuery(messageId(context), name, recordType.soa),
      settings.timeoutMs,
      context.signal,
    )
    const soa = [...reply.answers, ...reply.authority].find(({ type }) => type === recordType.soa)
    if (soa !== undefined && (name === soa.name || name.endsWith(`.${soa.name}`))) return soa.name
  }
  throw new ProblemError('dns', `the DNS server ${server.host}:${server.port} knows no zone for ${fqdn}`)
}

function messageId(context: PluginContext): number {
  const [high = 0, low = 0] = context.randomBytes(2)
  return high * 256 + low
}
