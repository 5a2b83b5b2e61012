// The DNS responder is open to the whole Internet: whatever comes, it lives, and says only what it may.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { openDnsListener } from '../src/responder/dns-listener.ts'
import { createResponseRates, networkOf } from '../src/responder/response-rates.ts'
import { fuzzAnswers, fuzzListener } from './dns-fuzz.ts'
import { makeDnsWorld } from './dns-responder-world.ts'
import { until } from './until.ts'

const value = 'v'.repeat(43)
const question = (id: number, name = 'host.example.org.acme.example.net') =>
  Buffer.from([
    ...[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    ...name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]),
    ...[0, 0, 16, 0, 1],
  ])
const framed = (packet: Buffer) => Buffer.concat([Buffer.of(packet.length >> 8, packet.length & 255), packet])

test('5,000 random and changed packets, straight and by UDP', async () => {
  await using world = await makeDnsWorld()
  await world.put('host.example.org', value)
  const direct = await fuzzAnswers(world.answer, { packets: 5000, seed: 7 })
  const listened = await fuzzListener(world.port, { packets: 1000, seed: 8 })
  // It is a test of something only where each kind of answer was among them.
  for (const rcode of [0, 1, 3, 4, 5]) assert.ok((direct.rcodes[rcode] ?? 0) > 10, JSON.stringify(direct))
  assert.ok(listened.answered > 500)
  assert.deepEqual(world.errors, [])
  assert.equal((await world.answer(question(1), 'udp', '192.0.2.1'))?.readUInt16BE(6), 1)
})

/** Response code, or what else became of it. */
async function fate(packet: Buffer): Promise<string> {
  await using world = await makeDnsWorld()
  const answer = await world.answer(packet, 'tcp', '192.0.2.1')
  return answer === undefined ? 'none' : String(answer.readUInt16BE(2) & 15)
}

test('what is malformed is FORMERR, what is an answer is not answered', async (t) => {
  const good = question(1)
  const withCounts = (...counts: number[]) =>
    Buffer.concat([good.subarray(0, 4), Buffer.from(counts.flatMap((n) => [0, n])), good.subarray(12)])
  const opt = Buffer.of(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
  const withOpts = (...opts: Buffer[]) => Buffer.concat([withCounts(1, 0, 0, opts.length), ...opts])
  const flagged = (high: number) => Buffer.concat([good.subarray(0, 2), Buffer.of(high), good.subarray(3)])
  for (const [what, packet, expected] of [
    ['good', good, '3'],
    ['an answer', flagged(0x80), 'none'],
    ['eleven octets', good.subarray(0, 11), 'none'],
    ['only a header', good.subarray(0, 12), '1'],
    ['no question', withCounts(0, 0, 0, 0), '1'],
    ['two questions', Buffer.concat([withCounts(2, 0, 0, 0), good.subarray(12)]), '1'],
    ['an answer record', withCounts(1, 1, 0, 0), '1'],
    ['fewer records than it says', withCounts(1, 0, 0, 1), '1'],
    ['octets behind it', Buffer.concat([good, Buffer.of(0)]), '1'],
    ['two OPT records', withOpts(opt, opt), '1'],
    ['an OPT record that is somebody’s', withOpts(Buffer.concat([Buffer.of(1, 97), opt])), '1'],
    ['an option that is cut off', withOpts(Buffer.of(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 1, 0, 9)), '1'],
    ['a good OPT record', withOpts(opt), '3'],
    ['a pointer for a name', Buffer.concat([good.subarray(0, 12), Buffer.of(0xc0, 12, 0, 16, 0, 1)]), '1'],
    [
      'a label of 64',
      Buffer.concat([good.subarray(0, 12), Buffer.of(64), Buffer.alloc(64, 97), Buffer.of(0, 0, 16, 0, 1)]),
      '1',
    ],
    ['a name of 256', question(1, Array(4).fill('a'.repeat(62)).join('.').concat('.aa')), '1'],
    ['a name of 255', question(1, Array(4).fill('a'.repeat(62)).join('.').concat('.a')), '5'],
    ['an update', flagged(5 << 3), '4'],
    ['an opcode that is none', flagged(15 << 3), '4'],
  ] as const)
    await t.test(what, async () => assert.equal(await fate(packet), expected))
})

test('a label with a dot in it is another name', async () => {
  await using world = await makeDnsWorld()
  await world.put('host.example.org', value)
  const packet = Buffer.from(question(1))
  // 4 host 7 example -> 12 host.example
  packet[12] = 12
  packet[17] = '.'.charCodeAt(0)
  const answer = await world.answer(packet, 'tcp', '192.0.2.1')
  assert.equal((answer?.readUInt16BE(2) ?? 0) & 15, 3)
})

test('the state fails: SERVFAIL, and somebody is told', async () => {
  await using world = await makeDnsWorld()
  world.state.answers.findTexts = () => Promise.reject(new Error('no state'))
  const answer = await world.answer(question(1), 'udp', '192.0.2.1')
  assert.equal((answer?.readUInt16BE(2) ?? 0) & 15, 2)
  assert.equal(world.errors.length, 1)
})

test('response rates: first all, then every other truncated, bounded in memory; TCP is free', async () => {
  let nowMs = 0
  const rates = createResponseRates({ perSecond: 10, burst: 3, maxNetworks: 100 }, () => nowMs)
  const fates = (address: string, count: number) => Array.from({ length: count }, () => rates.decide(address))
  assert.deepEqual(fates('192.0.2.1', 7), ['send', 'send', 'send', 'truncate', 'drop', 'truncate', 'drop'])
  assert.equal(rates.decide('192.0.2.200'), 'truncate', 'the same network')
  assert.equal(rates.decide('192.0.3.1'), 'send', 'another one')
  nowMs += 200
  assert.deepEqual(fates('192.0.2.1', 3), ['send', 'send', 'drop'])
  assert.ok(
    fates('127.0.0.1', 50).every((one) => one === 'send'),
    'nobody forges our own address',
  )
  for (let i = 0; i < 1000; i++) rates.decide(`10.${i >> 8}.${i & 255}.1`)
  assert.equal(rates.size, 100)
  for (const [address, network] of [
    ['192.0.2.1', '192.0.2'],
    ['::ffff:192.0.2.1', '192.0.2'],
    ['2001:db8:1:2ff::1', '2001:db8:1:2'],
    ['2001:db8:1:200::', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['::1', undefined],
    ['127.5.0.1', undefined],
  ])
    assert.equal(networkOf(address ?? ''), network)

  await using world = await makeDnsWorld(undefined, { perSecond: 1, burst: 1, maxNetworks: 10 })
  await world.put('host.example.org', value)
  const replies: (Buffer | undefined)[] = []
  for (let i = 0; i < 3; i++) replies.push(await world.answer(question(i), 'udp', '192.0.2.1'))
  const [first, second, third] = replies
  assert.equal(first?.readUInt16BE(6), 1)
  assert.deepEqual([second?.readUInt16BE(6), (second?.readUInt16BE(2) ?? 0) & 0x200], [0, 0x200])
  assert.equal(third, undefined)
  assert.equal((await world.answer(question(9), 'tcp', '192.0.2.1'))?.readUInt16BE(6), 1)
})

async function open(port: number): Promise<Socket & { received: Buffer }> {
  const socket = Object.assign(connect({ port, host: '127.0.0.1', allowHalfOpen: true }), { received: Buffer.alloc(0) })
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    socket.received = Buffer.concat([socket.received, chunk])
  })
  await once(socket, 'connect')
  return socket
}

