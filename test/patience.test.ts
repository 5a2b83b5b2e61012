// A step that goes on failing ends soon, and in its own words.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accountAt, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

test('a DNS server that is not there: the host hears which, within half a minute', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble()
  const port = await freePort()
  const verification = `[verification "dns"]\ntype = dns01-dnsUpdate\ndns-server = 127.0.0.1:${port}\n`
  const block = '[auth "web"]\nip = 127.0.0.1\ndomain = **.test\nverification = dns\n'
  await using acmems = await startAcmems(`${accountAt({ ...pebble, httpPort: port })}${verification}${block}`)
  const startedMs = performance.now()
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.one.test'] }))
  assert.equal(reply.status, 421, reply.text)
  assert.ok(reply.text.includes(`127.0.0.1:${port}`), reply.text)
  assert.ok(performance.now() - startedMs < 40_000)
})
