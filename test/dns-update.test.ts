// dns-01 by dynamic updates, with a real BIND that Pebble asks.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exchange } from '../src/dns/exchange.ts'
import { encodeQuery, encodeTxtUpdate, recordType, txtValue } from '../src/dns/message.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { startBind } from './peers/bind.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const signal = new AbortController().signal

async function txtValues(port: number, name: string): Promise<string[]> {
  const { answers } = await exchange({ host: '127.0.0.1', port }, encodeQuery(7, name, recordType.txt), 2000, signal)
  return answers.filter(({ type }) => type === recordType.txt).map(({ rdata }) => txtValue(rdata))
}

test('name and wildcard at once, in a zone of three labels, and nothing left behind', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'named') || !requirePeer(t, 'openssl')) return
  await using bind = await startBind(['sub.zone.test', 'zone.test'])
  // What others put there stays.
  const foreign = {
    fqdn: '_acme-challenge.www.sub.zone.test',
    value: 'not-ours',
    ttlSeconds: 60,
    action: 'add',
  } as const
  await exchange({ host: '127.0.0.1', port: bind.port }, encodeTxtUpdate(9, 'sub.zone.test', foreign), 2000, signal)
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${bind.port}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${bind.port}
ttl = 1
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
wildcard = yes
`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.sub.zone.test', '*.www.sub.zone.test'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + bind.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:*.www.sub.zone.test', 'DNS:www.sub.zone.test'])
  assert.deepEqual(await txtValues(bind.port, '_acme-challenge.www.sub.zone.test'), ['not-ours'])
  const refused = await postCsr(acmems.signUrl, makeCsr({ names: ['a.other.zone.test'] }))
  assert.equal(refused.status, 200, refused.text)
})

test('a server that refuses, or is not there, is named in the answer', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'named')) return
  await using bind = await startBind(['zone.test'])
  await using pebble = await startPebble()
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${bind.port}
[auth "all"]
ip = 127.0.0.1
domain = **.test
`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.elsewhere.test'] }))
  assert.equal(reply.status, 421, reply.text)
  assert.match(
    reply.text,
    new RegExp(`127\\.0\\.0\\.1:${bind.port} knows no zone for _acme-challenge\\.www\\.elsewhere\\.test`),
  )
})
