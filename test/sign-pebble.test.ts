// The main job against a real CA that really validates.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { type PebbleOptions, startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

async function startBoth(options: PebbleOptions = {}, more = '') {
  const httpPort = await freePort()
  const pebble = await startPebble({ httpPort, ...options })
  const acmems = await startAcmems(
    `${accountAndHttp01(pebble)}[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
ip-address = 127.0.0.0/8
${more}`,
  )
  return {
    pebble,
    acmems,
    [Symbol.asyncDispose]: async () => {
      await acmems.stop()
      await pebble.stop()
    },
  }
}

test('Pebble validates over HTTP and the host gets leaf and intermediate', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  await using both = await startBoth()
  for (const key of ['ec', 'rsa', 'p384'] as const) {
    const csr = makeCsr({ names: [`${key}.example.test`, `www.${key}.example.test`], key })
    const reply = await postCsr(both.acmems.signUrl, csr)
    assert.equal(reply.status, 200, reply.text + both.acmems.log())
    assert.equal(reply.text.split('\n\n').length, 2, 'one blank line between two certificates')
    const [leaf, issuer] = certificatesOf(reply.text)
    assert.deepEqual(namesOf(leaf), [`DNS:${key}.example.test`, `DNS:www.${key}.example.test`])
    assert.ok(issuer !== undefined && leaf?.checkIssued(issuer))
  }
})

test('a storm of refused nonces, reused authorizations and slow validation', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using both = await startBoth({ nonceReject: 50, authzReuse: 50, sleep: true, sleepTimeSeconds: 2 })
  for (let i = 0; i < 4; i++) {
    const reply = await postCsr(both.acmems.signUrl, makeCsr({ names: ['a.example.test', `b${i % 2}.example.test`] }))
    assert.equal(reply.status, 200, reply.text + both.acmems.log())
  }
})
