// Sockets that were opened before us are known by what they are bound to.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { requireIpv6 } from '../../test/peers/peers.ts'
import { adoptSockets, parseDescriptors, systemdDescriptors, takeInherited } from './inherited-sockets.ts'

/** The number that Node.js keeps to itself. */
const descriptorOf = (socket: Server | Socket) => {
  const state = socket as unknown as { [key: symbol]: { handle?: { fd: number } } }
  const symbol = Object.getOwnPropertySymbols(socket).find((one) => one.description === 'state symbol')
  if (symbol !== undefined) return state[symbol]?.handle?.fd ?? -1
  return (socket as unknown as { _handle?: { fd: number } })._handle?.fd ?? -1
}

async function listen(t: TestContext, host: string): Promise<Server> {
  const server = createServer()
  t.after(() => server.close())
  server.listen({ host, port: 0, ipv6Only: true })
  await once(server, 'listening')
  return server
}

test('by address and port, each once; IPv6 in any spelling', async (t) => {
  if (!requireIpv6(t)) return
  const four = await listen(t, '127.0.0.1')
  const six = await listen(t, '::1')
  const udp = createSocket({ type: 'udp6', ipv6Only: true })
  udp.bind(0, '::')
  await once(udp, 'listening')
  t.after(() => udp.close())
  const port = (socket: Server | Socket) => (socket.address() as { port: number }).port
  const descriptors = [four, six, udp].map(descriptorOf)
  assert.deepEqual(adoptSockets(descriptors), [
    `tcp 127.0.0.1:${port(four)}`,
    `tcp [::1]:${port(six)}`,
    `udp [::]:${port(udp)}`,
  ])
  assert.equal(takeInherited('udp', `127.0.0.1:${port(four)}`), undefined)
  assert.equal(takeInherited('tcp', `0.0.0.0:${port(four)}`), undefined)
  assert.equal(takeInherited('tcp', `127.0.0.1:${port(four)}`), descriptors[0])
  assert.equal(takeInherited('tcp', `127.0.0.1:${port(four)}`), undefined)
  assert.equal(takeInherited('tcp', `[0:0:0:0:0:0:0:1]:${port(six)}`), descriptors[1])
  assert.equal(takeInherited('udp', `[::]:${port(udp)}`), descriptors[2])
  for (const wrong of [0, 999])
    assert.throws(() => adoptSockets([wrong]), /descriptor \d+ is no TCP socket that listens/)
})

test('which descriptors there are', () => {
  assert.deepEqual(parseDescriptors('3-5'), [3, 4, 5])
  assert.deepEqual(parseDescriptors('3,7'), [3, 7])
  assert.deepEqual(parseDescriptors(undefined), [])
  for (const text of ['2', '5-3', '3-500', 'x', '3,', '-3'])
    assert.throws(() => parseDescriptors(text), /no descriptors/)
  assert.deepEqual(systemdDescriptors({ LISTEN_PID: String(process.pid), LISTEN_FDS: '2' }), [3, 4])
  // Meant for the process that started us, or nonsense.
  assert.deepEqual(systemdDescriptors({ LISTEN_PID: '1', LISTEN_FDS: '2' }), [])
  assert.deepEqual(systemdDescriptors({ LISTEN_PID: String(process.pid), LISTEN_FDS: 'x' }), [])
  assert.deepEqual(systemdDescriptors({}), [])
})

test('acmems responder --sockets', async (t) => {
  const server = await listen(t, '127.0.0.1')
  const main = join(import.meta.dirname, '../main.ts')
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [main, 'responder', '--socket', '/nonexistent/S', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', descriptorOf(server)],
      timeout: 20_000,
    })
  const none = run('--sockets', '4')
  assert.deepEqual([none.status, /descriptor 4 is no TCP socket/.test(none.stderr)], [1, true], none.stderr)
  const wrong = run('--sockets', '1')
  assert.deepEqual([wrong.status, /--sockets: "1" names no descriptors/.test(wrong.stderr)], [2, true], wrong.stderr)
})
