import { X509Certificate } from 'node:crypto'
import { type Chain, ChainError, type ChainNeed, checkChain, checkValidity } from '../x509/chain.ts'
import { parsePem } from '../x509/pem.ts'

const serverAuthOid = '1.3.6.1.5.5.7.3.1'
/** CAs date certificates back by up to an hour. */
const backdatingMs = 2 * 3_600_000

export type Proof = {
  readonly need: ChainNeed
  readonly nowMs: number
  /** The certificate must lead to one of these; undefined: wherever it leads. */
  readonly rootsPem?: string
  /** When what is installed now begins to be good: nothing older takes its place. */
  readonly formerNotBeforeMs?: number
}

/**
 * Checks everything that is to be true of a certificate before it is installed: its key, exactly its names, its time,
 * that a server may use it, that each link holds and that it leads to a pinned root.
 * @throws ChainError
 */
export function proveChain(chain: Chain, { need, nowMs, rootsPem, formerNotBeforeMs }: Proof): void {
  checkChain(chain, need)
  checkValidity(chain, nowMs)
  const { leaf, issuers } = chain
  if (leaf.x509.ca) throw new ChainError('the certificate is one of a CA')
  // Node calls the extended key usage so.
  const purposes = leaf.x509.keyUsage as readonly string[] | undefined
  if (purposes !== undefined && !purposes.includes(serverAuthOid))
    throw new ChainError('the certificate is not for servers (extendedKeyUsage)')
  for (const { x509 } of issuers) {
    if (!x509.ca) throw new ChainError(`${oneLineOf(x509.subject)} in the chain is no CA`)
    if (Date.parse(x509.validTo) <= nowMs) throw new ChainError(`${oneLineOf(x509.subject)} in the chain has expired`)
  }
  if (rootsPem !== undefined) requireRoot(chain, rootsPem, nowMs)
  if (isOlder(chain, formerNotBeforeMs)) throw new ChainError('the certificate is older than the one that is installed')
}

/** @param formerNotBeforeMs when what is installed begins to be good; undefined: nobody knows */
export function isOlder({ leaf }: Chain, formerNotBeforeMs: number | undefined): boolean {
  return formerNotBeforeMs !== undefined && leaf.notBeforeMs < formerNotBeforeMs - backdatingMs
}

function requireRoot({ leaf, issuers }: Chain, rootsPem: string, nowMs: number): void {
  const last = (issuers.at(-1) ?? leaf).x509
  const roots = parsePem(rootsPem)
    .blocks.filter(({ label }) => label === 'CERTIFICATE')
    .map(({ der }) => new X509Certificate(der))
  if (roots.length === 0) throw new ChainError('ca-file holds no certificate')
  const root = roots.find(
    (candidate) =>
      Date.parse(candidate.validTo) > nowMs &&
      (candidate.raw.equals(last.raw) || (last.checkIssued(candidate) && last.verify(candidate.publicKey))),
  )
  if (root === undefined)
    throw new ChainError(`the chain ends at ${oneLineOf(last.issuer)}, which is not one of the roots in ca-file`)
}

/** Node writes distinguished names one part a line. */
function oneLineOf(distinguishedName: string): string {
  return JSON.stringify(distinguishedName.replaceAll('\n', ', '))
}
