// A certificate that must not be kept or served. What is forged differs from the CA's own in the one thing that is named.
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import type { Identifier } from '../../src/acme/identifier.ts'
import { parseCertificate } from '../../src/x509/certificate.ts'
import { buildCertificate } from '../../src/x509/certificate-builder.ts'
import { formatPem, parsePem } from '../../src/x509/pem.ts'
import type { Rule } from './rule.ts'

export type Forgery = {
  readonly key?: 'other'
  readonly names?: readonly string[]
  readonly notBeforeMs?: number
  readonly notAfterMs?: number
}

const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const dayMs = 86_400_000

/** A chain like that one, but for what the forgery says; its links are right, from a CA of its own. */
export function forgeChain(chainPem: string, forgery: Forgery): string {
  const [first] = parsePem(chainPem).blocks
  if (first === undefined) throw new Error('the CA answered no chain to forge')
  const original = parseCertificate(first.der)
  const authority = newKeys()
  const times = { notBeforeMs: Date.now() - 365 * dayMs, notAfterMs: Date.now() + 365 * dayMs }
  const issuerDer = buildCertificate({
    ...{ kind: 'authority', commonName: 'Forged Intermediate', pathLength: 0 },
    ...{ publicKey: authority.publicKey, issuer: { key: authority.privateKey }, ...times, serial: randomBytes(16) },
  })
  const identifiers = forgery.names?.map((value): Identifier => ({ type: 'dns', value })) ?? original.identifiers
  const leafDer = buildCertificate({
    kind: 'leaf',
    identifiers,
    publicKey: forgery.key === 'other' ? newKeys().publicKey : original.x509.publicKey,
    issuer: { key: authority.privateKey, certificate: new X509Certificate(issuerDer) },
    notBeforeMs: forgery.notBeforeMs ?? original.notBeforeMs,
    notAfterMs: forgery.notAfterMs ?? original.notAfterMs,
    serial: randomBytes(16),
  })
  return `${formatPem('CERTIFICATE', leafDer)}\n${formatPem('CERTIFICATE', issuerDer)}`
}

function rewriteChain(body: (chainPem: string) => string): Rule[] {
  return [{ endpoint: 'certificate', action: { do: 'replaceBody', body } }]
}

export const wrongKey = (): Rule[] => rewriteChain((chain) => forgeChain(chain, { key: 'other' }))

export const wrongNames = (names: readonly string[]): Rule[] => rewriteChain((chain) => forgeChain(chain, { names }))

export const expiredCertificate = (): Rule[] =>
  rewriteChain((chain) => forgeChain(chain, { notBeforeMs: Date.now() - 2 * dayMs, notAfterMs: Date.now() - dayMs }))

export const futureCertificate = (inMs: number): Rule[] =>
  rewriteChain((chain) => forgeChain(chain, { notBeforeMs: Date.now() + inMs }))

/** For a certificate of any lifetime that counts from now. */
export const shortCertificate = (lifetimeMs: number): Rule[] =>
  rewriteChain((chain) => forgeChain(chain, { notBeforeMs: Date.now(), notAfterMs: Date.now() + lifetimeMs }))

/** RFC 8555 §11.4: a client that stores what it gets would overwrite its own key. */
export const privateKeyInChain = (): Rule[] =>
  rewriteChain((chain) => `${chain}\n${newKeys().privateKey.export({ type: 'pkcs8', format: 'pem' })}`)

export const withoutIntermediate = (): Rule[] => rewriteChain((chain) => blocksOf(chain).slice(0, 1).join('\n'))

/** What follows the leaf did not issue it. */
export const brokenChain = (): Rule[] =>
  rewriteChain((chain) => [blocksOf(chain)[0], blocksOf(forgeChain(chain, {}))[1]].join('\n'))

/** Another certificate in place of every one. */
export const swappedCertificate = (chainPem: string): Rule[] => rewriteChain(() => chainPem)

function blocksOf(chainPem: string): string[] {
  return parsePem(chainPem).blocks.map(({ label, der }) => formatPem(label, der))
}
