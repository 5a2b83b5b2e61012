import { ProblemError } from '../../acme/problem.ts'
import type { HttpReply, Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import { encodeAwsQuery, signAwsRequest } from './aws-signature.ts'
import { type ApiSettings, apiOptions, callApi, endpointOption, ttlOption } from './http-api.ts'
import { pathPart } from './json-api.ts'
import { changeValueSet } from './value-set.ts'
import { elementsIn, escapeXml, textOf } from './xml.ts'
import { walkToZone } from './zone-walk.ts'

const options = {
  'access-key-id': { meaning: 'the access key of an IAM user', type: 'text', required: true, parse: String },
  'secret-access-key': { meaning: 'its secret', type: 'text', secret: true, required: true, parse: String },
  'session-token': { meaning: 'for temporary credentials', type: 'text', secret: true, parse: String },
  'hosted-zone-id': {
    meaning: 'the id of the zone, where its name is not enough or may not be looked up',
    type: 'text',
    parse: parseZoneId,
  },
  region: { meaning: 'the region to sign for', type: 'word', default: 'us-east-1', parse: String },
  ttl: ttlOption('60'),
  endpoint: endpointOption('https://route53.amazonaws.com'),
  ...apiOptions,
} as const

type Call = {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly query?: readonly (readonly [string, string])[]
  readonly body?: string
}
type RecordSet = { readonly xml: string; readonly values: readonly string[]; readonly ttl: string }

const version = '2013-04-01'
const xmlns = 'https://route53.amazonaws.com/doc/2013-04-01/'
const pollMs = 2000
const mostPolls = 150
const rememberedChanges = 1000
const turns = createTurns()
/** The change that brought a value, to be waited for. Outlives a reload; after a restart there is none to wait for. */
const changes = new Map<string, string>()

/**
 * `type = dns01-route53`. A change deletes the set exactly as it was read and creates the new one, in one transaction: it
 * fails when somebody else was quicker, where an UPSERT would throw away what they wrote.
 */
export const route53Provider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-route53',
  meaning: 'prove names by DNS at Amazon Route 53, by its API',
  options,
  check({ 'hosted-zone-id': id, zone }) {
    if (id !== undefined && zone !== undefined) throw new Error('give hosted-zone-id or zone, not both')
  },
  async create(values, { httpClient }) {
    const { endpoint, region, ttl, zone, timeout, 'ca-file': caFile, 'hosted-zone-id': fixedId } = values
    const credentials = {
      accessKeyId: values['access-key-id'],
      secretAccessKey: values['secret-access-key'],
      sessionToken: values['session-token'],
    }
    const settings: ApiSettings = {
      provider: 'Route 53',
      endpoint,
      timeoutMs: timeout * 1000,
      secrets: [credentials.secretAccessKey, credentials.sessionToken ?? ''],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: explainError,
      isBusy: (text) => /<Code>(Throttling|ThrottlingException|PriorRequestNotComplete)<\/Code>/.test(text),
    }
    return {
      addTxt: (record, context) => change('add', record, context),
      removeTxt: (record, context) => change('remove', record, context),
      async waitUntilVisible(record, context) {
        const id = changes.get(keyOf(record))
        for (let polls = 0; id !== undefined; polls++) {
          const xml = await call({ method: 'GET', path: `/change/${pathPart(id)}` }, context)
          if (textOf(xml, 'Status') !== 'PENDING') break
          if (polls >= mostPolls)
            throw new ProblemError('dns', `the change ${id} is still PENDING at Route 53`, {
              retry: { when: 'backoff' },
            })
          await context.clock.sleep(pollMs, context.signal)
        }
        changes.delete(keyOf(record))
      },
    }

    async function change(action: 'add' | 'remove', record: TxtRecord, context: PluginContext): Promise<void> {
      const zoneId = fixedId ?? (await findZoneId(record, context))
      const path = `/hostedzone/${pathPart(zoneId)}/rrset`
      let old: RecordSet | undefined
      const set = {
        async read() {
          old = await readSet(path, record, context)
          return old?.values ?? []
        },
        async replace(wanted: readonly string[]) {
          const created =
            wanted.length === 0 ? '' : changeXml('CREATE', setXml(record.fqdn, old?.ttl ?? `${ttl}`, wanted))
          const body = batchXml(`${old === undefined ? '' : changeXml('DELETE', old.xml)}${created}`)
          const xml = await call({ method: 'POST', path, body }, context, isOvertaken)
          // Overtaken: nothing was changed, and the set is read again.
          const id = textOf(xml, 'Id')?.replace(/^\/change\//, '')
          if (id !== undefined && action === 'add') remember(record, id)
        },
      }
      if (action === 'remove') changes.delete(keyOf(record))
      await turns.take(`${zoneId} ${record.fqdn}`, () => changeValueSet(set, action, record.value))
    }

    async function findZoneId({ fqdn }: TxtRecord, context: PluginContext): Promise<string> {
      const place = await walkToZone('Route 53', fqdn, zone, async (candidate) => {
        // In the order of names, beginning with this one: a public zone and private ones can share it.
        const query = [
          ['dnsname', `${candidate}.`],
          ['maxitems', '100'],
        ] as const
        const xml = await call({ method: 'GET', path: '/hostedzonesbyname', query }, context)
        return elementsIn(xml, 'HostedZone').find(
          (found) => textOf(found, 'Name') === `${candidate}.` && textOf(found, 'PrivateZone') !== 'true',
        )
      })
      return (textOf(place.zone, 'Id') ?? '').replace(/^\/hostedzone\//, '')
    }

    async function readSet(path: string, { fqdn }: TxtRecord, context: PluginContext): Promise<RecordSet | undefined> {
      const query = [
        ['name', `${fqdn}.`],
        ['type', 'TXT'],
        ['maxitems', '1'],
      ] as const
      const xml = await call({ method: 'GET', path, query }, context)
      const [found] = elementsIn(xml, 'ResourceRecordSet')
      if (found === undefined || textOf(found, 'Name') !== `${fqdn}.` || textOf(found, 'Type') !== 'TXT')
        return undefined
      if (textOf(found, 'SetIdentifier') !== undefined)
        throw new ProblemError('dns', `${fqdn} has a routing policy at Route 53; its TXT record must be a simple one`)
      const sets = elementsIn(found, 'ResourceRecord').map((record) => textOf(record, 'Value') ?? '')
      const ttlSeconds = textOf(found, 'TTL') ?? `${ttl}`
      return { xml: setXml(fqdn, ttlSeconds, sets), values: sets, ttl: ttlSeconds }
    }

    async function call(
      { method, path, query = [], body = '' }: Call,
      context: PluginContext,
      forgive?: (text: string) => boolean,
    ): Promise<string> {
      const { host, pathname } = new URL(endpoint)
      const fullPath = `${pathname.replace(/\/$/, '')}/${version}${path}`
      const contentType: Record<string, string> = body === '' ? {} : { 'content-type': 'text/xml' }
      const headers = signAwsRequest(
        { method, host, path: fullPath, query, headers: contentType, body },
        credentials,
        { region, service: 'route53' },
        context.clock.nowMs(),
      )
      const target = `/${version}${path}${query.length === 0 ? '' : `?${encodeAwsQuery(query)}`}`
      const request = { method, path: target, headers, ...(body === '' ? {} : { body }), ...(forgive && { forgive }) }
      return textFrom(await callApi(settings, request, context))
    }
  },
}

function remember(record: TxtRecord, id: string): void {
  if (changes.size >= rememberedChanges) changes.delete(changes.keys().next().value ?? '')
  changes.set(keyOf(record), id)
}

function keyOf({ fqdn, value }: TxtRecord): string {
  return `${fqdn} ${value}`
}

function textFrom({ body }: HttpReply): string {
  return Buffer.from(body).toString('utf8')
}

function parseZoneId(text: string): string {
  const id = text.replace(/^\/?hostedzone\//, '')
  if (!/^[A-Z0-9]{1,32}$/i.test(id))
    throw new Error(`${JSON.stringify(text)} is no id of a hosted zone, like Z1D633PJN98FT9`)
  return id
}

function setXml(fqdn: string, ttlSeconds: string, values: readonly string[]): string {
  const records = values.map((value) => `<ResourceRecord><Value>${escapeXml(value)}</Value></ResourceRecord>`)
  return `<ResourceRecordSet><Name>${escapeXml(fqdn)}.</Name><Type>TXT</Type><TTL>${ttlSeconds}</TTL><ResourceRecords>${records.join('')}</ResourceRecords></ResourceRecordSet>`
}

function changeXml(action: 'CREATE' | 'DELETE', set: string): string {
  return `<Change><Action>${action}</Action>${set}</Change>`
}

function batchXml(changed: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><ChangeResourceRecordSetsRequest xmlns="${xmlns}"><ChangeBatch><Changes>${changed}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>`
}

/** Our transaction did not find the set as we had read it. */
function isOvertaken(text: string): boolean {
  return /but the values provided do not match|but it was not found|but it already exists/.test(text)
}

function explainError(text: string): string | undefined {
  const messages = elementsIn(text, 'Message').map((message) => textOf(`<M>${message}</M>`, 'M') ?? '')
  const code = textOf(text, 'Code')
  if (messages.length === 0) return code
  return `${messages.join('; ')}${code === undefined ? '' : ` (${code})`}`
}
