import { type Identifier, sameIdentifiers } from '../acme/identifier.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import { formatPem, parsePem } from './pem.ts'
import { spkiSha256 } from './spki.ts'

/** A leaf and what leads towards a root, in order (RFC 8555 §9.1). */
export type Chain = {
  readonly leaf: Certificate
  readonly issuers: readonly Certificate[]
  readonly pem: string
  /** The same as octets: what is answered again and again is encoded once. */
  readonly pemBytes: Buffer
}

/** What a chain must be good for. */
export type ChainNeed = { readonly identifiers: readonly Identifier[]; readonly publicKeyHash: string }

const maxCertificates = 10
const clockToleranceMs = 3_600_000

/** Says why a chain is not to be kept or sent. */
export class ChainError extends Error {
  override readonly name = 'ChainError'
}

/**
 * Reads a PEM chain. RFC 8555 §11.4: it MUST consist of certificates only; anything else is refused.
 * The text is written anew: one blank line between certificates, as acmems always answered.
 * @throws ChainError
 */
export function parseChain(pem: string): Chain {
  const { blocks, before, after } = readBlocks(pem)
  const other = blocks.find((block) => block.label !== 'CERTIFICATE')
  if (other !== undefined) throw new ChainError(`the chain holds a ${other.label}`)
  if (/-----(BEGIN|END)/.test(before + after)) throw new ChainError('the chain is cut off')
  if (blocks.length > maxCertificates) throw new ChainError(`the chain has ${blocks.length} certificates`)
  const [leaf, ...issuers] = blocks.map((block) => readCertificate(block.der))
  if (leaf === undefined) throw new ChainError('the chain holds no certificate')
  const canonicalPem = blocks.map((block) => formatPem('CERTIFICATE', block.der)).join('\n')
  return { leaf, issuers, pem: canonicalPem, pemBytes: Buffer.from(canonicalPem, 'latin1') }
}

function readBlocks(pem: string): ReturnType<typeof parsePem> {
  try {
    return parsePem(pem)
  } catch (cause) {
    throw new ChainError('the chain is damaged', { cause })
  }
}

function readCertificate(der: Uint8Array): Certificate {
  try {
    return parseCertificate(der)
  } catch (cause) {
    throw new ChainError('the chain holds a certificate that cannot be read', { cause })
  }
}

/**
 * Checks that a chain answers the need: the request's key, exactly its names, every link signed by the next.
 * @throws ChainError
 */
export function checkChain(chain: Chain, need: ChainNeed): void {
  const { leaf, issuers } = chain
  if (spkiSha256(leaf.x509.publicKey, 'hex') !== need.publicKeyHash)
    throw new ChainError('the certificate is for another key')
  if (!sameIdentifiers(leaf.identifiers, need.identifiers))
    throw new ChainError('the certificate has other names than asked for')
  for (const [index, issuer] of issuers.entries()) {
    const subject = index === 0 ? leaf : issuers[index - 1]
    if (
      subject === undefined ||
      !subject.x509.checkIssued(issuer.x509) ||
      !subject.x509.verify(issuer.x509.publicKey)
    ) {
      throw new ChainError('a certificate of the chain was not issued by the one after it')
    }
  }
}

/** @throws ChainError unless the leaf is valid now; an hour of the clocks' disagreement is forgiven at its beginning */
export function checkValidity({ leaf }: Chain, nowMs: number): void {
  if (leaf.notAfterMs <= nowMs) throw new ChainError('the certificate has expired')
  if (leaf.notBeforeMs > nowMs + clockToleranceMs) throw new ChainError('the certificate is not valid yet')
}
