import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createLineReader, type Line } from '../channel/line-reader.ts'
import { maxLineBytes, parseSigningRequest } from '../remote-key/protocol.ts'
import type { AuditChain } from './audit-chain.ts'
import type { Journal } from './journal.ts'
import type { HeldKey } from './key.ts'
import { judge, type Policy } from './policy.ts'
import type { RateGauge } from './rate.ts'

/** What one socket offers; every connection to it is served by the same. */
export type Door = {
  readonly name: 'socket' | 'admin' | 'stdio'
  readonly key: HeldKey
  readonly policy: Policy
  readonly greeting: string
  readonly rate: RateGauge | undefined
  readonly orderRate: RateGauge | undefined
  readonly journal: Journal
  readonly audit: AuditChain | undefined
}

/** A connection being served. */
export type Session = {
  readonly done: Promise<void>
  /** Which line it has begun and not ended, counted from nought; undefined between lines. */
  readonly openLine: () => number | undefined
}

/** Speaks until the peer goes, or asks for what is not signed. Never rejects: whatever comes is the peer's own affair. */
export function serveSession(input: Readable, output: Writable, id: string, door: Door): Session {
  const reader = createLineReader(maxLineBytes)
  let lines = 0

  async function* answers(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
    yield door.greeting
    for await (const chunk of chunks) {
      for (const line of reader.push(chunk)) {
        lines += 1
        const signature = await signLine(line, id, door)
        if (signature === undefined) return
        yield `${signature}\r\n`
      }
    }
    if (reader.pendingBytes > 0) refuse(id, door, 'half a line', undefined)
  }

  return {
    openLine: () => (reader.pendingBytes > 0 ? lines : undefined),
    done: pipeline(input, answers, output).catch((error: unknown) => {
      door.journal.say('debug', `[${id}] ${error instanceof Error ? error.message : 'the connection broke'}`)
    }),
  }
}

/** undefined: it is not signed, and the connection ends without an answer, as lacme's client expects it. */
async function signLine(line: Line, id: string, door: Door): Promise<string | undefined> {
  if (line.kind === 'broken') return refuse(id, door, line.why, undefined)
  const request = parseSigningRequest(line.text, door.policy.reach === 'everything')
  if ('malformed' in request) {
    const { malformed, headerText, payloadText = '' } = request
    return refuse(id, door, malformed, headerText === undefined ? undefined : { headerText, payloadText })
  }
  const judgement = judge(request, door.key.alg, door.policy)
  if (!judgement.sign) return refuse(id, door, judgement.why, request)
  if (door.rate?.take() === false) return refuse(id, door, 'more signatures than rate allows', request)
  if (judgement.kind === 'newOrder' && door.orderRate?.take() === false)
    return refuse(id, door, 'more orders than order-rate allows', request)
  try {
    // Noted before it is given out: a signature that nobody wrote down is never on its way.
    door.audit?.note({ event: 'SIGNED', door: door.name, id, kind: judgement.kind, ...auditText(request) })
    const signature = await door.key.sign(Buffer.from(line.text, 'latin1'))
    door.journal.say('usual', `[${id}] SIGNED ${describe(request)}`)
    return Buffer.from(signature).toString('base64url')
  } catch (error) {
    // What is noted already as signed was not given out: an agent is locked, say.
    return refuse(id, door, error instanceof Error ? error.message : 'unknown reason', request)
  }
}

type Texts = { readonly headerText: string; readonly payloadText: string }

function refuse(id: string, door: Door, why: string, request: Texts | undefined): undefined {
  door.journal.say('always', `[${id}] NOSIGN [${why}]${request === undefined ? '' : ` ${describe(request)}`}`)
  try {
    const text = request === undefined ? {} : auditText(request)
    door.audit?.note({ event: 'NOSIGN', door: door.name, id, why, ...text })
  } catch (error) {
    door.journal.say('always', `Error: ${error instanceof Error ? error.message : 'unknown reason'}`)
  }
  return undefined
}

const maxShown = 4096

/** "playload" is lacme-accountd's own word; who reads its log looks for it. */
function describe({ headerText, payloadText }: Texts): string {
  return `header=base64url(${shorten(headerText)}) playload=base64url(${shorten(payloadText)})`
}

function auditText({ headerText, payloadText }: Texts): { header: string; payload: string } {
  return { header: shorten(headerText), payload: shorten(payloadText) }
}

function shorten(text: string): string {
  return text.length > maxShown ? `${text.slice(0, maxShown)}… (${text.length} characters)` : text
}
