// Rows 20 and 22: many that want the same, and two servers on one state.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { makeCsrs } from '../../bench/csrs.ts'
import { type Acmems, startAcmems } from '../acmems.ts'
import { postCsr } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { until } from '../until.ts'
import {
  assertInvariants,
  calm,
  configFor,
  ordersAt,
  requestsTo,
  startProxy,
  startRig,
  startServer,
  stateFile,
} from './rig.ts'
import type { Figures, Scenario } from './scenario.ts'
import { createTestClock } from './test-clock.ts'

async function runSameRequest(full: boolean): Promise<Figures> {
  const count = full ? 500 : 50
  await using rig = await startRig()
  const [csr = ''] = makeCsrs('same', 1)
  const { port } = new URL(rig.server.signUrl)
  // These go away before there is an answer.
  const goers = Array.from({ length: 10 }, () => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(`POST /sign HTTP/1.1\r\nHost: x\r\nContent-Length: ${csr.length}\r\n\r\n${csr}`)
    return socket
  })
  await until('the first order', () => requestsTo(rig.proxy, 'newOrder').length > 0)
  for (const socket of goers) socket.destroy()
  const replies = await Promise.all(Array.from({ length: count }, () => rig.ask(csr)))
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [200], replies[0]?.text)
  assert.equal(new Set(replies.map(({ text }) => text)).size, 1)
  assert.deepEqual([ordersAt(rig.pebble), rig.pebble.issuedCount()], [1, 1])
  await assertInvariants(rig)
  return { 'asked at once': count, orders: 1, 'different answers': 1 }
}

/** Both answer the CA's questions for all: it is told to ask nobody. */
async function runTwo(full: boolean): Promise<Figures> {
  using folder = makeTempFolder('two-servers')
  await using pebble = await startPebble({ ...calm, alwaysValid: true })
  await using proxy = await startProxy(pebble)
  const startOne = async (name: string): Promise<Acmems> => {
    const own = join(folder.path, name)
    mkdirSync(own)
    const config = configFor({ ...pebble, httpPort: await freePort() }, proxy)
    return startAcmems(`[state]\nurl = sqlite:${stateFile(folder.path)}\n${config}`, { folder: own })
  }
  const [first, second] = await Promise.all([startOne('first'), startOne('second')])
  await using _ = first
  await using __ = second
  const csrs = makeCsrs('both', full ? 50 : 8)
  const replies = await Promise.all(
    csrs.flatMap((csr) => [first, second, first, second].map((server) => postCsr(server.signUrl, csr))),
  )
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [200], replies[0]?.text)
  assert.equal(new Set(replies.map(({ text }) => text)).size, csrs.length)
  assert.equal(pebble.issuedCount(), csrs.length)
  assert.equal(ordersAt(pebble), csrs.length)
  return { needs: csrs.length, 'certificates a need': pebble.issuedCount() / csrs.length, 'orders a need': 1 }
}

/** The one that is at it is stopped where it stands; later it goes on, and finds that it is too late. */
async function runStopped(): Promise<Figures> {
  using folder = makeTempFolder('stopped')
  await using pebble = await startPebble({ ...calm, alwaysValid: true })
  await using proxy = await startProxy(pebble)
  const config = configFor({ ...pebble, httpPort: await freePort() }, proxy)
  await using first = await startAcmems(`[state]\nurl = sqlite:${stateFile(folder.path)}\n${config}`)
  let isStopped = false
  const freeze = () => {
    process.kill(first.pid, 'SIGSTOP')
    isStopped = true
  }
  proxy.setRules([{ endpoint: 'finalize', nth: 1, action: { do: 'onRequest', before: freeze } }])
  const [csr = ''] = makeCsrs('stopped', 1)
  const early = postCsr(first.signUrl, csr).catch(() => undefined)
  await until('the first to be stopped', () => isStopped)
  // A minute later in its time, when the lease of the first is over.
  const clock = createTestClock()
  clock.pass(70_000)
  const secondConfig = configFor({ ...pebble, httpPort: await freePort() }, proxy)
  await using second = await startServer(secondConfig, folder.path, clock)
  const reply = await postCsr(second.signUrl, csr)
  assert.equal(reply.status, 200, reply.text)
  process.kill(first.pid, 'SIGCONT')
  const late = await early
  assert.deepEqual([late?.status, late?.text], [200, reply.text], 'the first answers what the second got')
  assert.deepEqual([ordersAt(pebble), pebble.issuedCount()], [1, 1])
  return { orders: ordersAt(pebble), certificates: pebble.issuedCount(), 'answers of the two': 'the same' }
}

export const twoServers: readonly Scenario[] = [
  {
    row: 22,
    fault: 'many hosts post the same request at once; ten more go away before the answer',
    expected: 'one order, one certificate, all get the same',
    run: runSameRequest,
  },
  {
    row: 20,
    fault: 'two servers on one SQLite state, asked for the same at once',
    expected: 'one order and one certificate a need',
    run: runTwo,
  },
  {
    row: 20,
    fault: 'SIGSTOP in the midst of an order; another server takes over; SIGCONT',
    expected: 'the second finishes the same order; the first notices, and answers what the second got',
    run: runStopped,
  },
]
