/**
 * Questions between our own processes over a UNIX socket: a line of JSON each way, CR LF at its end.
 *
 *     asker    {"id":7,"ask":"token", ...}
 *     answerer {"id":7,"answer":{...}}  or  {"id":7,"error":{"name":"...","message":"..."}}
 *     answerer {"tell":"zones", ...}         at any time, about nothing that was asked
 */
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'

export type Reply =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: JsonObject }
  | { readonly kind: 'error'; readonly id: number; readonly name: string; readonly message: string }
  | { readonly kind: 'tell'; readonly tell: string; readonly content: JsonObject }

export type Question = { readonly id: number; readonly ask: string; readonly content: JsonObject }

const beyondAscii = /[^\0-\x7f]/

/** Octets as the line reader has them, one a character. */
export function formatLine(message: JsonObject): string {
  const json = JSON.stringify(message)
  return `${beyondAscii.test(json) ? Buffer.from(json).toString('latin1') : json}\r\n`
}

/** @throws Error when it is none */
export function parseQuestion(line: string): Question {
  const { id, ask, ...content } = parseLine(line)
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || typeof ask !== 'string') throw new Error('no question')
  return { id, ask, content }
}

/** @throws Error when it is none */
export function parseReply(line: string): Reply {
  const message = parseLine(line)
  const { id, tell, answer, error } = message
  if (typeof tell === 'string') return { kind: 'tell', tell, content: message }
  if (typeof id !== 'number') throw new Error('no reply')
  if (isJsonObject(answer)) return { kind: 'answer', id, answer }
  if (!isJsonObject(error) || typeof error.message !== 'string' || typeof error.name !== 'string')
    throw new Error('no reply')
  return { kind: 'error', id, name: error.name, message: error.message }
}

function parseLine(line: string): JsonObject {
  const value: unknown = JSON.parse(beyondAscii.test(line) ? Buffer.from(line, 'latin1').toString('utf8') : line)
  if (!isJsonObject(value)) throw new Error('no object')
  return value
}
