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
    if (isOver(x509, nowMs)) throw new ChainError(`${oneLineOf(x509.subject)} in the chain has expired`)
  }
  if (rootsPem !== undefined) requireRoot(chain, rootsPem, nowMs)
  if (isOlder(chain, formerNotBeforeMs)) throw new ChainError('the certificate is older than the one that is installed')
}

/** @param formerNotBeforeMs when what is installed begins to be good; undefined: nobody knows */
export function isOlder({ leaf }: Chain, formerNotBeforeMs: number | undefined): boolean {
  return formerNotBeforeMs !== undefined && leaf.notBeforeMs < formerNotBeforeMs - backdatingMs
}

/**
 * What chains may lead to, as `ca-file` has it.
 * @throws ChainError where no chain could
 */
export function parseRoots(rootsPem: string, nowMs: number): X509Certificate[] {
  let roots: X509Certificate[]
  try {
    const { blocks } = parsePem(rootsPem)
    roots = blocks.filter(({ label }) => label === 'CERTIFICATE').map(({ der }) => new X509Certificate(der))
  } catch (cause) {
    throw new ChainError('ca-file is damaged: no certificates in PEM can be read from it', { cause })
  }
  if (roots.length === 0) throw new ChainError('ca-file holds no certificate')
  if (roots.every((root) => isOver(root, nowMs)))
    throw new ChainError('ca-file holds only certificates that have expired; or the clock here is wrong')
  return roots
}

function requireRoot({ leaf, issuers }: Chain, rootsPem: string, nowMs: number): void {
  const last = (issuers.at(-1) ?? leaf).x509
  const fitting = parseRoots(rootsPem, nowMs).filter(
    (candidate) => candidate.raw.equals(last.raw) || (last.checkIssued(candidate) && last.verify(candidate.publicKey)),
  )
  if (fitting.some((root) => !isOver(root, nowMs))) return
  throw new ChainError(
    fitting.length > 0
      ? `the chain ends at ${oneLineOf(last.issuer)}, whose certificate in ca-file has expired`
      : `the chain ends at ${oneLineOf(last.issuer)}, which is not one of the roots in ca-file`,
  )
}

function isOver({ validTo }: X509Certificate, nowMs: number): boolean {
  return Date.parse(validTo) <= nowMs
}

/** What is shown of a name that a stranger chose. */
const maxNameLength = 200

/** Node writes distinguished names one part a line; one that it cannot write, not at all. */
function oneLineOf(distinguishedName: string | undefined): string {
  const line = distinguishedName?.replaceAll('\n', ', ') ?? 'a name that cannot be read'
  return JSON.stringify(line.length > maxNameLength ? `${line.slice(0, maxNameLength)}…` : line)
}
