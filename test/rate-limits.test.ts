// The CA's limits are kept before the CA has to say so.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accountAndHttp01, accountAt, startAcmems } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const blocks = '[auth "web"]\nip = 127.0.0.1\ndomain = **.test\n'

test('orders beyond the limit are not made: 429, and when there will be room', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const httpPort = await freePort()
  await using pebble = await startPebble({ httpPort })
  const account = accountAndHttp01(pebble).replace(
    '[account]\n',
    '[account]\nlimit-orders = 2/1h\nlimit-domain = 5/7d\n',
  )
  await using acmems = await startAcmems(account + blocks)
  const ask = (name: string) => postCsr(acmems.signUrl, makeCsr({ names: [name] }))
  for (const name of ['a.one.test', 'b.one.test']) assert.equal((await ask(name)).status, 200, acmems.log())
  const requests = () => [...pebble.requests().values()].reduce((sum, count) => sum + count, 0)
  const requestsBefore = requests()
  const third = await ask('c.one.test')
  assert.equal(third.status, 429)
  assert.match(third.text, /limit of 2 orders of the account in 1 hours is used up; it was not asked/)
  const seconds = Number(third.headers.get('retry-after'))
  assert.ok(seconds > 1700 && seconds <= 1810, String(seconds))
  assert.equal(requests(), requestsBefore, 'the CA was not asked')
  assert.equal(pebble.issuedCount(), 2)
})

test('a restart forgets nothing of it, and what fails is given back', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const httpPort = await freePort()
  using folder = makeTempFolder('rates')
  await using pebble = await startPebble({ httpPort, domainBlocklist: ['blocked.test'] })
  const config = accountAt(pebble).replace('[account]\n', '[account]\nlimit-domain = 1/7d\n')
  const verification = `[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${httpPort}\n`
  await using first = await startAcmems(config + verification + blocks, { folder: folder.path })
  const ask = (signUrl: string, name: string) => postCsr(signUrl, makeCsr({ names: [name] }))
  assert.equal((await ask(first.signUrl, 'www.blocked.test')).status, 403)
  assert.equal((await ask(first.signUrl, 'www.blocked.test')).status, 403, 'the CA refuses; that counts for nothing')
  assert.equal((await ask(first.signUrl, 'www.one.test')).status, 200)
  assert.equal((await ask(first.signUrl, 'mail.one.test')).status, 429)
  assert.equal((await ask(first.signUrl, 'www.two.test')).status, 200, 'another registered domain')
  process.kill(first.pid, 'SIGKILL')
  await using second = await startAcmems(config + verification + blocks, { folder: folder.path })
  assert.equal((await ask(second.signUrl, 'mail.one.test')).status, 429)
})
