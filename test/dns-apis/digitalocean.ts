// DigitalOcean's API v2: domains by name, records with ids, pages by links; names are relative, the filter's is whole.
import { below, type ProviderApi, startApiServer, token, unquoted, zoneOf } from './api-server.ts'

type Row = { id: number; zone: string; type: string; name: string; data: string; ttl: number }

export async function startDigitalOcean(zones: readonly string[]): Promise<ProviderApi> {
  const rows: Row[] = []
  let nextId = 1
  const refused = (status: number, id: string, message: string) => ({
    status,
    body: { id, message, request_id: 'r-1' },
  })
  const shown = ({ zone: _, ...row }: Row) => ({
    ...row,
    priority: null,
    port: null,
    weight: null,
    flags: null,
    tag: null,
  })
  const server = await startApiServer(({ method, path, query, headers, text }) => {
    if (headers.authorization !== `Bearer ${token}`) return refused(401, 'unauthorized', 'Unable to authenticate you')
    const [, zone = '', , recordId] = /^\/domains\/([^/]+)(\/records(?:\/(\d+))?)?$/.exec(path) ?? []
    if (!zones.includes(zone)) return refused(404, 'not_found', 'The resource you were accessing could not be found.')
    if (!path.includes('/records')) return { status: 200, body: { domain: { name: zone, ttl: 1800, zone_file: '' } } }
    if (method === 'GET') {
      const [page, size] = [Number(query.get('page') ?? 1), Math.min(Number(query.get('per_page') ?? 20), 200)]
      const wanted = query.get('name') ?? ''
      const all = rows.filter(
        (row) => row.zone === zone && row.type === query.get('type') && row.name === below(wanted, zone),
      )
      const next =
        page * size < all.length ? { pages: { next: `https://api.digitalocean.com${path}?page=${page + 1}` } } : {}
      const body = {
        domain_records: all.slice((page - 1) * size, page * size).map(shown),
        links: next,
        meta: { total: all.length },
      }
      return { status: 200, body }
    }
    if (method === 'POST') {
      const { type, name, data, ttl } = JSON.parse(text) as Row
      if (ttl < 30) return refused(422, 'unprocessable_entity', 'Ttl must be greater than or equal to 30')
      const row = { id: nextId++, zone, type, name, data, ttl }
      rows.push(row)
      return { status: 201, body: { domain_record: shown(row) } }
    }
    const at = rows.findIndex(({ id }) => id === Number(recordId))
    if (at < 0) return refused(404, 'not_found', 'The resource you were accessing could not be found.')
    rows.splice(at, 1)
    return { status: 204 }
  })
  return {
    ...server,
    options: { endpoint: server.endpoint, token },
    wrongOptions: { endpoint: server.endpoint, token: 'a-wrong-token' },
    values: (fqdn) =>
      unquoted(
        rows
          .filter(({ name, zone }) => fqdn === `${name}.${zone}` || (name === '@' && fqdn === zone))
          .map(({ data }) => data),
      ),
    seed(fqdn, data) {
      const zone = zoneOf(fqdn, zones)
      rows.push({ id: nextId++, zone, type: 'TXT', name: below(fqdn, zone), data, ttl: 1800 })
    },
  }
}
