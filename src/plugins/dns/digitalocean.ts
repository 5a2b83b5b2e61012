import type { JsonObject } from '../../acme/json-object.ts'
import type { Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import { apiOptions, endpointOption, ttlOption } from './http-api.ts'
import { createJsonApi, objectIn, objectsIn, pathPart, textIn } from './json-api.ts'
import { type PlaceInZone, unquoteTxt, walkToZone } from './zone-walk.ts'

const options = {
  token: {
    meaning: 'personal access token with the scopes domain:read, domain:create and domain:delete',
    type: 'text',
    secret: true,
    required: true,
    parse: String,
  },
  ttl: ttlOption('30'),
  endpoint: endpointOption('https://api.digitalocean.com/v2'),
  ...apiOptions,
} as const

const recordsPerPage = 200
const mostPages = 50
const turns = createTurns()

/** `type = dns01-digitalocean`: one record a value, removed by its id. */
export const digitaloceanProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-digitalocean',
  meaning: 'prove names by DNS at DigitalOcean, by its API',
  options,
  async create({ token, ttl, endpoint, zone, timeout, 'ca-file': caFile }, { httpClient }) {
    const api = createJsonApi({
      provider: 'DigitalOcean',
      endpoint,
      timeoutMs: timeout * 1000,
      headers: { authorization: `Bearer ${token}` },
      secrets: [token],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: ({ id, message }) => (message === undefined ? undefined : `${textIn(message)} (${textIn(id)})`),
    })
    return {
      addTxt: (record, context) =>
        turns.take(record.fqdn, async () => {
          const place = await findPlace(record, context)
          if ((await listTxt(place, record, context)).length > 0) return
          const json = { type: 'TXT', name: place.name, data: record.value, ttl }
          await api({ method: 'POST', path: `/domains/${pathPart(place.zone)}/records`, json }, context)
        }),
      removeTxt: (record, context) =>
        turns.take(record.fqdn, async () => {
          const place = await findPlace(record, context)
          for (const { id } of await listTxt(place, record, context)) {
            const path = `/domains/${pathPart(place.zone)}/records/${pathPart(textIn(id))}`
            await api({ method: 'DELETE', path, accept: [404] }, context)
          }
        }),
    }

    function findPlace({ fqdn }: TxtRecord, context: PluginContext): Promise<PlaceInZone<string>> {
      return walkToZone('DigitalOcean', fqdn, zone, async (candidate) => {
        const request = { method: 'GET', path: `/domains/${pathPart(candidate)}`, accept: [404] } as const
        return (await api(request, context)).status === 404 ? undefined : candidate
      })
    }

    /** The filter wants the whole name, the answer has the part below the zone. */
    async function listTxt(
      place: PlaceInZone<string>,
      { fqdn, value }: TxtRecord,
      context: PluginContext,
    ): Promise<JsonObject[]> {
      const found: JsonObject[] = []
      for (let page = 1; page <= mostPages; page++) {
        const query = new URLSearchParams({ type: 'TXT', name: fqdn, page: `${page}`, per_page: `${recordsPerPage}` })
        const path = `/domains/${pathPart(place.zone)}/records?${query}`
        const { document } = await api({ method: 'GET', path }, context)
        found.push(...objectsIn(document.domain_records))
        if (objectIn(objectIn(document.links).pages).next === undefined) break
      }
      return found.filter(
        ({ type, name, data }) => type === 'TXT' && name === place.name && unquoteTxt(textIn(data)) === value,
      )
    }
  },
}
