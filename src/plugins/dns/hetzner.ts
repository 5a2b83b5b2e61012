import type { JsonObject } from '../../acme/json-object.ts'
import { ProblemError } from '../../acme/problem.ts'
import type { Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import { apiOptions, endpointOption, ttlOption } from './http-api.ts'
import { createJsonApi, objectIn, objectsIn, pathPart, textIn } from './json-api.ts'
import { quoteTxt, unquoteTxt, walkToZone } from './zone-walk.ts'

const options = {
  token: {
    meaning: 'API token of the Cloud project that has the zone, with the permission to read and write',
    type: 'text',
    secret: true,
    required: true,
    parse: String,
  },
  ttl: ttlOption('60'),
  endpoint: endpointOption('https://api.hetzner.cloud/v1'),
  ...apiOptions,
} as const

const pollMs = 500
const mostPolls = 60
const turns = createTurns()

/**
 * `type = dns01-hetzner`: DNS in the Cloud API, whose actions add and remove single values of a set. The older
 * dns.hetzner.com is another service with other tokens and is not spoken.
 */
export const hetznerProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-hetzner',
  meaning: 'prove names by DNS at Hetzner, by the Cloud API',
  options,
  async create({ token, ttl, endpoint, zone, timeout, 'ca-file': caFile }, { httpClient }) {
    const api = createJsonApi({
      provider: 'Hetzner',
      endpoint,
      timeoutMs: timeout * 1000,
      headers: { authorization: `Bearer ${token}` },
      secrets: [token],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: explainError,
    })
    return {
      addTxt: (record, context) =>
        changeAlone(record, context, async (path) => {
          const values = await readValues(path, context)
          if (values?.includes(record.value)) return
          // The time to live belongs to the set: that of others stays.
          const own = values === undefined ? { ttl } : {}
          const json = { ...own, records: [{ value: quoteTxt(record.value) }] }
          const { document } = await api({ method: 'POST', path: `${path}/actions/add_records`, json }, context)
          await waitForAction(objectIn(document.action), context)
        }),
      removeTxt: (record, context) =>
        changeAlone(record, context, async (path) => {
          const values = await readValues(path, context)
          if (!values?.includes(record.value)) return
          const json = { records: [{ value: quoteTxt(record.value) }] }
          const request = { method: 'POST', path: `${path}/actions/remove_records`, json, accept: [404] } as const
          await waitForAction(objectIn((await api(request, context)).document.action), context)
        }),
    }

    /** A zone is locked while an action works on it, so there is one at a time. */
    async function changeAlone(
      { fqdn }: TxtRecord,
      context: PluginContext,
      change: (path: string) => Promise<void>,
    ): Promise<void> {
      const place = await walkToZone('Hetzner', fqdn, zone, async (candidate) => {
        const reply = await api({ method: 'GET', path: `/zones/${pathPart(candidate)}`, accept: [404] }, context)
        return reply.status === 404 ? undefined : candidate
      })
      const path = `/zones/${pathPart(place.zone)}/rrsets/${pathPart(place.name)}/TXT`
      await turns.take(place.zone, () => change(path))
    }

    async function readValues(path: string, context: PluginContext): Promise<string[] | undefined> {
      const { status, document } = await api({ method: 'GET', path, accept: [404] }, context)
      if (status === 404) return undefined
      return objectsIn(objectIn(document.rrset).records).map(({ value }) => unquoteTxt(textIn(value)))
    }

    async function waitForAction(first: JsonObject, context: PluginContext): Promise<void> {
      let action = first
      for (let polls = 0; action.status === 'running'; polls++) {
        if (polls >= mostPolls) throw actionProblem(action, 'does not come to an end')
        await context.clock.sleep(pollMs, context.signal)
        const { document } = await api({ method: 'GET', path: `/actions/${pathPart(textIn(action.id))}` }, context)
        action = objectIn(document.action)
      }
      if (action.status === 'error') throw actionProblem(action, `failed: ${explainError(action) ?? 'no reason given'}`)
    }
  },
}

function actionProblem({ command, id }: JsonObject, what: string): ProblemError {
  return new ProblemError('dns', `Hetzner's action ${textIn(command)} (${textIn(id)}) ${what}`, {
    retry: { when: 'backoff' },
  })
}

function explainError({ error }: JsonObject): string | undefined {
  const { code, message } = objectIn(error)
  return message === undefined ? undefined : `${textIn(message)} (${textIn(code)})`
}
