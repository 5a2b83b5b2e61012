// A hub and an agent through months: the host comes before the hub's own timer, so a renewal is one order at the CA.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer, request as requestPlain } from 'node:http'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { certificateId } from '../src/x509/certificate-id.ts'
import type { Rule } from './faults/rule.ts'
import { directoryWithout } from './faults/scenarios.ts'
import { makeTempFolder } from './peers/child.ts'
import type { Pebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { caAt } from './reliability/ca-time.ts'
import { ordersAt, type Rig, readState, type Server, startRig, startServer } from './reliability/rig.ts'
import { createTestClock, type TestClock } from './reliability/test-clock.ts'
import { until } from './until.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const lifetimeMs = 90 * dayMs

type World = AsyncDisposable & {
  readonly rig: Rig
  readonly agent: Server
  /** So much time, in steps, until it is so; true: it is. */
  pass(ms: number, stepMs: number, is?: () => boolean): Promise<boolean>
  serial(): string
  certificate(): X509Certificate
}

async function startWorld(clock: TestClock, certificatesForMs?: number, rules: readonly Rule[] = []): Promise<World> {
  await using stack = new AsyncDisposableStack()
  const rig = stack.use(
    await startRig({ clock, caRules: caAt(clock, certificatesForMs), rules, pebble: { alwaysValid: true } }),
  )
  const folder = join(stack.use(makeTempFolder('agent')).path, 'agent')
  mkdirSync(folder)
  const place = join(folder, 'web')
  const asked = { inFlight: 0 }
  const server = await relayInTime(rig.server.signUrl.replace('/sign', ''), clock, asked, stack)
  const agent = stack.use(
    await startServer(
      `[issuer "hub"]\ntype = acmems\nserver = ${server}\n[certificate "web"]\nissuer = hub\ndomain = www.example.test\ndirectory = ${place}\n`,
      folder,
      clock,
    ),
  )
  const file = join(place, 'cert.pem')
  await until('the first', () => existsSync(file))
  const owned = stack.move()
  const certificate = () => new X509Certificate(readFileSync(file))
  // The agent may have been woken and not have asked yet, because it writes a file, or wait for its answer.
  const isBusy = () => asked.inFlight > 0 || process.getActiveResourcesInfo().some((one) => one.startsWith('FSReq'))
  const settle = async () => {
    for (let quietRounds = 0; quietRounds < 2; ) {
      await rig.idle()
      await sleep(20)
      quietRounds = isBusy() ? 0 : quietRounds + 1
    }
    await rig.idle()
  }
  return {
    ...{ rig, agent, certificate, serial: () => certificate().serialNumber },
    async pass(ms, stepMs, is = () => false) {
      for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
        if (is()) return true
        clock.pass(stepMs)
        await settle()
      }
      return is()
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** The hub lives in the test's time, too: what it dates is dated by the test's clock. */
async function relayInTime(
  hubUrl: string,
  clock: TestClock,
  asked: { inFlight: number },
  stack: AsyncDisposableStack,
): Promise<string> {
  const relay = createServer((incoming, response) => {
    asked.inFlight += 1
    response.once('close', () => {
      asked.inFlight -= 1
    })
    const { method, headers } = incoming
    const passOn = requestPlain(`${hubUrl}${incoming.url}`, { method, headers }, (reply) => {
      const date = new Date(clock.nowMs()).toUTCString()
      response.writeHead(reply.statusCode ?? 500, { ...reply.headers, date })
      reply.pipe(response)
    })
    passOn.on('error', () => response.destroy())
    incoming.pipe(passOn)
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  stack.defer(async () => {
    relay.closeAllConnections()
    await new Promise((resolve) => relay.close(resolve))
  })
  return `http://127.0.0.1:${(relay.address() as AddressInfo).port}`
}

const urlOf = (rig: Rig, certificate: X509Certificate) =>
  `${rig.server.signUrl.replace('/sign', '')}/renewal-info/${certificateId(certificate.raw)}`

test('three renewals of an agent, each with another key, are three orders at the CA', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const clock = createTestClock()
  await using world = await startWorld(clock, lifetimeMs, directoryWithout('renewalInfo'))
  const { rig } = world
  const keys = new Set<string>()
  for (let renewal = 0; renewal < 3; renewal += 1) {
    const { serialNumber, publicKey, raw } = world.certificate()
    keys.add(publicKey.export({ type: 'spki', format: 'pem' }).toString())
    assert.equal(ordersAt(rig.pebble), renewal + 1)
    assert.equal(await world.pass(55 * dayMs, 11 * dayMs, () => world.serial() !== serialNumber), false)
    const reply = await fetch(urlOf(rig, world.certificate()))
    assert.equal(reply.status, 200)
    assert.equal(reply.headers.get('retry-after'), '3600')
    const { suggestedWindow } = (await reply.json()) as { suggestedWindow: { start: string; end: string } }
    const planned = readState(rig.folder, `select plan_json from register where serial = '${serialNumber}'`)
    const plan = JSON.parse(String(planned[0]?.plan_json)) as { ownAtMs: number; chosenAtMs?: number }
    assert.ok(Date.parse(suggestedWindow.end) < (plan.chosenAtMs ?? plan.ownAtMs), 'before the hub itself')
    assert.ok(await world.pass(7 * dayMs, 2 * hourMs, () => world.serial() !== serialNumber), 'renewed in time')
    assert.ok(!world.certificate().raw.equals(raw))
    // And well beyond the hub's own moment.
    await world.pass(3 * dayMs, 12 * hourMs)
    assert.equal(ordersAt(rig.pebble), renewal + 2, rig.server.log())
    assert.equal(rig.pebble.issuedCount(), renewal + 2)
  }
  assert.equal(keys.size, 3)
})

test('what the CA says of a sudden is with the agent soon, and still is one order', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const clock = createTestClock()
  await using world = await startWorld(clock)
  const { rig } = world
  const first = world.certificate()
  await world.pass(2 * hourMs, 30 * minuteMs)
  const explanationURL = 'https://ca.example/incident'
  const [start, end] = [clock.nowMs() - 2 * dayMs, clock.nowMs() - dayMs].map((ms) => new Date(ms).toISOString())
  const said = { suggestedWindow: { start, end }, explanationURL }
  await setRenewalInfo(rig.pebble, first, said)
  // The hub asks Pebble every six hours, the agent the hub every hour.
  assert.ok(await world.pass(8 * hourMs, 10 * minuteMs, () => world.serial() !== first.serialNumber), 'replaced')
  assert.match(world.agent.log(), /https:\/\/ca\.example\/incident/)
  await world.pass(6 * hourMs, hourMs)
  assert.equal(ordersAt(rig.pebble), 2, rig.server.log())
})

test('an agent that went away is waited for, but not for long', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const clock = createTestClock()
  await using world = await startWorld(clock)
  const { rig } = world
  const first = world.certificate()
  await world.pass(hourMs, 30 * minuteMs)
  await world.agent.stop()
  const [start, end] = [clock.nowMs() - 2 * dayMs, clock.nowMs() - dayMs].map((ms) => new Date(ms).toISOString())
  await setRenewalInfo(rig.pebble, first, { suggestedWindow: { start, end } })
  assert.ok(await world.pass(9 * hourMs, 30 * minuteMs, () => ordersAt(rig.pebble) === 2), 'the hub itself')
  // What it knows no more it does not say.
  assert.equal((await fetch(urlOf(rig, first))).status, 404)
  assert.equal(world.serial(), first.serialNumber)
})

test('the door for renewal information: ids, methods, what is revoked', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const clock = createTestClock()
  await using world = await startWorld(clock)
  const url = urlOf(world.rig, world.certificate())
  const base = url.slice(0, url.lastIndexOf('/') + 1)
  const statusOf = async (path: string, init?: RequestInit) => (await fetch(`${base}${path}`, init)).status
  assert.deepEqual(
    await Promise.all(
      ['', 'a', 'a.b.c', 'a.', '.a', 'a.AA', `a.${'A'.repeat(45)}`, 'a%2e.AB'].map((id) => statusOf(id)),
    ),
    [400, 400, 400, 400, 400, 400, 400, 400],
  )
  assert.equal(await statusOf('abcd.AQID'), 404)
  assert.equal(await statusOf(url.slice(base.length), { method: 'POST', body: 'x' }), 405)
  const head = await fetch(url, { method: 'HEAD' })
  assert.deepEqual([head.status, head.headers.get('content-type'), await head.text()], [200, 'application/json', ''])
})

function setRenewalInfo(pebble: Pebble, certificate: X509Certificate, said: object): Promise<void> {
  const body = JSON.stringify({ Certificate: certificate.toString(), ARIResponse: JSON.stringify(said) })
  return new Promise((resolve, reject) => {
    const ca = readFileSync(pebble.caFile)
    const headers = { 'user-agent': 'acmems-tests' }
    const post = request(
      `${pebble.managementUrl}/set-renewal-info/`,
      { method: 'POST', ca, agent: false, headers },
      (reply) => {
        let text = ''
        reply.on('data', (chunk: Buffer) => {
          text += String(chunk)
        })
        reply.on('end', () => {
          if (reply.statusCode === 200) resolve()
          else reject(new Error(`set-renewal-info: ${reply.statusCode} ${text}`))
        })
      },
    )
    post.on('error', reject)
    post.end(body)
  })
}