test('TCP: pipelined, in pieces, half-closed, idle, too many, and no DNS at all', async (t) => {
  await using world = await makeDnsWorld()
  await world.put('host.example.org', value)
  let nowMs = 0
  const limits = { maxConnections: 4, maxPerNetwork: 4, idleMs: 1000, maxPipelined: 3 }
  const listener = await openDnsListener('127.0.0.1:0', world.answer, () => nowMs, limits)
  t.after(() => listener.close(0))
  const port = Number(listener.boundAddress.split(':')[1])
  const size = framed((await world.answer(question(1), 'tcp', '127.0.0.1')) ?? Buffer.alloc(0)).length

  await t.test(
    'a hundred questions at once, then the end of ours: all are answered, then the end of theirs',
    async () => {
      const socket = await open(port)
      const closed = once(socket, 'end')
      socket.end(Buffer.concat(Array.from({ length: 100 }, (_, i) => framed(question(i)))))
      await closed
      assert.equal(socket.received.length, 100 * size)
    },
  )
  await t.test('octet by octet', async () => {
    const socket = await open(port)
    for (const octet of framed(question(5))) socket.write(Buffer.of(octet))
    await until('an answer', () => socket.received.length === size)
    socket.destroy()
  })
  await t.test('what is no DNS ends the connection', async () => {
    const socket = await open(port)
    const closed = once(socket, 'end')
    socket.write(framed(Buffer.from('hello')))
    await closed
    socket.destroy()
  })
  await t.test('drops without a whole question end it as well', async () => {
    const socket = await open(port)
    const closed = once(socket, 'end')
    socket.write(Buffer.of(0))
    nowMs += 1500
    await closed
    socket.destroy()
  })
  await t.test('a newcomer takes the place of the one that was silent for longest', async () => {
    const sockets: (Socket & { received: Buffer })[] = []
    for (let i = 0; i < 4; i++) {
      sockets.push(await open(port))
      nowMs += 1
    }
    const fifth = await open(port)
    fifth.write(framed(question(6)))
    await until('an answer', () => fifth.received.length === size)
    await until('the first to be closed', () => sockets[0]?.destroyed === true || sockets[0]?.readableEnded === true)
    for (const socket of [...sockets, fifth]) socket.destroy()
  })
})

test('a port that is taken is named', async () => {
  await using world = await makeDnsWorld()
  await assert.rejects(
    openDnsListener(world.listener.boundAddress, world.answer, () => 0),
    new RegExp(`cannot listen on ${world.listener.boundAddress}: something else listens there already`),
  )
})
