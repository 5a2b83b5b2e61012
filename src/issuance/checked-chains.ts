import { type Chain, type ChainNeed, checkChain, parseChain } from '../x509/chain.ts'

/** Chains that were checked before: hosts ask for the same kept certificate again and again. */
export type CheckedChains = {
  /** @throws ChainError when the chain does not answer the need; its time is not looked at */
  check(pem: string, need: ChainNeed): Chain
}

const maxEntries = 1000

/** Remembers only what was good, and only for the same key and names: another text or another need is checked anew. */
export function createCheckedChains(): CheckedChains {
  const checked = new Map<string, { readonly chain: Chain; readonly need: ChainNeed }>()
  return {
    check(pem, need) {
      const known = checked.get(pem)
      if (
        known !== undefined &&
        known.need.publicKeyHash === need.publicKeyHash &&
        known.need.identifiers === need.identifiers
      )
        return known.chain
      const chain = parseChain(pem)
      checkChain(chain, need)
      const [oldest] = checked.keys()
      if (checked.size >= maxEntries && oldest !== undefined) checked.delete(oldest)
      checked.set(pem, { chain, need })
      return chain
    },
  }
}
