// RFC 9773 §5: `replaces` must not stand in the way of a renewal.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { startFaultProxy } from './faults/fault-proxy.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const storage = '[storage "short"]\ntype = state\nrenew-within = 2h\n'
const block = '[auth "web"]\nip = 127.0.0.1\ndomain = **.test\nstorage = short\n'

test('a CA that fails over the predecessor is asked once without it', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const httpPort = await freePort()
  await using pebble = await startPebble({ httpPort, validityPeriodSeconds: 7204, nonceReject: 0 })
  await using proxy = await startFaultProxy({
    upstreamUrl: pebble.directoryUrl,
    upstreamCaFile: pebble.caFile,
    seed: 1,
    rules: [
      {
        endpoint: 'newOrder',
        when: ({ payload }) => typeof payload === 'object' && payload !== null && 'replaces' in payload,
        action: { do: 'status', status: 500, problemType: 'urn:ietf:params:acme:error:serverInternal' },
      },
    ],
  })
  const { directoryUrl, caFile } = proxy
  await using acmems = await startAcmems(`${accountAndHttp01({ directoryUrl, caFile, httpPort })}${storage}${block}`)
  const csr = makeCsr({ names: ['www.one.test'] })
  const serials = new Set<string | undefined>()
  for (let i = 0; i < 2; i++) {
    if (i > 0) await sleep(4500)
    const reply = await postCsr(acmems.signUrl, csr)
    assert.equal(reply.status, 200, reply.text)
    serials.add(certificatesOf(reply.text)[0]?.serialNumber)
  }
  assert.equal(serials.size, 2, acmems.log())
  assert.ok(
    proxy.log.some(({ endpoint, status }) => endpoint === 'newOrder' && status === 500),
    'it was asked with',
  )
})
