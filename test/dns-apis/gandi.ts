// Gandi's LiveDNS v5: sets of records that are replaced as a whole; what is written without quotes comes back with them.
import { below, type ProviderApi, startApiServer, token, unquoted, zoneOf } from './api-server.ts'

export async function startGandi(zones: readonly string[]): Promise<ProviderApi> {
  const sets = new Map<string, { ttl: number; values: string[] }>()
  const refused = (code: number, message: string, more = {}) => ({
    status: code,
    body: { code, message, object: `HTTP${code}`, cause: message, ...more },
  })
  const notFound = refused(404, 'The resource could not be found.')
  const server = await startApiServer(({ method, path, headers, text }) => {
    if (headers.authorization !== `Bearer ${token}`)
      return refused(401, 'The server could not verify that you authorized to access the document you requested.')
    const [, zone = '', name] = /^\/domains\/([^/]+)(?:\/records\/([^/]+)\/TXT)?$/.exec(path) ?? []
    if (!zones.includes(zone)) return notFound
    if (name === undefined) return { status: 200, body: { fqdn: zone, automatic_snapshots: false } }
    const key = `${decodeURIComponent(name)} ${zone}`
    const set = sets.get(key)
    if (method === 'PUT') {
      const wish = JSON.parse(text) as { rrset_values: string[]; rrset_ttl?: number }
      if ((wish.rrset_ttl ?? 10800) < 300)
        return refused(400, 'Bad Request', {
          status: 'error',
          errors: [{ location: 'body', name: 'rrset_ttl', description: 'rrset_ttl must be >= 300' }],
        })
      const values = wish.rrset_values.map((value) => (value.startsWith('"') ? value : `"${value}"`))
      sets.set(key, { ttl: wish.rrset_ttl ?? 10800, values: [...new Set(values)] })
      return { status: 201, body: { message: 'DNS Record Created' } }
    }
    if (set === undefined) return notFound
    if (method === 'DELETE') {
      sets.delete(key)
      return { status: 204 }
    }
    return { status: 200, body: { rrset_name: name, rrset_type: 'TXT', rrset_ttl: set.ttl, rrset_values: set.values } }
  })
  const keyOf = (fqdn: string) => `${below(fqdn, zoneOf(fqdn, zones))} ${zoneOf(fqdn, zones)}`
  return {
    ...server,
    options: { endpoint: server.endpoint, token },
    wrongOptions: { endpoint: server.endpoint, token: 'a-wrong-token' },
    values: (fqdn) => unquoted(sets.get(keyOf(fqdn))?.values ?? []),
    seed: (fqdn, content) =>
      void sets.set(keyOf(fqdn), { ttl: 1800, values: [...(sets.get(keyOf(fqdn))?.values ?? []), content] }),
  }
}
