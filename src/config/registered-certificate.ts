import { type CertificateValues, certificateOptions } from './certificate-options.ts'
import type { AuthBlock, CertificateSection } from './config.ts'
import type { Finding } from './finding.ts'
import { readOptions } from './options.ts'

/** What a host asks for when it registers a box. */
export type RegisteredWish = {
  readonly name: string
  readonly recipientPem: string
  readonly domains: readonly string[]
  readonly addresses: readonly string[]
  readonly keyType: string
}

/**
 * The `[certificate]` that somebody would have written for it; issuer, verification and profile are the block's.
 * @throws RangeError with a sentence for the host
 */
export function registeredCertificate(wish: RegisteredWish, block: AuthBlock): CertificateSection {
  const origin = `the box ${wish.name}`
  const entries: [string, string][] = [
    ...wish.domains.map((domain): [string, string] => ['domain', domain]),
    ...wish.addresses.map((address): [string, string] => ['ip-address', address]),
    ['key-type', wish.keyType],
    ['auth', block.name],
    ...(block.values.profile === undefined ? [] : [['profile', block.values.profile] as [string, string]]),
  ]
  const findings: Finding[] = []
  const section = {
    ...{ kind: 'certificate', name: wish.name, origin },
    entries: entries.map(([key, value]) => ({ key, value, origin })),
  }
  const values = readOptions(section, certificateOptions, { lenient: false, environment: {}, findings })
  const [wrong] = findings
  if (wrong !== undefined) throw new RangeError(wrong.message)
  const { name, recipientPem } = wish
  const { issuer, verification } = block
  return { name, origin, values: values as CertificateValues, issuer, verification, recipientPem }
}
