import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { asProblemError } from '../acme/problem.ts'
import { type Answer, createAnsweringDoor, refuse } from '../http/answering-door.ts'
import { readBody } from '../http/body.ts'
import { isConfidential } from '../http/confidential.ts'
import { isWaitingForContinue } from '../http/early-answer.ts'
import { presentedHead } from '../http/presented.ts'
import type { Clock, Logger, Presented } from '../plugin-api.ts'
import { parseRecipient } from '../x509/recipient.ts'
import { boxPath, type Identify, isBoxName, type PickUpRules } from './pick-up-door.ts'

/** A box that a host wants, of blocks that may. */
export type BoxWish = {
  readonly name: string
  readonly recipientPem: string
  readonly domains: readonly string[]
  readonly addresses: readonly string[]
  readonly keyType: string
}

export type RegistrationParts<Rules extends PickUpRules> = {
  readonly rules: () => Rules
  readonly identify: Identify<Rules>
  /**
   * Registers it for the first of these blocks that may have it.
   * @returns undefined when it is done, or why not
   */
  register(wish: BoxWish, blocks: readonly string[]): Promise<string | undefined>
  readonly clock: Clock
  readonly log: Logger
  readonly makeRequestId: () => string
}

const maxBodyBytes = 16 * 1024
const maxQueryLength = 8192
const queryKeys = ['domain', 'ip-address', 'key-type']

/** `POST /box/NAME?domain=…&key-type=…` with the recipient's public key in PEM: the server makes the box and keeps it up. */
export function createRegistrationDoor<Rules extends PickUpRules>(parts: RegistrationParts<Rules>): RequestListener {
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<Answer> {
    const rules = parts.rules()
    const head = presentedHead(request, rules.trustedProxies)
    if (!isConfidential(request, rules.trustedProxies))
      return refuse(403, 'boxes are registered only over TLS, or on this machine')
    if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) return tooLarge()
    if (isWaitingForContinue(request)) response.writeContinue()
    const body = await readBody(request, maxBodyBytes)
    return body === undefined ? tooLarge() : await register(head, body, rules)
  }

  async function register(head: Omit<Presented, 'bodyBytes'>, body: Uint8Array, rules: Rules): Promise<Answer> {
    const caller = await parts.identify(head, rules, body)
    if ('status' in caller)
      return { ...caller, log: { outcome: 'refused', reason: caller.reason ?? caller.text.trim() } }
    const may = rules.blocks.filter((block) => block.registersBoxes === true && caller.blocks.includes(block.name))
    if (may.length === 0)
      return refuse(403, `no auth block lets this caller register boxes (${head.remoteAddress}; register-boxes = yes)`)
    const wish = readWish(head.path, Buffer.from(body).toString('latin1'))
    if (typeof wish === 'string') return refuse(400, wish)
    const problem = await parts.register(
      wish,
      may.map(({ name }) => name),
    )
    if (problem !== undefined)
      return { ...refuse(403, problem), log: { outcome: 'refused', reason: problem, box: wish.name } }
    return { status: 200, text: `${wish.name}\n`, log: { outcome: 'registered', box: wish.name, names: wish.domains } }
  }

  return createAnsweringDoor(
    {
      what: 'box registration',
      trustedProxies: () => parts.rules().trustedProxies,
      clock: parts.clock,
      log: parts.log,
      makeRequestId: parts.makeRequestId,
      unavailable: 'no box can be registered now',
    },
    answer,
  )
}

/** A sentence when it is none. */
function readWish(path: string, recipientPem: string): BoxWish | string {
  const [name = '', query = ''] = path.slice(boxPath.length).split('?', 2)
  if (!isBoxName(name)) return 'a box is called by letters, digits, dots, hyphens and underscores'
  if (query.length > maxQueryLength) return 'the query is too long'
  const wanted = new URLSearchParams(query)
  const unknown = [...wanted.keys()].find((key) => !queryKeys.includes(key))
  if (unknown !== undefined)
    return `there is no ${JSON.stringify(unknown.slice(0, 40))}; known are ${queryKeys.join(', ')}`
  const [keyType = 'ec-256', ...more] = wanted.getAll('key-type')
  if (more.length > 0) return 'key-type is there twice'
  const [domains, addresses] = [wanted.getAll('domain'), wanted.getAll('ip-address')]
  if (domains.length + addresses.length === 0) return 'it names nothing: ?domain=NAME, as often as there are names'
  try {
    parseRecipient(recipientPem)
  } catch (error) {
    return asProblemError(error).message
  }
  return { name, recipientPem, domains, addresses, keyType }
}

function tooLarge(): Answer {
  return refuse(413, `a public key has at most ${maxBodyBytes} bytes`)
}
