import type { Readable, Writable } from 'node:stream'
import { createLineReader } from '../channel/line-reader.ts'
import { checkVersion, type Greeting, maxLineBytes, parseGreeting } from './protocol.ts'

/** A way to the holder of a key: a socket, or a child process. */
export type Wire = {
  readonly input: Readable
  readonly output: Writable
  /** What is idle keeps no process alive. */
  setIdle(isIdle: boolean): void
  close(): void
  /** Why it broke, where that can be found out. */
  why(): Promise<string>
}

/** Signs by lacme-accountd's protocol, one request after the other, over a connection that it makes when it is needed. */
export interface HolderClient {
  /** @throws Error when the holder cannot be reached, or is none */
  greeting(signal: AbortSignal): Promise<Greeting>
  /** @throws Error when the holder does not sign it */
  sign(octets: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
}

/** The holder was there, and closed the connection instead of an answer. */
export class RefusedSignature extends Error {}

/** For a person who types a pass phrase, or touches a token, too. */
const answerMs = 60_000

/** @param idleMs how long a connection is kept: lacme-accountd serves nobody else meanwhile */
export function createHolderClient(open: (signal: AbortSignal) => Promise<Wire>, idleMs: number): HolderClient {
  let connection: Connection | undefined
  let known: Greeting | undefined
  let turn: Promise<unknown> = Promise.resolve()
  let uses = 0

  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = turn.then(act, act)
    turn = mine.catch(() => undefined)
    return mine
  }

  async function connect(signal: AbortSignal): Promise<Connection> {
    if (connection?.isOpen() === true) return connection
    const made = createConnection(await open(signal))
    try {
      const version = (await made.line(signal)) ?? made.broken()
      // A shell that greets, and then waits for commands, has no second line.
      if (version !== undefined) checkVersion(version)
      const jwk = await made.line(signal)
      if (version === undefined || jwk === undefined) throw new Error(`it says nothing, and is gone${await made.why()}`)
      const greeting = parseGreeting(version, jwk)
      if (known !== undefined && known.thumbprint !== greeting.thumbprint)
        throw new Error('it holds another key than before: reload the configuration to use that one')
      known = greeting
    } catch (error) {
      made.close()
      throw error
    }
    connection = made
    return made
  }

  async function use<T>(
    signal: AbortSignal,
    act: (connection: Connection, bounded: AbortSignal) => Promise<T>,
  ): Promise<T> {
    uses += 1
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(answerMs)])
    try {
      const one = await connect(bounded)
      one.setIdle(false)
      return await act(one, bounded)
    } catch (error) {
      connection?.close()
      connection = undefined
      throw error
    } finally {
      rest()
    }
  }

  function rest(): void {
    connection?.setIdle(true)
    const before = uses
    AbortSignal.timeout(idleMs).addEventListener('abort', () => {
      if (uses !== before) return
      connection?.close()
      connection = undefined
    })
  }

  return {
    greeting: (signal) =>
      inTurn(async () => {
        if (known === undefined) await use(signal, async () => undefined)
        if (known === undefined) throw new Error('it has not said which key it holds')
        return known
      }),
    sign: (octets, signal) =>
      inTurn(async () => {
        for (let attempt = 1; ; attempt++) {
          // One that was open may have ended meanwhile, as with a restart: that is known only by using it.
          const isFresh = connection?.isOpen() !== true
          const answer = await use(signal, async (one, bounded) => {
            one.write(`${Buffer.from(octets).toString('latin1')}\r\n`)
            return (await one.line(bounded)) ?? { ended: await one.why() }
          }).catch((error: unknown) => {
            if (isFresh || signal.aborted || attempt > 1) throw error
            return { ended: '' }
          })
          if (typeof answer === 'string') return readSignature(answer)
          connection?.close()
          connection = undefined
          if (isFresh || attempt > 1)
            throw new RefusedSignature(`it does not sign this, and its log says why${answer.ended}`)
        }
      }),
  }
}

function readSignature(line: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]{64,2048}$/.test(line)) throw new Error('what it answers is no signature')
  return Buffer.from(line, 'base64url')
}

type Connection = {
  line(signal: AbortSignal): Promise<string | undefined>
  write(text: string): void
  /** What it said that was no line of the protocol. */
  broken(): string | undefined
  isOpen(): boolean
  setIdle(isIdle: boolean): void
  close(): void
  why(): Promise<string>
}

function createConnection(wire: Wire): Connection {
  const reader = createLineReader(maxLineBytes)
  const lines: string[] = []
  let isOpen = true
  let broken: string | undefined
  let wake: () => void = () => undefined
  const end = () => {
    isOpen = false
    wake()
  }
  wire.input.on('data', (chunk: Buffer) => {
    for (const line of reader.push(chunk)) {
      if (line.kind === 'line' && lines.length < 4) lines.push(line.text)
      else {
        broken = line.text
        end()
      }
    }
    wake()
  })
  for (const event of ['end', 'error', 'close']) wire.input.on(event, end)
  wire.output.on('error', end)

  return {
    async line(signal) {
      for (;;) {
        const line = lines.shift()
        if (line !== undefined || !isOpen) return line
        await new Promise<void>((resolve, reject) => {
          const onAbort = () => reject(signal.reason instanceof Error ? signal.reason : new Error('given up'))
          wake = () => {
            signal.removeEventListener('abort', onAbort)
            resolve()
          }
          if (signal.aborted) onAbort()
          else signal.addEventListener('abort', onAbort, { once: true })
        })
      }
    },
    write: (text) => void wire.output.write(text, 'latin1'),
    broken: () => broken,
    isOpen: () => isOpen,
    setIdle: (isIdle) => wire.setIdle(isIdle),
    close() {
      end()
      wire.close()
    },
    why: () => wire.why(),
  }
}
