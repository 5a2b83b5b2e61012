import { isJsonObject, type JsonObject } from '../acme/json-object.ts'
import { entryMatchOf, matchOf, statementMatchOf } from './nft-match.ts'
import type { Opening } from './opening.ts'
import { ownerOf } from './rule-owner.ts'
import { allOf, type Chain, canDrop, type Match, type Rule, type Verdict } from './rule-walk.ts'

/** A base chain of nftables. */
export type NftPlace = { readonly family: string; readonly table: string; readonly chain: string }

/** A rule of ours that is there. */
export type NftRule = NftPlace & { readonly handle: number; readonly comment: string }

const hooks: ReadonlySet<unknown> = new Set(['input', 'prerouting', 'ingress'])
const tablesOfIptables: ReadonlySet<string> = new Set(['raw', 'mangle', 'filter', 'security'])
const chainsOfIptables: ReadonlySet<string> = new Set(['INPUT', 'PREROUTING'])
const verdictNames: ReadonlySet<string> = new Set([
  'accept',
  'drop',
  'reject',
  'return',
  'continue',
  'jump',
  'goto',
  'queue',
])

/** What `nft -j list ruleset` told. */
export interface NftRuleset {
  /** The base chains that can drop it: an accept of one chain holds in no other. */
  findDropping(opening: Opening, ownComment: string): NftPlace[]
  /** Without those that iptables wrote: their comments are for iptables alone. */
  readonly ours: readonly NftRule[]
  /** Are there chains such as iptables makes? Whether it really made them it says itself. */
  hasIptables(family: string): boolean
}

export function isLikeIptables({ family, table, chain }: NftPlace): boolean {
  return (family === 'ip' || family === 'ip6') && tablesOfIptables.has(table) && chainsOfIptables.has(chain)
}

/** @throws Error when it is no ruleset */
export function readNftRuleset(json: string): NftRuleset {
  const document: unknown = JSON.parse(json)
  if (!isJsonObject(document) || !Array.isArray(document.nftables)) throw new Error('nft told no ruleset')
  const listed: readonly unknown[] = document.nftables
  const of = (kind: string): JsonObject[] =>
    listed.flatMap((item) => {
      const one = isJsonObject(item) ? item[kind] : undefined
      return isJsonObject(one) ? [one] : []
    })
  const rules = of('rule')
  const bases = of('chain')
    .filter(({ hook, type }) => hooks.has(hook) && type === 'filter')
    .map(({ family, table, name }) => ({ family: String(family), table: String(table), chain: String(name) }))
  const elements = new Map<string, readonly unknown[]>()
  for (const set of [...of('set'), ...of('map')])
    elements.set(keyOf(set, set.name), Array.isArray(set.elem) ? set.elem : [])

  function chainsOf(family: unknown, table: unknown, opening: Opening, ownComment: string): Map<string, Chain> {
    const chains = new Map<string, Chain & { rules: Rule[] }>()
    for (const chain of of('chain'))
      if (chain.family === family && chain.table === table)
        chains.set(String(chain.name), { rules: [], dropsByPolicy: chain.policy === 'drop' })
    const elementsOf = (name: string) => elements.get(keyOf({ family, table }, name))
    for (const rule of rules) {
      // Another one's rule of this kind may go at any moment.
      const isAnothers = ownerOf(rule.comment) !== undefined && rule.comment !== ownComment
      if (rule.family === family && rule.table === table && !isAnothers)
        chains.get(String(rule.chain))?.rules.push(...rulesOf(rule, opening, elementsOf))
    }
    return chains
  }

  return {
    findDropping(opening, ownComment) {
      return bases.filter(({ family, table, chain }) => {
        if (!seesFamily(family, opening)) return false
        const chains = chainsOf(family, table, opening, ownComment)
        const base = chains.get(chain)
        return base !== undefined && canDrop(base, chains)
      })
    },
    hasIptables: (of) => bases.some((base) => base.family === of && isLikeIptables(base)),
    ours: rules.flatMap(({ family, table, chain, handle, comment }) =>
      ownerOf(comment) === undefined
        ? []
        : {
            family: String(family),
            table: String(table),
            chain: String(chain),
            handle: Number(handle),
            comment: String(comment),
          },
    ),
  }
}

