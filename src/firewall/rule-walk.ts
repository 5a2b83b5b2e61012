/** Does a rule concern the first packet of a connection to our port, whoever outside sends it? */
export type Match =
  | 'always'
  | 'never'
  /** That cannot be told beforehand. */
  | 'perhaps'
  /** Only for some senders, or only when there are too many: a ban, a limit. What it drops is meant to be dropped. */
  | 'some'

export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' }
  | { readonly kind: 'jump' | 'goto'; readonly target: string }

export type Rule = { readonly match: Match; readonly verdict: Verdict }

export type Chain = {
  readonly rules: readonly Rule[]
  /** Of a base chain: what becomes of what no rule decides. */
  readonly dropsByPolicy: boolean
}

type Outcome = 'drops' | 'ends' | 'through'

/** Can a connection from anywhere be dropped there? What is accepted before always counts as accepted. */
export function canDrop(base: Chain, chains: ReadonlyMap<string, Chain>): boolean {
  const known = new Map<string, Outcome>()

  function walkChain(name: string): Outcome {
    const before = known.get(name)
    if (before !== undefined) return before
    // The kernel allows no circles; whoever finds one here goes on.
    known.set(name, 'through')
    const outcome = walk(chains.get(name)?.rules ?? [])
    known.set(name, outcome)
    return outcome
  }

  function walk(rules: readonly Rule[]): Outcome {
    for (const { match, verdict } of rules) {
      if (match === 'never' || match === 'some') continue
      const outcome = judge(verdict)
      if (outcome === 'drops') return 'drops'
      if (match !== 'always') continue
      if (outcome === 'ends') return 'ends'
      if (verdict.kind === 'return' || verdict.kind === 'goto') return 'through'
    }
    return 'through'
  }

  function judge(verdict: Verdict): Outcome {
    if (verdict.kind === 'drop') return 'drops'
    if (verdict.kind === 'accept') return 'ends'
    return verdict.kind === 'jump' || verdict.kind === 'goto' ? walkChain(verdict.target) : 'through'
  }

  const outcome = walk(base.rules)
  return outcome === 'drops' || (outcome === 'through' && base.dropsByPolicy)
}

/** All of them must hold. */
export function allOf(matches: readonly Match[]): Match {
  for (const decisive of ['never', 'some', 'perhaps'] as const) if (matches.includes(decisive)) return decisive
  return 'always'
}
