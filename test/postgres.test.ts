// Several servers on one PostgreSQL: one order for one need, whoever is asked.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accountAt, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { startPostgres } from './peers/postgres.ts'

test('two servers: the validator asks one what the other presented, and one need is one order', async (t) => {
  if (!requirePeer(t, 'postgres') || !requirePeer(t, 'pebble')) return
  await using postgres = await startPostgres()
  await using pebble = await startPebble({ sleep: true, sleepTimeSeconds: 2 })
  using account = makeTempFolder('account')
  const state = `[state]\nurl = ${await postgres.createDatabase('shared')}\n`
  const block = '[auth "lab"]\nip = 127.0.0.1\ndomain = *.example.test\n'
  const issuer = accountAt(pebble).replace('[account]\n', `[account]\ndir = ${account.path}\n`)
  const http01 = (listener: string) => `[verification "http"]\ntype = http01\nlistener = ${listener}\n`
  // Only the first has the listener that Pebble asks.
  await using asked = await startAcmems(`${state}${issuer}${http01(`127.0.0.1:${pebble.httpPort}`)}${block}`)
  await using other = await startAcmems(`${state}${issuer}${http01('')}${block}`)
  const csr = makeCsr({ names: ['a.example.test'] })
  const replies = await Promise.all([
    postCsr(asked.signUrl, csr),
    postCsr(other.signUrl, csr),
    postCsr(other.signUrl, csr),
  ])
  assert.deepEqual(
    replies.map(({ status }) => status),
    [200, 200, 200],
    replies.map(({ text }) => text).join(''),
  )
  assert.equal(new Set(replies.map(({ text }) => text)).size, 1)
  assert.equal(pebble.issuedCount(), 1)
  const alone = await postCsr(other.signUrl, makeCsr({ names: ['b.example.test'] }))
  assert.equal(alone.status, 200, alone.text)
})
