import { createHash } from 'node:crypto'
import type { IncomingMessage, RequestListener } from 'node:http'
import { type Answer, createAnsweringDoor, refuse } from '../http/answering-door.ts'
import { isConfidential } from '../http/confidential.ts'
import { presentedHead } from '../http/presented.ts'
import type { Caller, Clock, Logger, Presented } from '../plugin-api.ts'
import type { AddressRanges } from '../plugins/address-range.ts'
import type { Block } from '../policy/block.ts'
import type { BoxContent, Boxes } from '../state/boxes.ts'

/** What the configuration of the moment says. */
export type PickUpRules = {
  readonly trustedProxies: AddressRanges
  readonly blocks: readonly Block[]
  /** The auth blocks of boxes, by name. A box that is not in it is its own record's. */
  readonly boxBlocks: ReadonlyMap<string, string>
}

export type PickUpParts<Rules extends PickUpRules> = {
  readonly rules: () => Rules
  readonly boxes: Pick<Boxes, 'findContent' | 'findBegun'>
  readonly identify: Identify<Rules>
  /** Who asked has this box now; costs next to nothing. */
  readonly pickedUp?: (box: BoxContent, client: string) => void
  readonly clock: Clock
  readonly log: Logger
  readonly makeRequestId: () => string
}

type Head = Omit<Presented, 'bodyBytes'>

/** Who asks, by the head, and the body where there is one: the caller, or the answer for one who cannot be known. */
export type Identify<Rules> = (head: Head, rules: Rules, bodyBytes?: Uint8Array) => Promise<Caller | Refusal>

export type Refusal = {
  readonly status: number
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
  /** For the log alone; by default what the caller reads. */
  readonly reason?: string
}

/** Where boxes are. */
export const boxPath = '/box/'

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
const notReadySeconds = '60'

/** Can a box be called this? It stands in a path, where it must need no escapes. */
export function isBoxName(name: string): boolean {
  return namePattern.test(name)
}

/**
 * `GET /box/NAME`: the sealed key, then the chain, as one PEM text. Hosts ask again and again, so it has an ETag. Nobody
 * learns of a box that is not theirs: a name that is another's and one that does not exist get the same answer.
 */
export function createPickUpDoor<Rules extends PickUpRules>(parts: PickUpParts<Rules>): RequestListener {
  async function answerTo(request: IncomingMessage, head: Head, rules: Rules): Promise<Answer> {
    if (!isConfidential(request, rules.trustedProxies))
      return refuse(403, 'boxes are handed out only over TLS, or on this machine')
    if (head.method !== 'GET' && head.method !== 'HEAD')
      return refuse(405, 'only GET, HEAD and POST are understood here', { allow: 'GET, HEAD, POST' })
    const caller = await parts.identify(head, rules)
    if ('status' in caller)
      return { ...caller, log: { outcome: 'refused', reason: caller.reason ?? caller.text.trimEnd() } }
    if (caller.blocks.length === 0) return refuse(403, `no auth block accepts this caller (${head.remoteAddress})`)
    const [name = ''] = head.path.slice(boxPath.length).split('?', 1)
    return await hand(name, caller, head, rules)
  }

  async function hand(name: string, caller: Caller, head: Head, rules: Rules): Promise<Answer> {
    const box = isBoxName(name) ? await parts.boxes.findContent(name) : undefined
    const record = box ?? (isBoxName(name) ? await parts.boxes.findBegun(name) : undefined)
    const block = rules.boxBlocks.get(name) ?? record?.block
    if (block === undefined || !caller.blocks.includes(block))
      return refuse(403, 'there is no box of this name for this caller', {}, { box: shown(name) })
    if (box === undefined)
      return refuse(
        503,
        `the box ${name} has no certificate yet`,
        { 'retry-after': notReadySeconds },
        { box: name, block },
      )
    if (head.method === 'GET') parts.pickedUp?.(box, head.remoteAddress)
    return handOver(box, block, head)
  }

  return createAnsweringDoor(
    {
      what: 'request',
      trustedProxies: () => parts.rules().trustedProxies,
      clock: parts.clock,
      log: parts.log,
      makeRequestId: parts.makeRequestId,
      unavailable: 'the box cannot be read now',
    },
    async (request) => {
      const rules = parts.rules()
      return await answerTo(request, presentedHead(request, rules.trustedProxies), rules)
    },
  )
}

function handOver({ name, sealedKeyPem, chainPem }: BoxContent, block: string, head: Head): Answer {
  const text = `${sealedKeyPem}${chainPem}`
  const etag = `"${createHash('sha256').update(text).digest('base64url')}"`
  const headers = { etag, 'cache-control': 'private, no-cache' }
  if (isKnown(etag, head.headers.get('if-none-match') ?? []))
    return { status: 304, text: '', headers, log: { box: name, block, outcome: 'unchanged' } }
  return { status: 200, text, headers, log: { box: name, block, outcome: 'picked up' } }
}

/** RFC 9110 §13.1.2: any of the list, compared weakly. */
function isKnown(etag: string, ifNoneMatch: readonly string[]): boolean {
  const known = ifNoneMatch.flatMap((value) => value.split(',')).map((value) => value.trim().replace(/^W\//, ''))
  return known.includes(etag) || known.includes('*')
}

function shown(name: string): string {
  return name.slice(0, 80)
}
