// dns-01 in a zone of several servers: one lags, one is dead, one comes late; and a crash in between.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDns01Solver } from '../src/plugins/challenges/dns01.ts'
import { dns01Options } from '../src/plugins/challenges/dns01-options.ts'
import { dnsUpdateProvider } from '../src/plugins/dns/dns-update.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { type LogLine, makeContext, noSetup, readValues, txtValues } from './dns-world.ts'
import { makeCsr, postCsr } from './host.ts'
import { type Bind, makeZone, startBind, startNamed } from './peers/bind.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { until, untilLogged } from './until.ts'

const zone = 'zone.test'
const fqdn = `_acme-challenge.www.${zone}`

/** The zone as it once was, for ever. */
const startStale = (): Promise<Bind> =>
  startNamed({ config: `zone "${zone}" { type primary; file "stale"; };`, files: { stale: makeZone(zone) } })

/** Gets its copy only when it asks: the primary tells nobody about changes. */
const startSecondary = (primary: Bind): Promise<Bind> =>
  startNamed({
    config: `zone "${zone}" { type secondary; file "copy"; primaries { 127.0.0.1 port ${primary.port}; };
  min-refresh-time 3; max-refresh-time 3; };`,
  })

const task = {
  identifier: { type: 'dns', value: `www.${zone}` },
  wildcard: false,
  challenge: { type: 'dns-01', url: 'https://ca.test/challenge', token: 'token', status: 'pending' },
  keyAuthorization: 'token.thumbprint',
  expiresAtMs: Number.POSITIVE_INFINITY,
} as const

async function makeSolver(primary: Bind, nameservers: readonly number[], timeoutSeconds: number) {
  const values = readValues(dnsUpdateProvider.options, { 'dns-server': `127.0.0.1:${primary.port}`, ttl: '1' })
  const provider = await dnsUpdateProvider.create(values, noSetup)
  return createDns01Solver(
    provider,
    readValues(dns01Options, {
      nameserver: nameservers.map((port) => `127.0.0.1:${port}`),
      'propagation-timeout': String(timeoutSeconds),
    }),
  )
}

const linesOf = (lines: readonly LogLine[]) => lines.map(({ level, message }) => `${level}: ${message}`)

test('a server that lags is waited for, then named with its words', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using primary = await startBind([zone])
  await using stale = await startStale()
  const solver = await makeSolver(primary, [primary.port, stale.port], 3)
  const context = makeContext()
  await solver.present(task, context)
  const startedMs = performance.now()
  await assert.rejects(Promise.resolve(solver.waitUntilVisible?.(task, context)), {
    name: 'ProblemError',
    code: 'dns',
    message: `the TXT record of ${fqdn} is not on every server of its zone after 3 s: 127.0.0.1:${stale.port} says that there is no TXT record (its zone has the serial 1)`,
  })
  assert.ok(performance.now() - startedMs >= 2900)
  await solver.cleanUp(task, context)
  assert.deepEqual(await txtValues(primary.port, fqdn), [])
})

test('a dead server is noted and holds nothing up; all dead, and the CA decides', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using primary = await startBind([zone])
  const dead = await freePort()
  const context = makeContext()
  const some = await makeSolver(primary, [primary.port, dead], 60)
  await some.present(task, context)
  await some.waitUntilVisible?.(task, context)
  assert.deepEqual(linesOf(context.lines), ['info: some servers of a zone could not be asked'])
  assert.match(JSON.stringify(context.lines[0]?.fields), new RegExp(`127\\.0\\.0\\.1:${dead} cannot be reached`))
  const none = await makeSolver(primary, [dead], 60)
  await none.waitUntilVisible?.(task, context)
  assert.equal(linesOf(context.lines)[1], 'warn: no server of a zone could be asked; the CA decides')
  await some.cleanUp(task, context)
})

test('a waiting order ends with the server', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using primary = await startBind([zone])
  await using stale = await startStale()
  const ending = new AbortController()
  const solver = await makeSolver(primary, [stale.port], 60)
  const waiting = assert.rejects(Promise.resolve(solver.waitUntilVisible?.(task, makeContext(0, ending.signal))))
  await sleep(200)
  ending.abort()
  await waiting
})

test('three servers, one late by a transfer and one dead: Pebble asks the late one', async (t) => {
  if (!requirePeer(t, 'named') || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using primary = await startBind([zone])
  await using secondary = await startSecondary(primary)
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${secondary.port}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${primary.port}
nameserver = 127.0.0.1:${primary.port}
nameserver = 127.0.0.1:${secondary.port}
nameserver = 127.0.0.1:${await freePort()}
ttl = 1
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: [`www.${zone}`] }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + secondary.log())
  await untilLogged(acmems, /some servers of a zone could not be asked/)
  assert.deepEqual(await txtValues(primary.port, fqdn), [])
})

test('kill -9 while it waits: the next start goes on, and nothing is left', async (t) => {
  if (!requirePeer(t, 'named') || !requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using primary = await startBind([zone])
  await using stale = await startStale()
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${primary.port}` })
  using folder = makeTempFolder('killed')
  const config = (nameserver: number) => `${accountAt(pebble)}[verification "dns"]
type = dns01-dnsUpdate
dns-server = 127.0.0.1:${primary.port}
nameserver = 127.0.0.1:${nameserver}
ttl = 1
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
`
  await using killed = await startAcmems(config(stale.port), { folder: folder.path })
  const lost = postCsr(killed.signUrl, makeCsr({ names: [`www.${zone}`] })).catch(() => undefined)
  await until('the record', async () => (await txtValues(primary.port, fqdn)).length === 1, { withinMs: 60_000 })
  process.kill(killed.pid, 'SIGKILL')
  await lost
  assert.equal((await txtValues(primary.port, fqdn)).length, 1)
  await using next = await startAcmems(config(primary.port), { folder: folder.path })
  const isOver = async () => (await txtValues(primary.port, fqdn)).length === 0 && pebble.issuedCount() === 1
  await until('the end of it', isOver, { withinMs: 60_000 })
  assert.equal(next.hasEnded(), false)
})
