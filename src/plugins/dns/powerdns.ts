import type { JsonObject } from '../../acme/json-object.ts'
import type { Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import { apiOptions, endpointOption, ttlOption } from './http-api.ts'
import { createJsonApi, objectsIn, pathPart, textIn } from './json-api.ts'
import { changeValueSet } from './value-set.ts'
import { walkToZone } from './zone-walk.ts'

const options = {
  token: {
    meaning: "the server's api-key",
    type: 'text',
    secret: true,
    required: true,
    parse: String,
  },
  server: { meaning: "the server's name in its API", type: 'name', default: 'localhost', parse: String },
  ttl: ttlOption('60'),
  endpoint: endpointOption('http://127.0.0.1:8081'),
  ...apiOptions,
} as const

/** Servers before 4.9 answer with the whole zone, whatever was asked for. */
const maxZoneBytes = 32 * 1024 * 1024
/** Kinds of zones whose secondaries wait to be told. */
const primaryKinds = ['master', 'primary', 'slave', 'secondary']
const turns = createTurns()

/** `type = dns01-powerdns`: the HTTP API of an authoritative server, where a set of records is replaced as a whole. */
export const powerdnsProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-powerdns',
  meaning: 'prove names by DNS at your own PowerDNS, by its HTTP API',
  options,
  async create({ token, server, ttl, endpoint, zone, timeout, 'ca-file': caFile }, { httpClient }) {
    const api = createJsonApi({
      provider: 'PowerDNS',
      endpoint: `${endpoint}/api/v1/servers/${pathPart(server)}`,
      timeoutMs: timeout * 1000,
      maxBytes: maxZoneBytes,
      headers: { 'x-api-key': token },
      secrets: [token],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: ({ error, errors }) =>
        [textIn(error), ...(Array.isArray(errors) ? errors.map(textIn) : [])].filter(Boolean).join('; ') || undefined,
    })
    return {
      addTxt: (record, context) => change('add', record, context),
      removeTxt: (record, context) => change('remove', record, context),
    }

    async function change(action: 'add' | 'remove', { fqdn, value }: TxtRecord, context: PluginContext): Promise<void> {
      const { zone: found } = await walkToZone('PowerDNS', fqdn, zone, (candidate) => findZone(candidate, context))
      const path = `/zones/${pathPart(textIn(found.id))}`
      const name = `${fqdn}.`
      let others: readonly JsonObject[] = []
      let ttlSeconds: unknown = ttl
      const set = {
        async read() {
          const query = new URLSearchParams({ rrset_name: name, rrset_type: 'TXT' })
          const { document } = await api({ method: 'GET', path: `${path}?${query}` }, context)
          const rrset = objectsIn(document.rrsets).find(
            (candidate) => candidate.type === 'TXT' && textIn(candidate.name).toLowerCase() === name,
          )
          ttlSeconds = rrset?.ttl ?? ttl
          others = objectsIn(rrset?.records)
          return others.map(({ content }) => textIn(content))
        },
        async replace(values: readonly string[]) {
          const isDisabled = (content: string) => others.find((other) => other.content === content)?.disabled === true
          const records = values.map((content) => ({ content, disabled: isDisabled(content) }))
          const changed =
            values.length === 0
              ? { name, type: 'TXT', changetype: 'DELETE' }
              : { name, type: 'TXT', changetype: 'REPLACE', ttl: ttlSeconds, records }
          await api({ method: 'PATCH', path, json: { rrsets: [changed] } }, context)
        },
      }
      // One for the whole server: on SQLite, two who write at once get "database is locked" and a status of 500.
      await turns.take(endpoint, () => changeValueSet(set, action, value))
      if (primaryKinds.includes(textIn(found.kind).toLowerCase())) await notifySecondaries(path, context)
    }

    async function findZone(candidate: string, context: PluginContext): Promise<JsonObject | undefined> {
      const path = `/zones?zone=${encodeURIComponent(`${candidate}.`)}`
      const { document } = await api({ method: 'GET', path }, context)
      return objectsIn(document.list).find(({ name }) => textIn(name).toLowerCase() === `${candidate}.`)
    }

    /** They ask by themselves some time later, too: that they could not be told now is no failure. */
    async function notifySecondaries(path: string, context: PluginContext): Promise<void> {
      try {
        await api({ method: 'PUT', path: `${path}/notify`, json: {} }, context)
      } catch (error) {
        context.signal.throwIfAborted()
        context.log.info('PowerDNS could not notify the secondaries', { error })
      }
    }
  },
}
