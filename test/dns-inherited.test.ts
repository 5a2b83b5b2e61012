// A DNS listener that was given a socket for TCP, and none for UDP.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { until } from './until.ts'

const sources = resolve(import.meta.dirname, '../src')
/** Tries once for each line of its input. */
const program = `
import { createInterface } from 'node:readline'
import { adoptSockets } from '${sources}/http/inherited-sockets.ts'
import { openDnsListener } from '${sources}/responder/dns-listener.ts'
adoptSockets([3])
for await (const address of createInterface(process.stdin))
  await openDnsListener(address, async () => undefined, () => 0).then(
    (listener) => console.log('open at ' + listener.boundAddress),
    (error) => console.log(error.message),
  )
process.exit()
`

test('it is said that it is UDP, and the socket for TCP is kept for the next attempt', async (t) => {
  const tcp = createServer()
  tcp.listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  t.after(() => tcp.close())
  const address = `127.0.0.1:${(tcp.address() as AddressInfo).port}`
  const taken = createSocket('udp4')
  taken.bind((tcp.address() as AddressInfo).port, '127.0.0.1')
  taken.unref()
  await once(taken, 'listening')

  const { fd } = (tcp as unknown as { _handle: { fd: number } })._handle
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit', fd],
  })
  t.after(() => child.kill())
  let said = ''
  child.stdout?.on('data', (chunk) => {
    said += String(chunk)
  })
  child.stdin?.write(`${address}\n`)
  await until('the first attempt', () => said.endsWith('\n'))
  assert.equal(
    said,
    `cannot listen on ${address} by UDP (for TCP, a socket was passed on): something else listens there already\n`,
  )
  taken.close()
  await once(taken, 'close')
  // We hold the port all the time: only by the socket that was passed on can it be had.
  child.stdin?.end(`${address}\n`)
  await until('the second attempt', () => said.endsWith(`open at ${address}\n`), {
    withinMs: 5000,
    logs: [{ log: () => said }],
  })
})
