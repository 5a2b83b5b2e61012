import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { type Identifier, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import type { PluginContext } from '../plugin-api.ts'
import { acmeIdentifierDigest } from '../x509/acme-identifier.ts'
import { buildCertificate } from '../x509/certificate-builder.ts'
import { formatPem } from '../x509/pem.ts'

/** Makes what a tls-alpn-01 validator is shown (RFC 8737 §3). */
export type ChallengeCertificates = (host: string, type: Identifier['type'], keyAuthorization: string) => SecureContext

const hourMs = 3_600_000
const lifetimeMs = 24 * hourMs
const keptMs = 60_000
const maxKept = 200

/** One key for the process, made when it is first needed: it protects nothing. */
export function createChallengeCertificates(
  context: Pick<PluginContext, 'clock' | 'randomBytes'>,
): ChallengeCertificates {
  const { clock } = context
  let key: KeyObject | undefined
  // A validator looks from several places at once.
  const kept = new Map<string, { readonly secureContext: SecureContext; readonly untilMs: number }>()
  return (host, type, keyAuthorization) => {
    const id = `${host} ${keyAuthorization}`
    const known = kept.get(id)
    if (known !== undefined && known.untilMs > clock.monotonicMs()) return known.secureContext
    key ??= generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const nowMs = clock.nowMs()
    const der = buildCertificate({
      kind: 'challenge',
      identifier: type === 'ip' ? parseIpAddress(host) : parseDnsName(host),
      digest: acmeIdentifierDigest(keyAuthorization),
      publicKey: createPublicKey(key),
      issuer: { key },
      notBeforeMs: nowMs - hourMs,
      notAfterMs: nowMs + lifetimeMs,
      serial: context.randomBytes(16),
    })
    const secureContext = createSecureContext({
      cert: formatPem('CERTIFICATE', der),
      key: key.export({ type: 'pkcs8', format: 'pem' }),
      minVersion: 'TLSv1.2',
    })
    if (kept.size >= maxKept) kept.delete(kept.keys().next().value ?? '')
    kept.set(id, { secureContext, untilMs: clock.monotonicMs() + keptMs })
    return secureContext
  }
}
