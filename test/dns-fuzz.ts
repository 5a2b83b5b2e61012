// Hostile DNS packets: random ones, and good ones that were changed, cut or lengthened.
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { AnswerPacket } from '../src/responder/dns-responder.ts'

export type FuzzOptions = { readonly packets: number; readonly seed: number }

export type FuzzFigures = {
  readonly packets: number
  readonly answered: number
  readonly unanswered: number
  /** How often each response code. */
  readonly rcodes: Readonly<Record<number, number>>
}

/** A small generator with a seed (xorshift32), so that what was found can be had again. */
function createRandom(seed: number): (below: number) => number {
  let state = seed | 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** A question with a name, maybe an OPT record with options, maybe records that a question has not. */
function goodPacket(random: (below: number) => number): Buffer {
  const names = [
    ['host', 'example', 'org', 'acme', 'example', 'net'],
    ['_acme-challenge', 'host', 'example', 'org'],
    ['acme', 'example', 'net'],
    ['org', 'acme', 'example', 'net'],
    ['other', 'acme', 'example', 'net'],
    [],
    ['x'.repeat(63), 'y'.repeat(63), 'z'.repeat(63), 'q'.repeat(61)],
  ]
  const name = (names[random(names.length)] ?? []).flatMap((label) => [label.length, ...Buffer.from(label)])
  const types = [16, 6, 2, 255, 252, 251, 1, 28, 257, 41, 250, random(65536)]
  const type = types[random(types.length)] ?? 16
  const withEdns = random(2) === 1
  const question = [...name, 0, type >> 8, type & 255, 0, random(8) === 0 ? random(256) : 1]
  const option = random(2) === 1 ? [] : [0, random(20), 0, 4, 1, 2, 3, 4]
  const opt = [
    0,
    0,
    41,
    random(256),
    random(256),
    0,
    random(3) === 0 ? random(256) : 0,
    random(2) * 128,
    0,
    0,
    option.length,
    ...option,
  ]
  const flags = random(4) === 0 ? random(0x8000) : 0x0100
  const head = [random(256), random(256), flags >> 8, flags & 255, 0, 1, 0, 0, 0, 0, 0, withEdns ? 1 : 0]
  return Buffer.from([...head, ...question, ...(withEdns ? opt : [])])
}

export function makePacket(random: (below: number) => number): Buffer {
  const kind = random(6)
  if (kind === 0) return Buffer.from(Array.from({ length: random(600) }, () => random(256)))
  const packet = goodPacket(random)
  if (kind === 1) return packet
  if (kind === 2) return packet.subarray(0, random(packet.length + 1))
  if (kind === 3) return Buffer.concat([packet, Buffer.from(Array.from({ length: random(40) }, () => random(256)))])
  for (let changes = random(6) + 1; changes > 0; changes--) packet[random(packet.length)] = random(256)
  // A name that points into itself, or ahead.
  if (kind === 4) packet.writeUInt16BE(0xc000 | random(packet.length), Math.min(packet.length - 2, 12 + random(20)))
  return packet
}

/** What must hold for every answer, whatever was asked. */
export function checkAnswer(packet: Buffer, answer: Buffer | undefined, limit: number): void {
  const shown = packet.toString('hex')
  if (answer === undefined) {
    // Only what is an answer itself, or has no whole header, is passed over in silence.
    assert.ok(packet.length < 12 || ((packet[2] ?? 0) & 0x80) !== 0, `no answer to ${shown}`)
    return
  }
  assert.ok(packet.length >= 12 && ((packet[2] ?? 0) & 0x80) === 0, `an answer to ${shown}`)
  assert.ok(answer.length >= 12 && answer.length <= limit, `${answer.length} octets to ${shown}`)
  assert.equal(answer.readUInt16BE(0), packet.readUInt16BE(0), `the id of ${shown}`)
  const flags = answer.readUInt16BE(2)
  assert.equal(flags & 0x8000, 0x8000, 'QR')
  assert.equal(flags & 0x0080, 0, `recursion is not offered: ${shown}`)
  assert.equal((flags >> 11) & 15, (packet.readUInt16BE(2) >> 11) & 15, 'the opcode')
  assert.notEqual(flags & 15, 2, `SERVFAIL for ${shown}`)
  if (answer.readUInt16BE(4) === 1) {
    const end = packet.indexOf(0, 12)
    assert.ok(end > 0 && answer.subarray(12, end).equals(packet.subarray(12, end)), `the question of ${shown}`)
  }
}

/** Straight into the responder. @throws AssertionError with the packet in hexadecimal */
export async function fuzzAnswers(answer: AnswerPacket, { packets, seed }: FuzzOptions): Promise<FuzzFigures> {
  const random = createRandom(seed)
  const rcodes: Record<number, number> = {}
  let answered = 0
  for (let i = 0; i < packets; i++) {
    const packet = makePacket(random)
    const transport = random(2) === 1 ? 'udp' : 'tcp'
    const reply = await answer(packet, transport, '127.0.0.1')
    checkAnswer(packet, reply, transport === 'udp' ? 1232 : 65_535)
    if (reply === undefined) continue
    answered += 1
    const rcode = reply.readUInt16BE(2) & 15
    rcodes[rcode] = (rcodes[rcode] ?? 0) + 1
  }
  return { packets, answered, unanswered: packets - answered, rcodes }
}

/** The same by UDP at a listener: as many answers must come, and afterwards it still lives. */
export async function fuzzListener(port: number, { packets, seed }: FuzzOptions): Promise<FuzzFigures> {
  const random = createRandom(seed)
  const socket = createSocket('udp4')
  const rcodes: Record<number, number> = {}
  let answered = 0
  let seen = 0
  socket.on('message', (reply) => {
    seen += 1
    const rcode = reply.readUInt16BE(2) & 15
    rcodes[rcode] = (rcodes[rcode] ?? 0) + 1
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  try {
    for (let i = 0; i < packets; i++) {
      const packet = makePacket(random)
      socket.send(packet, port, '127.0.0.1')
      if (packet.length >= 12 && ((packet[2] ?? 0) & 0x80) === 0) answered += 1
      // In step, so that no socket's buffer runs over.
      if (i % 50 === 49) for (let waits = 0; seen < answered && waits < 400; waits++) await pause(5)
    }
    for (let waits = 0; seen < answered && waits < 400; waits++) await pause(5)
  } finally {
    socket.close()
  }
  assert.equal(seen, answered, 'as many answers as questions')
  return { packets, answered, unanswered: packets - answered, rcodes }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
