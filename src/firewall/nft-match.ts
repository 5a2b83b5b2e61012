import { BlockList } from 'node:net'
import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import type { Opening } from './opening.ts'
import type { Match } from './rule-walk.ts'

/** Elements of a named set, by `family table name`. */
export type NamedSets = ReadonlyMap<string, readonly unknown[]>

/** What is known of a part of the packet. */
type Known =
  | { readonly is: 'value'; readonly value: string | number; readonly alias?: string | number }
  /** Anything but this. */
  | { readonly is: 'other'; readonly than: string }
  /** Not there in such a packet. */
  | { readonly is: 'absent' }
  /** The sender's own. */
  | { readonly is: 'sender' }
  | { readonly is: 'unknown' }

const unknown: Known = { is: 'unknown' }
const sender: Known = { is: 'sender' }
const absent: Known = { is: 'absent' }

/** `{"match": …}` of nft's JSON, held against the first packet of a connection from outside. */
export function matchOf(
  { op, left, right }: JsonObject,
  opening: Opening,
  elementsOf: (name: string) => readonly unknown[] | undefined,
): Match {
  if (isJsonObject(left) && Array.isArray(left.concat)) {
    // Which parts belong to which is not looked into: with one of the sender's in it, it is about senders.
    const kinds = left.concat.map((part) => knownOf(part, opening).is)
    if (kinds.includes('absent')) return 'never'
    return kinds.includes('sender') && op !== '!=' ? 'some' : 'perhaps'
  }
  const known = knownOf(left, opening)
  const isNegated = op === '!='
  switch (known.is) {
    case 'absent':
      return 'never'
    case 'sender':
      return isNegated ? 'perhaps' : 'some'
    case 'unknown':
      return 'perhaps'
    case 'other': {
      const alternatives = alternativesOf(right, elementsOf)
      const isOnlyThat = alternatives.every((one) => one === known.than)
      return isOnlyThat ? (isNegated ? 'always' : 'never') : 'perhaps'
    }
    default: {
      const holds = holdsFor(known, op, right, elementsOf)
      return holds === undefined ? 'perhaps' : holds ? 'always' : 'never'
    }
  }
}

/** A verdict map's keys: each as if it were compared with. */
export function entryMatchOf(key: unknown, entry: unknown, opening: Opening): Match {
  return matchOf({ op: '==', left: key, right: entry }, opening, () => undefined)
}

/** A statement that is no comparison and no verdict. */
export function statementMatchOf(name: string, content: unknown): Match {
  switch (name) {
    case 'limit':
    case 'ct count':
    case 'meter':
      return 'some'
    case 'set':
      return isJsonObject(content) && content.stmt !== undefined ? 'some' : 'always'
    case 'quota':
      return 'perhaps'
    case 'xt': {
      // Only the name of iptables' extension is told.
      if (!isJsonObject(content) || content.type !== 'match') return 'always'
      if (content.name === 'comment') return 'always'
      return extensionsForSome.has(String(content.name)) ? 'some' : 'perhaps'
    }
    default:
      return 'always'
  }
}

/** Extensions of iptables that are about some senders, or about too many. */
export const extensionsForSome: ReadonlySet<string> = new Set([
  'connlimit',
  'geoip',
  'hashlimit',
  'limit',
  'mac',
  'recent',
  'set',
])

function knownOf(left: unknown, opening: Opening): Known {
  if (!isJsonObject(left)) return unknown
  const { payload, meta, ct, fib } = left
  if (isJsonObject(payload)) return payloadOf(payload, opening)
  if (isJsonObject(meta)) return metaOf(String(meta.key), opening)
  if (isJsonObject(ct)) {
    if (ct.key === 'state') return { is: 'value', value: 'new' }
    return ct.key === 'direction' ? { is: 'value', value: 'original' } : unknown
  }
  if (isJsonObject(fib)) {
    const flags = Array.isArray(fib.flags) ? fib.flags : [fib.flags]
    if (flags.includes('saddr')) return sender
    return fib.result === 'type' ? { is: 'value', value: 'local' } : unknown
  }
  const [masked, mask] = Array.isArray(left['&']) ? left['&'] : []
  if (isJsonObject(masked) && isJsonObject(masked.payload) && masked.payload.field === 'flags') {
    if (masked.payload.protocol !== opening.protocol) return absent
    return flagsOf(mask).includes('syn') ? { is: 'value', value: 'syn' } : unknown
  }
  return unknown
}

