// Route 53's API of 2013-04-01: XML, zones in the order of names, changes as transactions that are pending for a while.
import { createHash, createHmac } from 'node:crypto'
import { type ApiCall, type ProviderApi, startApiServer, unquoted, zoneOf } from './api-server.ts'

type Set = { ttl: string; values: string[] }

const secret = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
const xmlns = 'xmlns="https://route53.amazonaws.com/doc/2013-04-01/"'
const fromXml = (text: string) => text.replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
const toXml = (text: string) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;')
const all = (xml: string, name: string) =>
  [...xml.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'gs'))].map((m) => m[1] ?? '')

export async function startRoute53(
  zones: readonly string[],
): Promise<ProviderApi & { beforeChange(act: () => void): void }> {
  const sets = new Map<string, Set>()
  const changes = new Map<string, number>()
  let interference: (() => void) | undefined
  const xml = (status: number, body: string) => ({
    status,
    body: `<?xml version="1.0"?>\n${body}`,
    headers: { 'content-type': 'text/xml' },
  })
  const refused = (status: number, code: string, message: string) =>
    xml(
      status,
      `<ErrorResponse ${xmlns}><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>b-1</RequestId></ErrorResponse>`,
    )
  const idOf = (zone: string) => `Z${Buffer.from(zone).toString('hex').toUpperCase().slice(0, 20)}`
  const setXml = (fqdn: string, { ttl, values }: Set) =>
    `<ResourceRecordSet><Name>${fqdn}.</Name><Type>TXT</Type><TTL>${ttl}</TTL><ResourceRecords>${values.map((value) => `<ResourceRecord><Value>${toXml(value)}</Value></ResourceRecord>`).join('')}</ResourceRecords></ResourceRecordSet>`
  const zoneXml = (zone: string, id: string, isPrivate: boolean) =>
    `<HostedZone><Id>/hostedzone/${id}</Id><Name>${zone}.</Name><CallerReference>x</CallerReference><Config><PrivateZone>${isPrivate}</PrivateZone></Config></HostedZone>`

  const server = await startApiServer((call) => {
    if (!isSigned(call))
      return refused(
        403,
        'SignatureDoesNotMatch',
        'The request signature we calculated does not match the signature you provided.',
      )
    const path = call.path.replace('/2013-04-01', '')
    if (path === '/hostedzonesbyname') {
      const from = call.query.get('dnsname') ?? ''
      const listed = zones.filter(
        (zone) => `${zone}.`.split('.').reverse().join('.') >= from.split('.').reverse().join('.'),
      )
      // A private zone of the same name stands before each public one.
      return xml(
        200,
        `<ListHostedZonesByNameResponse ${xmlns}><HostedZones>${listed.map((zone) => zoneXml(zone, 'ZPRIVATE', true) + zoneXml(zone, idOf(zone), false)).join('')}</HostedZones><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesByNameResponse>`,
      )
    }
    const [, changeId] = /^\/change\/(\w+)$/.exec(path) ?? []
    if (changeId !== undefined) {
      const left = changes.get(changeId)
      if (left === undefined) return refused(404, 'NoSuchChange', `Could not find resource with ID: ${changeId}`)
      changes.set(changeId, left - 1)
      return xml(
        200,
        `<GetChangeResponse ${xmlns}><ChangeInfo><Id>/change/${changeId}</Id><Status>${left > 0 ? 'PENDING' : 'INSYNC'}</Status></ChangeInfo></GetChangeResponse>`,
      )
    }
    const [, zoneId = ''] = /^\/hostedzone\/(\w+)\/rrset$/.exec(path) ?? []
    const zone = zones.find((candidate) => idOf(candidate) === zoneId)
    if (zone === undefined) return refused(404, 'NoSuchHostedZone', `No hosted zone found with ID: ${zoneId}`)
    if (call.method === 'GET') {
      // The set asked for, or the one that follows it.
      const fqdn = (call.query.get('name') ?? '').replace(/\.$/, '')
      const set = sets.get(fqdn)
      const other = setXml(`zzz.${zone}`, { ttl: '5', values: ['"another name"'] })
      return xml(
        200,
        `<ListResourceRecordSetsResponse ${xmlns}><ResourceRecordSets>${set === undefined ? other : setXml(fqdn, set)}</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>1</MaxItems></ListResourceRecordSetsResponse>`,
      )
    }
    interference?.()
    interference = undefined
    const after = new Map(sets)
    for (const change of all(call.text, 'Change')) {
      const [action, name] = [all(change, 'Action')[0], (all(change, 'Name')[0] ?? '').replace(/\.$/, '')]
      const set = { ttl: all(change, 'TTL')[0] ?? '', values: all(change, 'Value').map(fromXml) }
      const known = after.get(name)
      const what = `[name='${name}.', type='TXT']`
      const because = (message: string) =>
        xml(
          400,
          `<InvalidChangeBatch ${xmlns}><Messages><Message>${message}</Message></Messages><RequestId>b-1</RequestId></InvalidChangeBatch>`,
        )
      if (action === 'CREATE' && known !== undefined)
        return because(`Tried to create resource record set ${what} but it already exists`)
      if (action === 'DELETE' && known === undefined)
        return because(`Tried to delete resource record set ${what} but it was not found`)
      if (action === 'DELETE' && JSON.stringify(known) !== JSON.stringify(set))
        return because(
          `Tried to delete resource record set ${what} but the values provided do not match the current values`,
        )
      if (action === 'CREATE') after.set(name, set)
      else after.delete(name)
    }
    sets.clear()
    for (const [name, set] of after) sets.set(name, set)
    const id = `C${changes.size + 1}`
    changes.set(id, 1)
    return xml(
      200,
      `<ChangeResourceRecordSetsResponse ${xmlns}><ChangeInfo><Id>/change/${id}</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>`,
    )
  })
  const keys = { endpoint: server.endpoint, 'access-key-id': 'AKIDEXAMPLE' }
  const seed = (fqdn: string, content: string) => {
    zoneOf(fqdn, zones)
    sets.set(fqdn, { ttl: '300', values: [...(sets.get(fqdn)?.values ?? []), content] })
  }
  return {
    ...server,
    options: { ...keys, 'secret-access-key': secret },
    wrongOptions: { ...keys, 'secret-access-key': 'a-wrong-secret' },
    values: (fqdn) => unquoted(sets.get(fqdn)?.values ?? []),
    seed,
    beforeChange: (act) => {
      interference = act
    },
  }
}

/** Counted again from what arrived: a header or a query that was changed after signing is found. */
function isSigned({ method, path, query, headers, text }: ApiCall): boolean {
  const [, scope = '', names = '', signature] =
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/(\S+), SignedHeaders=(\S+), Signature=(\w+)$/.exec(
      headers.authorization ?? '',
    ) ?? []
  const hash = (data: string) => createHash('sha256').update(data).digest('hex')
  const parameters = [...query]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
  const lines = names.split(';').map((name) => `${name}:${headers[name]}`)
  const canonical = [method, path, parameters.join('&'), ...lines, '', names, hash(text)].join('\n')
  const toSign = `AWS4-HMAC-SHA256\n${headers['x-amz-date']}\n${scope}\n${hash(canonical)}`
  const sign = (key: Buffer | string, data: string) => createHmac('sha256', key).update(data).digest()
  const key = scope.split('/').reduce<Buffer | string>((previous, part) => sign(previous, part), `AWS4${secret}`)
  return sign(key, toSign).toString('hex') === signature && names.split(';').includes('host')
}