/** A rule as those who understand nft's JSON write it. */
export function nftRuleOf(place: NftPlace, { family, protocol, port, address }: Opening, comment: string): JsonObject {
  const equals = (left: JsonObject, right: string | number) => ({ match: { op: '==', left, right } })
  const anyAddress =
    place.family === 'inet'
      ? [equals({ meta: { key: 'nfproto' } }, family === 'ip' ? 'ipv4' : 'ipv6')]
      : place.family === 'netdev'
        ? [equals({ meta: { key: 'protocol' } }, family)]
        : []
  const expr = [
    ...(address === undefined ? anyAddress : [equals({ payload: { protocol: family, field: 'daddr' } }, address)]),
    equals({ payload: { protocol, field: 'dport' } }, port),
    { accept: null },
  ]
  return { ...place, comment, expr }
}

function seesFamily(family: unknown, opening: Opening): boolean {
  return family === 'inet' || family === 'netdev' || family === opening.family
}

function keyOf({ family, table }: { family?: unknown; table?: unknown }, name: unknown): string {
  return `${String(family)} ${String(table)} ${String(name)}`
}

/** One, or one for each entry of a verdict map. */
function rulesOf(
  rule: JsonObject,
  opening: Opening,
  elementsOf: (name: string) => readonly unknown[] | undefined,
): Rule[] {
  const matches: Match[] = []
  for (const statement of Array.isArray(rule.expr) ? rule.expr : []) {
    const [name, content] = isJsonObject(statement)
      ? (Object.entries(statement)[0] ?? ['', undefined])
      : ['', undefined]
    if (name === 'match' && isJsonObject(content)) matches.push(matchOf(content, opening, elementsOf))
    else if (name === 'vmap' && isJsonObject(content)) {
      return entriesOf(content.data, elementsOf).flatMap(([entry, verdict]) => {
        const match = allOf([...matches, entryMatchOf(content.key, entry, opening)])
        return { match, verdict: isJsonObject(verdict) ? verdictOf(verdict) : { kind: 'continue' } }
      })
    } else if (verdictNames.has(name)) return [{ match: allOf(matches), verdict: verdictOf({ [name]: content }) }]
    else if (name === 'xt' && isJsonObject(content) && content.type === 'target')
      return [{ match: allOf(matches), verdict: targetOf(String(content.name)) }]
    else matches.push(statementMatchOf(name, content))
  }
  return []
}

function entriesOf(
  data: unknown,
  elementsOf: (name: string) => readonly unknown[] | undefined,
): readonly (readonly unknown[])[] {
  const listed =
    typeof data === 'string' ? elementsOf(data.replace(/^@/, '')) : isJsonObject(data) ? data.set : undefined
  return Array.isArray(listed) ? listed.filter((entry) => Array.isArray(entry)) : []
}

function verdictOf(verdict: JsonObject): Verdict {
  for (const kind of ['jump', 'goto'] as const) {
    const to = verdict[kind]
    if (isJsonObject(to)) return { kind, target: String(to.target) }
  }
  if ('drop' in verdict || 'reject' in verdict) return { kind: 'drop' }
  // Who has it queued decides about it himself.
  if ('accept' in verdict || 'queue' in verdict) return { kind: 'accept' }
  return { kind: 'return' in verdict ? 'return' : 'continue' }
}

/** What iptables' targets do that nftables has no word for. */
export function targetOf(name: string): Verdict {
  if (name === 'REJECT' || name === 'DROP' || name === 'TARPIT') return { kind: 'drop' }
  if (name === 'ACCEPT' || name === 'NFQUEUE') return { kind: 'accept' }
  return { kind: name === 'RETURN' ? 'return' : 'continue' }
}
