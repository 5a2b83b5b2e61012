// acmems account, orders and limits: beside a running server and a real CA.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { type Acmems, accountAndHttp01, accountAt, startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { freePort } from './peers/free-port.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

function requirePeers(t: TestContext): boolean {
  return (['pebble', 'pebble-challtestsrv', 'openssl'] as const).every((name) => requirePeer(t, name) !== undefined)
}

let shared: Promise<Pebble> | undefined
const usePebble = () => {
  shared ??= startPebble({ authzReuse: 0 })
  return shared
}
after(async () => (await shared)?.stop())

const block = '[auth "lab"]\nip = 127.0.0.1\ndomain = **.example.test\n'

async function start(pebble: Pebble, folder: string, more = ''): Promise<Acmems> {
  return await startAcmems(`${accountAndHttp01(pebble).replace('[verification', `${more}[verification`)}${block}`, {
    folder,
  })
}

async function ask(acmems: Acmems, name: string): Promise<string> {
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: [name] }))
  assert.equal(reply.status, 200, reply.text + acmems.log())
  return certificatesOf(reply.text)[0]?.serialNumber ?? ''
}

type AccountShown = {
  readonly url: string
  readonly status: string
  readonly contact: readonly string[]
  readonly terms?: string
  readonly key?: { readonly thumbprint: string }
  readonly outage?: { readonly reason: string; readonly failures: number }
}

test('account: show, update, rollover while the server runs, deactivate', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('account')
  const pebble = await usePebble()
  await using acmems = await start(pebble, folder.path)
  await ask(acmems, 'before.example.test')
  const account = (...args: string[]) => runJson<AccountShown>(['account', ...args, acmems.configFile])
  const first = await account('show')
  assert.deepEqual([first.status, first.contact, first.outage], ['valid', [], undefined])
  assert.ok(first.url.startsWith(new URL(pebble.directoryUrl).origin) && URL.canParse(first.terms ?? ''))
  const text = await runCommand(['account', 'show', acmems.configFile])
  assert.match(text.out, new RegExp(`^account +${first.url}\nstatus +valid\ncontact +none\n`))

  assert.deepEqual((await account('update', '--email', 'a@example.org', '--email', 'b@example.org')).contact, [
    'mailto:a@example.org',
    'mailto:b@example.org',
  ])
  const [atCa, onDisk] = await Promise.all([account('show'), account('show', '--offline')])
  assert.deepEqual([atCa.contact, onDisk.contact], [atCa.contact, atCa.contact])
  assert.deepEqual([onDisk.url, onDisk.key?.thumbprint], [first.url, first.key?.thumbprint])
  assert.match((await runCommand(['account', 'update', '--no-email', acmems.configFile])).out, /writes to nobody/)
  assert.deepEqual((await account('show')).contact, [])

  const rolled = await account('rollover')
  assert.equal(rolled.url, first.url)
  assert.notEqual(rolled.key?.thumbprint, first.key?.thumbprint)
  assert.equal((await account('show')).key?.thumbprint, rolled.key?.thumbprint)
  await ask(acmems, 'after.example.test')
  assert.ok(existsSync(join(folder.path, 'state', 'account', 'account.previous.pem')))

  const unasked = await runCommand(['account', 'deactivate', acmems.configFile])
  assert.deepEqual([unasked.code, (await account('show')).status], [2, 'valid'])
  assert.match(unasked.err, /--yes/)
  const ended = await runCommand(['account', 'deactivate', '--yes', acmems.configFile])
  assert.equal(ended.code, 0, ended.err)
  assert.match(ended.out, /deactivated; to make a new one, move .* away and run "acmems register --gen-key"/)
  const over = await runCommand(['account', 'show', acmems.configFile])
  assert.equal(over.code, 1)
  assert.match(over.err, /deactivated/)
  assert.equal((await account('show', '--offline')).status, 'deactivated')
  const events = await runJson<{ kind: string }[]>(['audit', acmems.configFile])
  for (const kind of ['account.updated', 'account.key-changed', 'account.deactivated'])
    assert.ok(
      events.some((event) => event.kind === kind),
      kind,
    )
})

test('account: none there, no ACME CA, no such issuer', async () => {
  using folder = makeTempFolder('account')
  const directory = `https://127.0.0.1:${await freePort()}/dir`
  const at = (...more: string[]) => [
    ...['--set', `state.url=sqlite:${join(folder.path, 's', 'state.db')}`, '--set', `account.acme-server=${directory}`],
    ...more,
  ]
  const [offline, online, none, local] = await Promise.all([
    runCommand(['account', 'show', '--offline', ...at()]),
    runCommand(['account', 'show', ...at()]),
    runCommand(['account', 'show', '--issuer', 'other', ...at()]),
    runCommand(['account', 'rollover', '--issuer', 'lab', ...at('--set', 'issuer.lab.type=local')]),
  ])
  for (const [outcome, pattern] of [
    [offline, /acmems register/],
    [online, /acmems register/],
    [none, /no \[issuer "other"\]; it has default/],
    [local, /\[issuer "lab"\] is no ACME CA/],
  ] as const) {
    assert.equal(outcome.code, 1)
    assert.match(outcome.err, pattern)
  }
  assert.ok(!existsSync(join(folder.path, 's')))
})

type Story = {
  readonly id: string
  readonly status: string
  readonly names: readonly string[]
  readonly serial?: string
  readonly reason?: string
  readonly orderUrl?: string
  readonly steps: readonly { readonly at: string; readonly note: string }[]
}

