// Cloudflare's API v4: zones by name, records with ids, envelopes with success, errors and result_info.
import { type ProviderApi, startApiServer, token, unquoted } from './api-server.ts'

type Row = { id: string; zone: string; type: string; name: string; content: string; ttl: number }

export async function startCloudflare(zones: readonly string[]): Promise<ProviderApi> {
  const rows: Row[] = []
  let nextId = 1
  const fine = (result: unknown, info?: object) => ({
    status: 200,
    body: { success: true, errors: [], messages: [], result, ...(info && { result_info: info }) },
  })
  const refused = (status: number, code: number, message: string) => ({
    status,
    body: { success: false, errors: [{ code, message }], messages: [], result: null },
  })
  const zoneId = (zone: string) => Buffer.from(zone).toString('hex').padEnd(32, '0').slice(0, 32)
  const server = await startApiServer(({ method, path, query, headers, text }) => {
    if (headers.authorization !== `Bearer ${token}`) return refused(403, 9109, 'Invalid access token')
    if (method === 'GET' && path === '/zones') {
      const result = zones.filter((zone) => zone === query.get('name')).map((name) => ({ id: zoneId(name), name }))
      return fine(result, { page: 1, per_page: 20, total_pages: 1, count: result.length, total_count: result.length })
    }
    const [, id = '', recordId] = /^\/zones\/(\w+)\/dns_records(?:\/(\w+))?$/.exec(path) ?? []
    const zone = zones.find((candidate) => zoneId(candidate) === id)
    if (zone === undefined)
      return refused(404, 7003, `Could not route to ${path}, perhaps your object identifier is invalid?`)
    if (method === 'GET') {
      const [page, size] = [Number(query.get('page') ?? 1), Math.min(Number(query.get('per_page') ?? 100), 100)]
      const all = rows.filter(
        (row) => row.zone === zone && row.type === query.get('type') && row.name === query.get('name'),
      )
      const count = all.length
      const info = { page, per_page: size, total_pages: Math.ceil(count / size), total_count: count }
      return fine(all.slice((page - 1) * size, page * size), info)
    }
    if (method === 'POST') {
      const { type, name, content, ttl } = JSON.parse(text) as Row
      if (ttl !== 1 && ttl < 60)
        return refused(400, 9021, 'Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.')
      if (rows.some((row) => row.zone === zone && row.name === name && row.content === content))
        return refused(400, 81058, 'An identical record already exists.')
      const row = { id: `r${nextId++}`, zone, type, name, content, ttl }
      rows.push(row)
      return fine(row)
    }
    const at = rows.findIndex((row) => row.id === recordId)
    if (at < 0) return refused(404, 81044, 'Record does not exist.')
    rows.splice(at, 1)
    return fine({ id: recordId })
  })
  return {
    ...server,
    options: { endpoint: server.endpoint, token },
    wrongOptions: { endpoint: server.endpoint, token: 'a-wrong-token' },
    values: (fqdn) => unquoted(rows.filter(({ name }) => name === fqdn).map(({ content }) => content)),
    seed(name, content) {
      const zone = zones.find((candidate) => name.endsWith(`.${candidate}`)) ?? ''
      rows.push({ id: `r${nextId++}`, zone, type: 'TXT', name, content, ttl: 1 })
    },
  }
}
