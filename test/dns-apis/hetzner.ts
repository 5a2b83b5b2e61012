// Hetzner's Cloud API v1: zones by name, sets of records, actions that take a while and lock the zone.
import { below, type ProviderApi, startApiServer, token, unquoted, zoneOf } from './api-server.ts'

type Set = { ttl: number | null; records: { value: string; comment?: string }[] }

export async function startHetzner(zones: readonly string[]): Promise<ProviderApi & { failAction(): void }> {
  const sets = new Map<string, Set>()
  const actions = new Map<number, { id: number; command: string; zone: string; polls: number; error: object | null }>()
  let failing = false
  const refused = (status: number, code: string, message: string) => ({
    status,
    body: { error: { code, message, details: null } },
  })
  const notFound = refused(404, 'not_found', 'zone not found')
  const shown = ({
    id,
    command,
    polls,
    error,
  }: {
    id: number
    command: string
    polls: number
    error: object | null
  }) => ({
    action: {
      id,
      command,
      status: polls > 0 ? 'running' : error ? 'error' : 'success',
      progress: polls > 0 ? 50 : 100,
      error: polls > 0 ? null : error,
    },
  })
  const server = await startApiServer(({ method, path, headers, text }) => {
    if (headers.authorization !== `Bearer ${token}`)
      return refused(401, 'unauthorized', 'the token you provided is invalid')
    const [, actionId] = /^\/actions\/(\d+)$/.exec(path) ?? []
    if (actionId !== undefined) {
      const action = actions.get(Number(actionId))
      if (action === undefined) return refused(404, 'not_found', 'action not found')
      action.polls--
      return { status: 200, body: shown(action) }
    }
    const [, zone = '', name, step] =
      /^\/zones\/([^/]+)(?:\/rrsets\/([^/]+)\/TXT(?:\/actions\/(\w+))?)?$/.exec(path) ?? []
    if (!zones.includes(zone)) return notFound
    if (name === undefined)
      return { status: 200, body: { zone: { id: zones.indexOf(zone) + 42, name: zone, mode: 'primary' } } }
    const key = `${decodeURIComponent(name)} ${zone}`
    const set = sets.get(key)
    if (method === 'GET') {
      if (set === undefined) return refused(404, 'not_found', 'rrset not found')
      return { status: 200, body: { rrset: { id: `${name}/TXT`, name, type: 'TXT', ...set } } }
    }
    if ([...actions.values()].some((action) => action.zone === zone && action.polls > 0))
      return refused(423, 'locked', 'zone is locked')
    const wish = JSON.parse(text) as { ttl?: number; records: { value: string }[] }
    if (wish.records.some(({ value }) => !/^".*"$/.test(value)))
      return refused(422, 'invalid_input', 'TXT records must be quoted')
    if (step === 'add_records') {
      if (wish.ttl !== undefined && wish.ttl < 60) return refused(422, 'invalid_input', "invalid input in field 'ttl'")
      if (set !== undefined && wish.ttl !== undefined && wish.ttl !== set.ttl)
        return refused(422, 'invalid_input', 'ttl differs from the rrset')
      if (!failing)
        sets.set(key, { ttl: set?.ttl ?? wish.ttl ?? null, records: [...(set?.records ?? []), ...wish.records] })
    } else {
      if (set === undefined) return refused(404, 'not_found', 'rrset not found')
      const left = set.records.filter(({ value }) => !wish.records.some((record) => record.value === value))
      if (left.length === 0) sets.delete(key)
      else sets.set(key, { ...set, records: left })
    }
    const error = failing ? { code: 'action_failed', message: 'Action failed' } : null
    failing = false
    const action = { id: actions.size + 1, command: `${step}`, zone, polls: actions.size % 2, error }
    actions.set(action.id, action)
    return { status: 201, body: shown(action) }
  })
  const keyOf = (fqdn: string) => `${below(fqdn, zoneOf(fqdn, zones))} ${zoneOf(fqdn, zones)}`
  return {
    ...server,
    options: { endpoint: server.endpoint, token },
    wrongOptions: { endpoint: server.endpoint, token: 'a-wrong-token' },
    failAction: () => {
      failing = true
    },
    values: (fqdn) => unquoted((sets.get(keyOf(fqdn))?.records ?? []).map(({ value }) => value)),
    seed(fqdn, value) {
      const set = sets.get(keyOf(fqdn)) ?? { ttl: 3600, records: [] }
      sets.set(keyOf(fqdn), { ...set, records: [...set.records, { value }] })
    },
  }
}
