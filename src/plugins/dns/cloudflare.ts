import type { JsonObject } from '../../acme/json-object.ts'
import type { Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import { apiOptions, endpointOption, ttlOption } from './http-api.ts'
import { createJsonApi, objectIn, objectsIn, pathPart, textIn } from './json-api.ts'
import { quoteTxt, unquoteTxt, walkToZone } from './zone-walk.ts'

const options = {
  token: {
    meaning: 'API token that may edit the zone (Zone:DNS:Edit and Zone:Zone:Read)',
    type: 'text',
    secret: true,
    required: true,
    parse: String,
  },
  ttl: ttlOption('120'),
  endpoint: endpointOption('https://api.cloudflare.com/client/v4'),
  ...apiOptions,
} as const

const recordsPerPage = 100
const mostPages = 50
/** "An identical record already exists." */
const identicalRecord = ['81057', '81058']
const turns = createTurns()

/** `type = dns01-cloudflare`: one record a value, so adding keeps the others and removing takes one by its id. */
export const cloudflareProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-cloudflare',
  meaning: 'prove names by DNS at Cloudflare, by its API',
  options,
  async create({ token, ttl, endpoint, zone, timeout, 'ca-file': caFile }, { httpClient }) {
    const api = createJsonApi({
      provider: 'Cloudflare',
      endpoint,
      timeoutMs: timeout * 1000,
      headers: { authorization: `Bearer ${token}` },
      secrets: [token],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: explainErrors,
    })
    return {
      addTxt: (record, context) =>
        turns.take(record.fqdn, async () => {
          const zoneId = await findZoneId(record, context)
          const known = await listTxt(zoneId, record, context)
          if (known.length > 0) return
          const json = { type: 'TXT', name: record.fqdn, content: quoteTxt(record.value), ttl }
          const path = `/zones/${pathPart(zoneId)}/dns_records`
          await api({ method: 'POST', path, json, forgive: isThereAlready }, context)
        }),
      removeTxt: (record, context) =>
        turns.take(record.fqdn, async () => {
          const zoneId = await findZoneId(record, context)
          for (const { id } of await listTxt(zoneId, record, context)) {
            const path = `/zones/${pathPart(zoneId)}/dns_records/${pathPart(textIn(id))}`
            await api({ method: 'DELETE', path, accept: [404] }, context)
          }
        }),
    }

    async function findZoneId({ fqdn }: TxtRecord, context: PluginContext): Promise<string> {
      const place = await walkToZone('Cloudflare', fqdn, zone, async (candidate) => {
        const { document } = await api({ method: 'GET', path: `/zones?name=${encodeURIComponent(candidate)}` }, context)
        return objectsIn(document.result).find(({ name }) => name === candidate)
      })
      return textIn(place.zone.id)
    }

    /** The records of exactly this value. Which filter of content means what has changed over the years: we look. */
    async function listTxt(zoneId: string, { fqdn, value }: TxtRecord, context: PluginContext): Promise<JsonObject[]> {
      const found: JsonObject[] = []
      for (let page = 1; page <= mostPages; page++) {
        const query = new URLSearchParams({ type: 'TXT', name: fqdn, page: `${page}`, per_page: `${recordsPerPage}` })
        const { document } = await api(
          { method: 'GET', path: `/zones/${pathPart(zoneId)}/dns_records?${query}` },
          context,
        )
        found.push(...objectsIn(document.result))
        if (page >= Number(objectIn(document.result_info).total_pages ?? 1)) break
      }
      return found.filter(
        ({ type, name, content }) => type === 'TXT' && name === fqdn && unquoteTxt(textIn(content)) === value,
      )
    }
  },
}

function isThereAlready({ errors }: JsonObject): boolean {
  return objectsIn(errors).some(({ code }) => identicalRecord.includes(textIn(code)))
}

function explainErrors({ errors }: JsonObject): string | undefined {
  const told = objectsIn(errors).flatMap((error) => [error, ...objectsIn(error.error_chain)])
  return told.length === 0
    ? undefined
    : told.map(({ code, message }) => `${textIn(message)} (${textIn(code)})`).join('; ')
}
