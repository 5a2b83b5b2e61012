// Several servers on one PostgreSQL: one order for one need, whoever is asked.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Progress } from '../src/plugin-api.ts'
import { openState } from '../src/state/state.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { startPostgres } from './peers/postgres.ts'

test('claims, leases and answers on PostgreSQL as on SQLite', async (t) => {
  if (!requirePeer(t, 'postgres')) return
  await using postgres = await startPostgres()
  const url = await postgres.createDatabase('contract')
  const [one, two] = await Promise.all([openState(url, () => 1000), openState(url, () => 1000)])
  await using _one = one
  await using _two = two
  const need = {
    ...{ id: 'need', issuerKey: 'issuer', names: ['a.example'], block: 'b' },
    ...{ postedBytes: Buffer.from('posted'), remoteAddress: '192.0.2.1' },
  }
  const step = (progress: Progress) => ({ progress, orderUrl: undefined, steps: [], recoverable: false })
  const claims = await Promise.all([
    one.orders.claim(need, 'one', 1000, 2000),
    two.orders.claim(need, 'two', 1000, 2000),
  ])
  assert.equal(
    claims.filter((claim) => claim !== undefined).length,
    1,
    'of two claims at once one finds the lease of the other',
  )
  const [winner, loser] = claims[0] === undefined ? (['two', 'one'] as const) : (['one', 'two'] as const)
  await one.orders.save('need', winner, step({ step: 1 }), 1100, 2100)
  await assert.rejects(one.orders.save('need', loser, step({ step: 2 }), 1100, 2100), /lease/)
  assert.equal(await two.orders.claim(need, loser, 2099, 9999), undefined)
  assert.deepEqual((await two.orders.claim(need, loser, 2100, 9999))?.progress, { step: 1 })
  const record = { need, progress: undefined, orderUrl: undefined, steps: [], attempts: 1, beganAtMs: 1000 }
  await two.orders.finish(record, loser, { outcome: 'issued' }, 2150)
  assert.equal((await one.orders.claim(need, winner, 2200, 9999))?.progress, undefined)

  const answer = {
    type: 'http-01',
    token: 'token',
    host: 'a.example',
    keyAuthorization: 'token.print',
    expiresAtMs: 5000,
  } as const
  await one.answers.put(answer)
  await one.answers.put(answer)
  assert.equal(await two.answers.find(answer, 1000), 'token.print')
  assert.equal(await two.answers.find(answer, 5000), undefined, 'expired')
  await two.answers.remove(answer)
  assert.equal(await one.answers.find(answer, 1000), undefined)
})

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
