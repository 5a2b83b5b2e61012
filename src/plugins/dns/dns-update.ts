import { asProblemError, ProblemError, type Retry } from '../../acme/problem.ts'
import { type DnsServer, exchangeOctets, formatDnsServer, parseDnsServer, readReply } from '../../dns/exchange.ts'
import { createResolver, messageId } from '../../dns/lookup.ts'
import { encodeTxtUpdate, rcodeName, type TxtChange } from '../../dns/message.ts'
import { signMessage, type TsigFinding, type TsigKey, verifyReply } from '../../dns/tsig.ts'
import { findZone } from '../../dns/zone.ts'
import type { Option, Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { dns01Options } from '../challenges/dns01-options.ts'
import { parseCount } from '../option-values.ts'
import { tsigKeyOf, tsigOptions } from './tsig-options.ts'

const options = {
  'dns-server': {
    meaning: 'the primary server of the zone, host[:port]; of several the first that takes the update',
    type: 'host',
    list: true,
    default: '127.0.0.1',
    parse: parseDnsServer,
  },
  ...tsigOptions,
  zone: { meaning: 'the zone to update (default: found by its SOA record)', type: 'name', parse: parseZone },
  ttl: { meaning: 'time to live of the records', type: 'seconds', default: '60', parse: parseCount },
  timeout: {
    meaning: 'how long one update may take at one server',
    type: 'seconds',
    default: '5',
    parse: parseCount,
  },
  resolver: dns01Options.resolver,
} as const satisfies Record<string, Option<unknown>>

type Settings = {
  readonly servers: readonly DnsServer[]
  readonly resolvers: readonly DnsServer[]
  readonly key: TsigKey | undefined
  readonly ttlSeconds: number
  readonly timeoutMs: number
  readonly zone: string | undefined
}

/** The server's own trouble, which may pass; every other code is about what it was told to allow. */
const servFail = 2

/** `type = dns01-dnsUpdate`: TXT records by RFC 2136. Adds one value and keeps the others, removes exactly its own. */
export const dnsUpdateProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-dnsUpdate',
  meaning: 'prove names by DNS, with dynamic updates (RFC 2136) to your own server',
  options,
  check(values) {
    tsigKeyOf(values)
    if (values['dns-server'].length === 0) throw new Error('dns-server is empty: name the primary server of the zone')
  },
  async create(values) {
    const servers = values['dns-server']
    const settings: Settings = {
      servers,
      resolvers: values.resolver.length > 0 ? values.resolver : servers,
      key: tsigKeyOf(values),
      ttlSeconds: values.ttl,
      timeoutMs: values.timeout * 1000,
      zone: values.zone,
    }
    return {
      resolvers: settings.resolvers,
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
  const zone = settings.zone ?? (await findZone(createResolver(settings.resolvers), record.fqdn, context))
  const failures: ProblemError[] = []
  for (const server of settings.servers) {
    try {
      return await update(settings, server, zone, record, action, context)
    } catch (error) {
      if (context.signal.aborted) throw error
      failures.push(asProblemError(error))
    }
  }
  throw failures.length === 1 ? failures[0] : allOf(failures)
}

/** Each with its own words; worth another try as soon as one of them is. */
function allOf(failures: readonly ProblemError[]): ProblemError {
  const retry: Retry = { when: failures.some((failure) => failure.retry.when === 'backoff') ? 'backoff' : 'never' }
  return new ProblemError('dns', failures.map(({ message }) => message).join('; '), { retry, cause: failures[0] })
}

/** @throws ProblemError with the server's own word for why not */
async function update(
  { key, ttlSeconds, timeoutMs }: Settings,
  server: DnsServer,
  zone: string,
  record: TxtRecord,
  action: TxtChange['action'],
  context: PluginContext,
): Promise<void> {
  const plain = encodeTxtUpdate(messageId(context), zone, { ...record, ttlSeconds, action })
  const signed = key === undefined ? undefined : signMessage(plain, key, context.clock.nowMs())
  const message = signed?.message ?? plain
  const octets = await exchangeOctets(server, message, timeoutMs, context.signal)
  const { rcode } = readReply(server, octets, message)
  const finding = key && signed ? findingOf(octets, key, signed.mac, context.clock.nowMs()) : undefined
  const refuse = (words: string, retry: Retry = { when: 'never' }) =>
    new ProblemError(
      'dns',
      `the DNS server ${formatDnsServer(server)} ${words} to the update of ${record.fqdn} in the zone ${zone}`,
      { retry },
    )
  if (finding?.is === 'refused')
    throw refuse(`answered ${rcodeName(rcode)} (${finding.error}${explain(finding, key, context.clock.nowMs())})`)
  if (finding?.is === 'wrong') throw refuse(`gave an answer that cannot be believed (${finding.reason})`)
  if (rcode !== 0) {
    const unsigned = key === undefined && rcodeName(rcode) === 'REFUSED' ? ' (no tsig-key is configured)' : ''
    throw refuse(`answered ${rcodeName(rcode)}${unsigned}`, { when: rcode === servFail ? 'backoff' : 'never' })
  }
  if (finding?.is === 'unsigned') throw refuse('gave an answer without a signature')
}

function findingOf(octets: Uint8Array, key: TsigKey, requestMac: Uint8Array, nowMs: number): TsigFinding {
  try {
    return verifyReply(octets, key, requestMac, nowMs)
  } catch (error) {
    return { is: 'wrong', reason: error instanceof Error ? error.message : 'its signature cannot be read' }
  }
}

/** RFC 8945 §5.2: what an operator looks at. */
function explain(
  { error, serverAtMs }: { readonly error: string; readonly serverAtMs?: number },
  key: TsigKey | undefined,
  nowMs: number,
): string {
  if (serverAtMs !== undefined) return `: the server's clock says ${toTime(serverAtMs)}, ours ${toTime(nowMs)}`
  if (error === 'BADKEY') return `: it has no key ${key?.name} for ${key?.algorithm}, or not for this`
  if (error === 'BADSIG') return `: its secret for the key ${key?.name} is another one`
  return ''
}

function toTime(atMs: number): string {
  return new Date(atMs).toISOString().replace('.000Z', 'Z')
}

function parseZone(text: string): string {
  return text.replace(/\.$/, '').toLowerCase()
}