test("orders: each step, and the CA's words where it failed", async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('orders')
  const pebble = await usePebble()
  await using acmems = await start(pebble, folder.path)
  const orders = (...args: string[]) => runJson<Story[]>(['orders', 'list', ...args, acmems.configFile])
  assert.equal((await runCommand(['orders', 'list', acmems.configFile])).out, 'no orders\n')
  const serial = await ask(acmems, 'good.example.test')
  await pebble.setA('bad.example.test', ['127.0.0.9'])
  assert.equal((await postCsr(acmems.signUrl, makeCsr({ names: ['bad.example.test'] }))).status, 421)

  const all = await orders()
  assert.deepEqual(
    all.map(({ names, status }) => [names[0], status]),
    [
      ['bad.example.test', 'failed'],
      ['good.example.test', 'issued'],
    ],
  )
  const [[bad], [good], [newest]] = [
    await orders('--failed'),
    await orders('--name', 'good.example.test'),
    await orders('--max', '1'),
  ]
  assert.deepEqual([bad?.names, good?.serial, newest?.id], [['bad.example.test'], serial, bad?.id])
  assert.match(
    (await runCommand(['orders', 'list', acmems.configFile])).out,
    /failed +bad\.example\.test +lab +default +.*refused/,
  )

  const show = (what: string) => runJson<Story>(['orders', 'show', what, acmems.configFile])
  assert.ok(good?.orderUrl !== undefined && bad !== undefined)
  for (const what of [good.id, good.id.slice(0, 12), good.orderUrl, 'GOOD.example.test'])
    assert.equal((await show(what)).serial, serial, what)
  const text = await runCommand(['orders', 'show', 'bad.example.test', acmems.configFile])
  assert.match(text.out, /^reason +.*127\.0\.0\.9.*refused/m)
  assert.match(text.out, /\nTIME +STEP\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ {2}order made: https/)
  assert.ok(good.steps.every(({ at }) => !Number.isNaN(Date.parse(at))))
  const none = await runCommand(['orders', 'show', 'nobody.example.test', acmems.configFile])
  assert.deepEqual([none.code, /orders list/.test(none.err)], [1, true])
})

test('limits: what is used of which, when there is one again; and a CA that is away', async (t) => {
  if (!requirePeers(t)) return
  using folder = makeTempFolder('limits')
  const pebble = await usePebble()
  const nowhere = { ...pebble, directoryUrl: `https://127.0.0.1:${await freePort()}/dir` }
  const away = `${accountAt(nowhere).replace('[account]', '[issuer "away"]\ntype = acme')}[auth "away"]\nip = 127.0.0.1\ndomain = *.away.test\nissuer = away\n`
  await using acmems = await start(pebble, folder.path, 'limit-orders = 2/3h\nlimit-domain = 50/7d\n')
  assert.match((await runCommand(['limits', acmems.configFile])).out, /^no limit is used\n$/)
  for (const name of ['one.example.test', 'two.example.test']) await ask(acmems, name)
  const refused = await postCsr(acmems.signUrl, makeCsr({ names: ['three.example.test'] }))
  assert.equal(refused.status, 429, refused.text)

  type Limit = { limit: string; subject: string; used: number; capacity: number; freeAt: string; issuer: string }
  const { limits, outages } = await runJson<{ limits: Limit[]; outages: unknown[] }>(['limits', acmems.configFile])
  const orders = limits.find(({ limit }) => limit === 'orders')
  assert.deepEqual([orders?.used, orders?.capacity, orders?.issuer, outages], [2, 2, 'default', []])
  const waitMs = Date.parse(orders?.freeAt ?? '') - Date.now()
  assert.ok(waitMs > 60 * 60_000 && waitMs <= 91 * 60_000, String(waitMs))
  const retryAfterMs = Number(refused.headers.get('retry-after')) * 1000
  assert.ok(Math.abs(retryAfterMs - waitMs) < 60_000, 'the host was told the same')
  const domain = limits.find(({ limit }) => limit === 'domain')
  assert.deepEqual([domain?.subject, domain?.used], ['example.test', 2])
  assert.match(
    (await runCommand(['limits', acmems.configFile])).out,
    /^ISSUER +LIMIT +SUBJECT +USED +OF +FREE\n.*default +certificates for the registered domain +example\.test +2 +50 in 7d +now\n.*orders of the account +https.* 2 +2 in 3h +\d{4}-/s,
  )

  await acmems.stop()
  using otherFolder = makeTempFolder('limits')
  await using other = await startAcmems(`${accountAndHttp01(pebble)}${block}${away}`, { folder: otherFolder.path })
  assert.equal((await postCsr(other.signUrl, makeCsr({ names: ['a.away.test'] }))).status, 503)
  const { outages: known } = await runJson<{ outages: { issuer: string; reason: string; failures: number }[] }>([
    'limits',
    other.configFile,
  ])
  assert.deepEqual([known.length, known[0]?.issuer], [1, 'away'])
  assert.match(
    (await runCommand(['limits', other.configFile])).out,
    /\nAWAY +SINCE +FAILURES +TRIED AGAIN +REASON\naway +/,
  )
  const shown = await runJson<AccountShown>(['account', 'show', '--issuer', 'away', '--offline', other.configFile])
  assert.ok((shown.outage?.failures ?? 0) > 0)
  assert.ok(readFileSync(other.configFile, 'utf8').includes('away'))
})