function payloadOf({ protocol, field }: JsonObject, opening: Opening): Known {
  switch (protocol) {
    case 'ip':
    case 'ip6':
      if (protocol !== opening.family) return absent
      if (field === 'saddr') return sender
      if (field === 'daddr' && opening.address !== undefined) return { is: 'value', value: opening.address }
      return field === 'protocol' || field === 'nexthdr' ? transportOf(opening) : unknown
    case 'tcp':
    case 'udp':
    case 'th':
      if (protocol !== 'th' && protocol !== opening.protocol) return absent
      if (field === 'dport') return { is: 'value', value: opening.port }
      if (field === 'flags') return { is: 'value', value: 'syn' }
      return unknown
    case 'ether':
      return field === 'saddr' ? sender : unknown
    case 'icmp':
    case 'icmpv6':
    case 'igmp':
    case 'udplite':
    case 'sctp':
    case 'dccp':
    case 'ah':
    case 'esp':
    case 'arp':
      return absent
    default:
      return unknown
  }
}

function metaOf(key: string, opening: Opening): Known {
  switch (key) {
    case 'l4proto':
      return transportOf(opening)
    case 'nfproto':
      return { is: 'value', value: opening.family === 'ip' ? 'ipv4' : 'ipv6' }
    case 'protocol':
      return { is: 'value', value: opening.family, alias: opening.family === 'ip' ? 'ipv4' : 'ipv6' }
    case 'iif':
    case 'iifname':
      return { is: 'other', than: 'lo' }
    case 'oif':
    case 'oifname':
      return absent
    case 'pkttype':
      return { is: 'value', value: 'host', alias: 'unicast' }
    default:
      return unknown
  }
}

function transportOf({ protocol }: Opening): Known {
  return { is: 'value', value: protocol, alias: protocol === 'tcp' ? 6 : 17 }
}

/** @returns undefined where that cannot be told */
function holdsFor(
  known: Known & { is: 'value' },
  op: unknown,
  right: unknown,
  elementsOf: (name: string) => readonly unknown[] | undefined,
): boolean | undefined {
  const { value } = known
  if (op === '<' || op === '>' || op === '<=' || op === '>=') {
    if (typeof value !== 'number' || typeof right !== 'number') return undefined
    return { '<': value < right, '>': value > right, '<=': value <= right, '>=': value >= right }[op]
  }
  if (op !== '==' && op !== '!=' && op !== 'in') return undefined
  let isIn = false
  for (const one of alternativesOf(right, elementsOf)) {
    const covers = coversOne(known, one)
    if (covers === undefined) return undefined
    isIn ||= covers
  }
  return op === '!=' ? !isIn : isIn
}

function coversOne({ value, alias }: Known & { is: 'value' }, one: unknown): boolean | undefined {
  if (typeof one === 'string' || typeof one === 'number') return one === value || one === alias
  if (!isJsonObject(one)) return undefined
  if (isJsonObject(one.elem)) return coversOne({ is: 'value', value }, one.elem.val)
  if (Array.isArray(one.range)) {
    const [from, to] = one.range
    if (typeof value === 'number') return Number(from) <= value && value <= Number(to)
    return inAddresses(value, (list, family) => list.addRange(String(from), String(to), family))
  }
  if (isJsonObject(one.prefix)) {
    const { addr, len } = one.prefix
    return inAddresses(String(value), (list, family) => list.addSubnet(String(addr), Number(len), family))
  }
  return undefined
}

function inAddresses(address: string, add: (list: BlockList, family: 'ipv4' | 'ipv6') => void): boolean | undefined {
  const family = address.includes(':') ? 'ipv6' : 'ipv4'
  const list = new BlockList()
  try {
    add(list, family)
  } catch {
    return undefined
  }
  return list.check(address, family)
}

/** One value, a set of them, flags, or the elements of a named set. */
function alternativesOf(
  right: unknown,
  elementsOf: (name: string) => readonly unknown[] | undefined,
): readonly unknown[] {
  if (Array.isArray(right)) return right
  if (isJsonObject(right) && Array.isArray(right.set)) return right.set
  if (isJsonObject(right) && Array.isArray(right['|'])) return flagsOf(right)
  if (typeof right === 'string' && right.startsWith('@')) return elementsOf(right.slice(1)) ?? [undefined]
  return [right]
}

function flagsOf(mask: unknown): readonly unknown[] {
  if (Array.isArray(mask)) return mask
  if (isJsonObject(mask) && Array.isArray(mask['|'])) return mask['|'].flatMap((part) => flagsOf(part))
  return [mask]
}
