import { hash, X509Certificate } from 'node:crypto'
import type { Certificate } from '../x509/certificate.ts'
import { type Chain, type ChainNeed, checkChain, parseChain } from '../x509/chain.ts'

/** Chains that were checked before: hosts ask for the same kept certificate again and again. */
export type CheckedChains = {
  /** @throws ChainError when the chain does not answer the need; its time is not looked at */
  check(pem: string, need: ChainNeed): Chain
}

/** Of a few KiB. Hosts ask in turn: were there more of them than are remembered, not one would be found. */
const defaultMaxEntries = 20_000

/** Remembers only what was good, and only for the same key and names: another text or another need is checked anew. */
export function createCheckedChains(maxEntries = defaultMaxEntries): CheckedChains {
  const checked = new Map<string, { readonly chain: Chain; readonly need: ChainNeed }>()
  return {
    check(pem, need) {
      const digest = hash('sha256', pem, 'base64')
      const known = checked.get(digest)
      if (
        known !== undefined &&
        known.need.publicKeyHash === need.publicKeyHash &&
        known.need.identifiers === need.identifiers
      )
        return known.chain
      const parsed = parseChain(pem)
      checkChain(parsed, need)
      const [oldest] = checked.keys()
      if (checked.size >= maxEntries && oldest !== undefined) checked.delete(oldest)
      const chain = slimmed(parsed)
      const { identifiers, publicKeyHash } = need
      checked.set(digest, { chain, need: { identifiers, publicKeyHash } })
      return chain
    },
  }
}

/** What OpenSSL makes of a chain takes ten times the room of its text, and is seldom asked for again. */
function slimmed({ leaf, issuers, pemBytes }: Chain): Chain {
  const pem = () => pemBytes.toString('latin1')
  const slim = ({ x509: _, ...facts }: Certificate, index: number): Certificate => ({
    ...facts,
    get x509() {
      return new X509Certificate(pem().split(/(?<=-----END CERTIFICATE-----)\n+/)[index] ?? '')
    },
  })
  return {
    leaf: slim(leaf, 0),
    issuers: issuers.map((issuer, index) => slim(issuer, 1 + index)),
    pemBytes,
    get pem() {
      return pem()
    },
  }
}
