// dns-01 through a server that speaks lego's httpreq, in both modes, with Pebble looking at what it did.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { httpreqProvider } from '../src/plugins/dns/httpreq.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { type ApiServer, startApiServer } from './dns-apis/api-server.ts'
import { createProvider, providerContext } from './dns-providers.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const password = 'pass:word "é"'
const authorization = `Basic ${Buffer.from(`user:${password}`).toString('base64')}`

type Message = { fqdn?: string; value?: string; domain?: string; token?: string; keyAuth?: string }

/** As lego's documentation describes the server; it makes the value itself in mode RAW. */
async function startHttpreq(
  show: (fqdn: string, value: string) => Promise<void> = async () => undefined,
): Promise<ApiServer & { readonly values: Set<string>; readonly shown: string[] }> {
  const values = new Set<string>()
  const shown: string[] = []
  const server = await startApiServer(async ({ method, path, headers, text }) => {
    if (headers.authorization !== authorization) return { status: 401, body: 'who are you?' }
    if (method !== 'POST' || headers['content-type'] !== 'application/json') return { status: 400, body: 'not so' }
    const { fqdn, value, domain, token, keyAuth } = JSON.parse(text) as Message
    if (keyAuth !== undefined && !keyAuth.startsWith(`${token}.`)) return { status: 400, body: 'not so' }
    const digest = createHash('sha256').update(`${keyAuth}`).digest('base64url')
    const record = keyAuth === undefined ? `${fqdn} ${value}` : `_acme-challenge.${domain}. ${digest}`
    if (path === '/dns/present') {
      const [name = '', content = ''] = record.split(' ')
      await show(name, content)
      values.add(record)
      shown.push(record)
    } else if (path === '/dns/cleanup') values.delete(record)
    else return { status: 404, body: 'no such thing' }
    return { status: 200, body: '' }
  })
  return { ...server, endpoint: `${server.endpoint}/dns/`, values, shown }
}

for (const mode of ['default', 'raw']) {
  test(`mode ${mode}: name and wildcard at once, validated by Pebble`, async (t) => {
    if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
    using folder = makeTempFolder('httpreq')
    const passwordFile = join(folder.path, 'password')
    writeFileSync(passwordFile, `${password}\n`)
    await using pebble = await startPebble()
    await using server = await startHttpreq(pebble.addTxt)
    await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-httpreq
endpoint = ${server.endpoint}
mode = ${mode}
username = user
password-file = ${passwordFile}
resolver = 127.0.0.1:${pebble.dnsPort}
nameserver = 127.0.0.1:${pebble.dnsPort}
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
wildcard = yes
`)
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.zone.test', '*.www.zone.test'] }))
    assert.equal(reply.status, 200, reply.text + acmems.log())
    assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:*.www.zone.test', 'DNS:www.zone.test'])
    assert.equal(server.shown.length, 2)
    assert.equal(server.values.size, 0, 'all was cleaned up')
  })
}

test('a refusal is told in the words of the server, without the password', async () => {
  await using server = await startHttpreq()
  const record = { fqdn: '_acme-challenge.www.zone.test', value: 'x' }
  const wrong = await createProvider(httpreqProvider, {
    endpoint: server.endpoint,
    username: 'user',
    password: 'sesame',
  })
  await assert.rejects(wrong.addTxt(record, providerContext()), {
    message: 'the httpreq server answered 401 to POST /present: who are you? (check the token in this [verification])',
  })
  const right = await createProvider(httpreqProvider, { endpoint: server.endpoint, username: 'user', password })
  server.failNext('POST', { status: 500, body: '' }, { status: 429, body: '', headers: { 'retry-after': '0' } })
  await right.addTxt(record, providerContext())
  assert.deepEqual([...server.values], ['_acme-challenge.www.zone.test. x'])
  await assert.rejects(createProvider(httpreqProvider, { endpoint: server.endpoint, username: 'user' }), /or neither/)
  await assert.rejects(
    createProvider(httpreqProvider, { endpoint: server.endpoint, mode: 'cooked' }),
    /neither default nor RAW/,
  )
  await assert.rejects(createProvider(httpreqProvider, {}), /needs endpoint/)
})
