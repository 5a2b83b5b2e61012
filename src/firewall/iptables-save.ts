import { BlockList } from 'node:net'
import { extensionsForSome } from './nft-match.ts'
import { targetOf } from './nft-ruleset.ts'
import type { Opening } from './opening.ts'
import { ownerOf } from './rule-owner.ts'
import { allOf, type Chain, canDrop, type Match, type Rule, type Verdict } from './rule-walk.ts'

/** A chain of iptables that the kernel calls itself. */
export type IptablesPlace = { readonly table: string; readonly chain: string }

/** A rule of ours that is there, as the words after `-A`. */
export type IptablesRule = { readonly table: string; readonly words: readonly string[]; readonly comment: string }

/** What iptables-save told. */
export interface SavedTables {
  findDropping(opening: Opening, ownComment: string): IptablesPlace[]
  readonly ours: readonly IptablesRule[]
}

type Line = { readonly table: string; readonly words: readonly string[]; readonly comment: string | undefined }

const builtin: ReadonlySet<string> = new Set(['INPUT', 'PREROUTING'])
const filtering: ReadonlySet<string> = new Set(['raw', 'mangle', 'filter', 'security'])

export function readSavedTables(text: string): SavedTables {
  const policies: { readonly table: string; readonly chain: string; readonly policy: string }[] = []
  const lines: Line[] = []
  let table = ''
  for (const line of text.split('\n')) {
    const [, chain, policy] = /^:(\S+) (\S+)/.exec(line) ?? []
    if (line.startsWith('*')) table = line.slice(1).trim()
    else if (chain !== undefined && policy !== undefined) policies.push({ table, chain, policy })
    else if (line.startsWith('-A ')) {
      const words = wordsOf(line).slice(1)
      lines.push({ table, words, comment: words[words.indexOf('--comment') + 1] })
    }
  }

  function chainsOf(of: string, opening: Opening, ownComment: string): Map<string, Chain> {
    const chains = new Map<string, Chain & { rules: Rule[] }>()
    for (const { table, chain, policy } of policies)
      if (table === of) chains.set(chain, { rules: [], dropsByPolicy: policy === 'DROP' })
    for (const { table, words, comment } of lines) {
      const isAnothers = ownerOf(comment) !== undefined && comment !== ownComment
      const known = new Set(chains.keys())
      if (table === of && !isAnothers) chains.get(words[0] ?? '')?.rules.push(ruleOf(words.slice(1), opening, known))
    }
    return chains
  }

  return {
    findDropping: (opening, ownComment) =>
      policies
        .filter(({ table, chain }) => filtering.has(table) && builtin.has(chain))
        .filter(({ table, chain }) => {
          const chains = chainsOf(table, opening, ownComment)
          const base = chains.get(chain)
          return base !== undefined && canDrop(base, chains)
        })
        .map(({ table, chain }) => ({ table, chain })),
    ours: lines.flatMap(({ table, words, comment }) =>
      comment === undefined || ownerOf(comment) === undefined ? [] : { table, words, comment },
    ),
  }
}

/** Everything of a rule but its chain; the same words insert it and delete it. */
export function iptablesWords({ family, protocol, port, address }: Opening, comment: string): string[] {
  return [
    ...(address === undefined ? [] : ['-d', `${address}/${family === 'ip' ? 32 : 128}`]),
    ...['-p', protocol, '-m', protocol, '--dport', `${port}`],
    ...['-m', 'comment', '--comment', comment, '-j', 'ACCEPT'],
  ]
}

/** As iptables-save quotes them. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, plain]) => plain ?? (quoted ?? '').replace(/\\(.)/g, '$1'),
  )
}

function ruleOf(words: readonly string[], opening: Opening, chains: ReadonlySet<string>): Rule {
  const matches: Match[] = []
  let verdict: Verdict = { kind: 'continue' }
  for (let index = 0; index < words.length; index++) {
    const isNegated = words[index] === '!'
    if (isNegated) index += 1
    const [option = '', value = ''] = [words[index], words[index + 1]]
    // The words of a target say nothing of what it is for.
    if (option === '-j' || option === '-g') {
      const kind = option === '-j' ? 'jump' : 'goto'
      verdict = chains.has(value) ? { kind, target: value } : targetOf(value)
      break
    }
    const match = optionMatch(option, value, opening)
    if (match === undefined) continue
    matches.push(isNegated ? negated(match) : match)
    index += 1
  }
  return { match: allOf(matches), verdict }
}

/** @returns undefined for a word that is no condition by itself */
function optionMatch(option: string, value: string, opening: Opening): Match | undefined {
  const when = (holds: boolean): Match => (holds ? 'always' : 'never')
  switch (option) {
    case '-i':
      return value === 'lo' ? 'never' : 'perhaps'
    case '-s':
      return 'some'
    case '-d':
      return opening.address === undefined ? 'perhaps' : when(isWithin(opening.address, value))
    case '-p':
      return when(value === opening.protocol || value === 'all')
    case '--dport':
    case '--dports':
      return when(value.split(',').some((one) => isPortWithin(opening.port, one)))
    case '--ctstate':
    case '--state':
      return when(value.split(',').includes('NEW'))
    case '--tcp-flags':
      return 'perhaps'
    case '--pkt-type':
      return when(value === 'unicast')
    case '--dst-type':
      return when(value === 'LOCAL')
    case '--icmp-type':
    case '--icmpv6-type':
      return 'never'
    case '--comment':
      return 'always'
    case '-m':
      if (['tcp', 'udp', 'comment', 'multiport', 'state', 'conntrack', 'pkttype', 'addrtype'].includes(value))
        return 'always'
      return extensionsForSome.has(value) ? 'some' : 'perhaps'
    default:
      return option.startsWith('-') ? 'perhaps' : undefined
  }
}

function negated(match: Match): Match {
  if (match === 'always') return 'never'
  if (match === 'never') return 'always'
  // All but some senders.
  return 'perhaps'
}

function isPortWithin(port: number, text: string): boolean {
  const [from, to] = text.split(':')
  return Number(from) <= port && port <= Number(to ?? from)
}

function isWithin(address: string, text: string): boolean {
  const [network = '', length] = text.split('/')
  const family = address.includes(':') ? 'ipv6' : 'ipv4'
  const list = new BlockList()
  try {
    list.addSubnet(network, Number(length ?? (family === 'ipv4' ? 32 : 128)), family)
  } catch {
    return true
  }
  return list.check(address, family)
}
