import { connect, type Socket } from 'node:net'
import type { JsonObject } from '../acme/json-object.ts'
import type { Clock } from '../plugin-context.ts'
import { createLineReader } from './line-reader.ts'
import { checkSocket, type Who } from './permissions.ts'
import { parseReply, type Reply } from './question-protocol.ts'
import { createWriteBatch, type WriteBatch } from './write-batch.ts'

export type AskerParts = {
  readonly path: string
  readonly who: Who
  readonly clock: Clock
  /** Of one answer. */
  readonly maxLineBytes: number
  readonly answerMs: number
  /** Said by the other side without being asked. */
  readonly onTell?: (tell: string, content: JsonObject) => void
  readonly onUp?: () => void
  readonly onDown?: (why: string) => void
}

/** Asks a process of ours over its UNIX socket. The connection is made when it is needed, and again when it broke. */
export interface Asker extends AsyncDisposable {
  /** @throws AnswerError as the other side said; Error when it is not there, or does not answer in time */
  ask(ask: string, content: JsonObject): Promise<JsonObject>
  /** Keeps the connection up, so that what is told arrives; until disposed of. Never rejects. */
  stay(): Promise<void>
}

/** The other side could not, and said why. */
export class AnswerError extends Error {
  /** Of the error there. */
  readonly remoteName: string
  constructor(remoteName: string, message: string) {
    super(message)
    this.remoteName = remoteName
  }
}

const maxPending = 5000
const maxUnsentBytes = 1024 * 1024
const firstPauseMs = 100
const longestPauseMs = 2000

/** How exactly a late answer is noticed, as a part of the time that it has. */
const sweepsPerAnswer = 20

type Waiting = { readonly untilMs: number; resolve(answer: JsonObject): void; reject(error: Error): void }
type Connection = {
  readonly socket: Socket
  readonly batch: WriteBatch
  readonly closed: Promise<void>
}

export function createAsker(parts: AskerParts): Asker {
  const { path, who, clock, answerMs } = parts
  const stopping = new AbortController()
  const waiting = new Map<number, Waiting>()
  let lastId = 0
  let isSweeping = false
  let connection: Promise<Connection> | undefined

  function take(reply: Reply): void {
    if (reply.kind === 'tell') {
      parts.onTell?.(reply.tell, reply.content)
      return
    }
    const one = waiting.get(reply.id)
    waiting.delete(reply.id)
    if (reply.kind === 'answer') one?.resolve(reply.answer)
    else one?.reject(new AnswerError(reply.name, reply.message))
  }

  async function open(): Promise<Connection> {
    stopping.signal.throwIfAborted()
    checkSocket(path, who)
    const socket = connect({ path })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    const reader = createLineReader(parts.maxLineBytes)
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const line of reader.push(chunk)) {
          if (line.kind === 'broken') throw new Error(line.why)
          take(parseReply(line.text))
        }
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error('what it says is no answer'))
      }
    })
    let why = 'it closed the connection'
    socket.on('error', (error) => {
      why = error.message
    })
    const closed = new Promise<void>((resolve) => {
      socket.on('close', () => {
        connection = undefined
        for (const one of waiting.values()) one.reject(new Error(`${path}: ${why}`))
        waiting.clear()
        parts.onDown?.(why)
        resolve()
      })
    })
    parts.onUp?.()
    return { socket, batch: createWriteBatch(socket), closed }
  }

  function connected(): Promise<Connection> {
    if (connection === undefined) {
      const opening = open()
      connection = opening
      opening.catch(() => {
        if (connection === opening) connection = undefined
      })
    }
    return connection
  }

  async function ask(verb: string, content: JsonObject): Promise<JsonObject> {
    if (waiting.size >= maxPending) throw new Error(`${path}: more than ${maxPending} questions wait for their answer`)
    const { socket, batch } = await connected().catch((cause: unknown) => {
      throw new Error(`${path}: ${cause instanceof Error ? cause.message : 'unknown reason'}`, { cause })
    })
    if (socket.writableLength > maxUnsentBytes) throw new Error(`${path}: what was asked before is not even read`)
    lastId += 1
    const { promise, resolve, reject } = Promise.withResolvers<JsonObject>()
    waiting.set(lastId, { untilMs: clock.monotonicMs() + answerMs, resolve, reject })
    batch.add({ ...content, id: lastId, ask: verb })
    if (!isSweeping) void sweep()
    return promise
  }

  /** One timer for all: a timer for each question costs more than the question. */
  async function sweep(): Promise<void> {
    isSweeping = true
    while (waiting.size > 0 && !stopping.signal.aborted) {
      await clock.sleep(answerMs / sweepsPerAnswer, stopping.signal).catch(() => undefined)
      const nowMs = clock.monotonicMs()
      // In the order in which they were asked, and all have equally long.
      for (const [id, { untilMs, reject }] of waiting) {
        if (untilMs > nowMs) break
        waiting.delete(id)
        reject(new Error(`${path}: no answer within ${answerMs / 1000} s`))
      }
    }
    isSweeping = false
  }

  async function stay(): Promise<void> {
    let pauseMs = firstPauseMs
    while (!stopping.signal.aborted) {
      try {
        const { closed } = await connected()
        pauseMs = firstPauseMs
        await closed
      } catch (error) {
        if (!stopping.signal.aborted) parts.onDown?.(error instanceof Error ? error.message : 'unknown reason')
      }
      await clock.sleep(pauseMs, stopping.signal).catch(() => undefined)
      pauseMs = Math.min(longestPauseMs, pauseMs * 2)
    }
  }

  return {
    ask,
    stay,
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('it is being ended'))
      const open = await connection?.catch(() => undefined)
      open?.socket.destroy()
      await open?.closed
    },
  }
}
