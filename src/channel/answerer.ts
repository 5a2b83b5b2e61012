import type { Socket } from 'node:net'
import type { JsonObject } from '../acme/json-object.ts'
import { createLineReader } from './line-reader.ts'
import { parseQuestion } from './question-protocol.ts'
import { createWriteBatch } from './write-batch.ts'

/** @throws Error whose name and message the asker is told: no secret in them */
export type Answer = (ask: string, content: JsonObject) => Promise<JsonObject>

export type AnswererParts = {
  readonly answer: Answer
  /** Of one question. */
  readonly maxLineBytes: number
  /** Of one connection: no more is read before these have their answer. */
  readonly maxPending: number
  /** Told why a connection was ended. */
  readonly onBroken: (why: string) => void
}

/** One connection of a process that asks. */
export interface Answering {
  /** Says something that was not asked for. */
  tell(tell: string, content: JsonObject): void
  readonly closed: Promise<void>
  close(): void
}

/** Who does not read what he asked for. */
const maxUnsentBytes = 4 * 1024 * 1024

/** Answers come without waiting, mostly; whoever asks and asks would have this process do nothing else. */
const answersPerTurn = 32

/** Answers whoever is at the other end; what is no question ends the connection. */
export function answerQuestions(socket: Socket, parts: AnswererParts): Answering {
  const reader = createLineReader(parts.maxLineBytes)
  const waiting: string[] = []
  let pending = 0
  let begunInTurn = 0
  let hasEnded = false
  const { promise: closed, resolve } = Promise.withResolvers<void>()

  const batch = createWriteBatch(socket, () => {
    if (socket.writableLength > maxUnsentBytes) end('it does not read its answers')
    finish()
  })
  function send(message: JsonObject): void {
    if (!socket.destroyed) batch.add(message)
  }

  /** Who has said all and closed his side still gets what he asked for. */
  function finish(): void {
    if (hasEnded && pending === 0 && waiting.length === 0) socket.end()
  }

  function end(why: string): void {
    if (socket.destroyed) return
    parts.onBroken(why)
    socket.destroy()
  }

  async function answerOne(line: string): Promise<void> {
    pending += 1
    try {
      const { id, ask, content } = parseQuestion(line)
      try {
        send({ id, answer: await parts.answer(ask, content) })
      } catch (error) {
        const { name, message } = error instanceof Error ? error : new Error('unknown reason')
        send({ id, error: { name, message } })
      }
    } catch {
      end('what it sends is no question')
    } finally {
      pending -= 1
      work()
    }
  }

  function work(): void {
    while (pending < parts.maxPending && begunInTurn < answersPerTurn && !socket.destroyed) {
      const line = waiting.shift()
      if (line === undefined) break
      if (begunInTurn === 0) setImmediate(nextTurn)
      begunInTurn += 1
      void answerOne(line)
    }
    if (waiting.length === 0) socket.resume()
    else socket.pause()
  }

  function nextTurn(): void {
    begunInTurn = 0
    work()
  }

  socket.on('data', (chunk: Buffer) => {
    for (const line of reader.push(chunk)) {
      if (line.kind === 'broken') return end(line.why)
      waiting.push(line.text)
    }
    work()
  })
  socket.on('end', () => {
    hasEnded = true
    batch.flush()
    finish()
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', () => resolve())
  return {
    tell: (tell, content) => send({ tell, ...content }),
    closed,
    close: () => socket.destroy(),
  }
}
