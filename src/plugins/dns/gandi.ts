import type { JsonObject } from '../../acme/json-object.ts'
import { oneLine, ProblemError } from '../../acme/problem.ts'
import type { Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import { apiOptions, endpointOption, redactSecrets, ttlOption } from './http-api.ts'
import { createJsonApi, objectsIn, pathPart, textIn } from './json-api.ts'
import { changeValueSet } from './value-set.ts'
import { type PlaceInZone, walkToZone } from './zone-walk.ts'

const options = {
  token: {
    meaning: 'personal access token that may manage the domain name technical configurations',
    type: 'text',
    secret: true,
    required: true,
    parse: String,
  },
  ttl: ttlOption('300'),
  endpoint: endpointOption('https://api.gandi.net/v5/livedns'),
  ...apiOptions,
} as const

const turns = createTurns()

/** `type = dns01-gandi`: LiveDNS, where a set of records is replaced as a whole. */
export const gandiProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-gandi',
  meaning: 'prove names by DNS at Gandi, by the LiveDNS API',
  options,
  async create({ token, ttl, endpoint, zone, timeout, 'ca-file': caFile }, { httpClient }) {
    const api = createJsonApi({
      provider: 'Gandi',
      endpoint,
      timeoutMs: timeout * 1000,
      headers: { authorization: `Bearer ${token}` },
      secrets: [token],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: explainError,
    })
    return {
      addTxt: (record, context) => change('add', record, context),
      removeTxt: (record, context) => change('remove', record, context),
    }

    async function change(action: 'add' | 'remove', { fqdn, value }: TxtRecord, context: PluginContext): Promise<void> {
      const place = await findPlace(fqdn, context)
      const path = `/domains/${pathPart(place.zone)}/records/${pathPart(place.name)}/TXT`
      let ttlSeconds: unknown = ttl
      const set = {
        async read() {
          const { status, document } = await api({ method: 'GET', path, accept: [404] }, context)
          if (status === 404) return []
          ttlSeconds = document.rrset_ttl ?? ttl
          return Array.isArray(document.rrset_values) ? document.rrset_values.map(textIn) : []
        },
        async replace(values: readonly string[]) {
          if (values.length === 0) await api({ method: 'DELETE', path, accept: [404] }, context)
          else {
            const json = { rrset_values: values, rrset_ttl: ttlSeconds }
            await api({ method: 'PUT', path, json }, context)
          }
        },
      }
      await turns.take(fqdn, () => changeValueSet(set, action, value))
    }

    /** Domains that a token may not see can be a 403, too: the next one up may be the one it is for. */
    async function findPlace(fqdn: string, context: PluginContext): Promise<PlaceInZone<string>> {
      let denial: string | undefined
      const find = async (candidate: string) => {
        const request = { method: 'GET', path: `/domains/${pathPart(candidate)}`, accept: [403, 404] } as const
        const { status, document } = await api(request, context)
        if (status === 403) denial = explainError(document) ?? 'no reason given'
        return status < 300 ? candidate : undefined
      }
      try {
        return await walkToZone('Gandi', fqdn, zone, find)
      } catch (error) {
        if (denial === undefined || !(error instanceof ProblemError)) throw error
        throw error.withMessage(`${error.message}; its answer was 403: ${redactSecrets(oneLine(denial), [token])}`)
      }
    }
  },
}

function explainError({ message, errors }: JsonObject): string | undefined {
  const details = objectsIn(errors).map(({ name, description }) => `${textIn(name)}: ${textIn(description)}`)
  const words = [textIn(message), ...details].filter(Boolean)
  return words.length === 0 ? undefined : words.join('; ')
}
