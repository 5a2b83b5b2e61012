// Hosts that picked up are looked at by a clock that the test moves; openssl s_server is what they serve with.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPickUpNotes } from '../src/deployment/pick-up-notes.ts'
import { createDeploymentWatch } from '../src/deployment/watch.ts'
import type { IssuanceEvent, Logger } from '../src/plugin-api.ts'
import { parseProbeTarget } from '../src/probe/probe-target.ts'
import { createProber } from '../src/probe/prober.ts'
import { openState } from '../src/state/state.ts'
import { parseChain } from '../src/x509/chain.ts'
import { type Leaf, makeLeaf } from './leaf-certificates.ts'
import { acceptsTcp, type Child, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort, needPeer, requirePeer } from './peers/peers.ts'
import { createTestClock } from './reliability/test-clock.ts'
import { until } from './until.ts'

const [minuteMs, dayMs] = [60_000, 24 * 3_600_000]
const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }
const names = ['www.example.org']
const subject = { block: 'web', names }

test('two hosts picked up, one serves it: told once, about that one, and once more when it is right', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('watch')
  const older = makeLeaf(folder.path, 'older', 'DNS:www.example.org', 'ec', new Date(Date.now() - 20 * dayMs))
  const newer = makeLeaf(folder.path, 'newer', 'DNS:www.example.org', 'ec', new Date(Date.now() - dayMs))
  const port = await freePort()
  const openssl = needPeer('openssl')
  async function serve(address: string, leaf: Leaf): Promise<Child> {
    const child = startChild(
      openssl.path,
      ['s_server', '-accept', `${address}:${port}`, '-cert', leaf.certificateFile, '-key', leaf.keyFile, '-quiet'],
      { env: { ...process.env, ...openssl.env }, cwd: folder.path, logFile: `${folder.path}/${address}.log` },
    )
    await waitUntilReady(child, 'openssl s_server', () => acceptsTcp(port, address))
    return child
  }
  await using cleanup = new AsyncDisposableStack()
  const good = cleanup.use(await serve('127.0.0.5', newer))
  assert.ok(good)
  const bad = await serve('127.0.0.6', older)
  cleanup.defer(() => bad.stop())

  const clock = createTestClock()
  await using state = await openState(`sqlite:${folder.path}/state.db`, () => clock.nowMs())
  const { deployments } = state
  const stopping = new AbortController()
  const target = parseProbeTarget(`caller:${port}`)
  assert.ok(target !== 'no')
  const events: IssuanceEvent[] = []
  let looks = 0
  let looking = 0
  const prober = createProber({ signal: stopping.signal })
  const context = { clock, log: silent, signal: stopping.signal }
  const watch = createDeploymentWatch({
    deployments,
    context,
    async prober(place, expected) {
      looks += 1
      looking += 1
      return await prober(place, expected).finally(() => {
        looking -= 1
      })
    },
    targetsOf: (block) => (block === 'web' ? [target] : []),
    probedBlocks: () => new Set(['web']),
    installed: async () => [],
    expectedOf: async () => newer.expected,
    tell: (event) => events.push(event),
  })
  const { leaf } = parseChain(readFileSync(newer.certificateFile, 'utf8'))
  await using notes = createPickUpNotes({ ...context, deployments, isProbed: () => true, later: setImmediate })
  // Hosts ask again and again.
  for (let i = 0; i < 100; i++) for (const client of ['127.0.0.5', '127.0.0.6']) notes.note('web', client, leaf)
  await until('both pick-ups', async () => (await deployments.pickUpsOf(subject)).length === 2)
  const running = watch.run()
  const lookAgain = async (ms: number, wanted: number) => {
    clock.pass(ms)
    for (let i = 0; looks < wanted && i < 400; i++) {
      clock.pass(1000)
      await sleep(25)
    }
    assert.equal(looks, wanted)
    await until('its end', () => looking === 0)
    await until('the sighting', async () => (await deployments.sightingsOf(subject)).length === 2)
    await sleep(100)
  }

  await sleep(200)
  assert.equal(looks, 0, 'nobody is looked at before there was time to install')
  await lookAgain(2 * minuteMs, 2)
  assert.equal(events.length, 0, 'once is no news')
  await lookAgain(10 * minuteMs, 3)
  await until('being told', () => events.length === 1)
  const [told] = events
  assert.ok(told?.kind === 'certificate.not-served')
  assert.deepEqual(
    [told.remoteAddress, told.serial, told.block, told.names],
    ['127.0.0.6', newer.expected.serial, 'web', names],
  )
  assert.equal(told.place, `www.example.org@127.0.0.6:${port}`)
  assert.match(told.reason, new RegExp(`an older certificate, serial ${older.expected.serial}`))
  await lookAgain(60 * minuteMs, 4)
  assert.equal(events.length, 1, 'it is told once')

  await bad.stop()
  cleanup.use(await serve('127.0.0.6', newer))
  await lookAgain(6 * 60 * minuteMs, 5)
  await until('being told', () => events.length === 2)
  assert.deepEqual([events[1]?.kind, events[1]?.remoteAddress], ['certificate.served', '127.0.0.6'])
  const sightings = await deployments.sightingsOf(subject)
  assert.deepEqual(
    sightings.map(({ verdict, told: isTold, failures }) => [verdict, isTold, failures]),
    [
      ['newest', false, 0],
      ['newest', false, 0],
    ],
  )
  stopping.abort()
  await running
})
