import { hash } from 'node:crypto'
import { type Csr, parseCsrPem } from '../x509/csr.ts'

/** Of some 4 KiB. Hosts ask in turn: were there more of them than are remembered, not one would be found. */
const defaultMaxEntries = 20_000

/**
 * Hosts post the same request again and again; checking its key and its signature once is enough (of an RSA key that
 * takes milliseconds). Only good requests are kept.
 */
export interface CsrCache {
  /** @throws Error when it is no good request */
  parse(postedBytes: Uint8Array): Csr
  forget(postedBytes: Uint8Array): void
}

export function createCsrCache(maxEntries = defaultMaxEntries): CsrCache {
  const parsed = new Map<string, Csr>()
  const digestOf = (postedBytes: Uint8Array) => hash('sha256', postedBytes, 'base64')
  return { parse, forget: (postedBytes) => parsed.delete(digestOf(postedBytes)) }

  function parse(postedBytes: Uint8Array): Csr {
    const digest = digestOf(postedBytes)
    const known = parsed.get(digest)
    if (known !== undefined) {
      // Moves to the end: what is asked for is what stays.
      parsed.delete(digest)
      parsed.set(digest, known)
      return known
    }
    const csr = parseCsrPem(
      Buffer.from(postedBytes.buffer, postedBytes.byteOffset, postedBytes.byteLength).toString('latin1'),
      { mustStaple: 'refused' },
    )
    parsed.set(digest, csr)
    const [oldest] = parsed.keys()
    if (parsed.size > maxEntries && oldest !== undefined) parsed.delete(oldest)
    return csr
  }
}
