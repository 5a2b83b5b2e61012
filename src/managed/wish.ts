import { identifierKey } from '../acme/identifier.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import type { CertificateSection } from '../config/config.ts'

/** All that a certificate was asked to be. As soon as one of it is wanted otherwise, another certificate is needed. */
export type Wish = Readonly<Record<string, string>>

/** @param issuerKey of the issuer that the section names: moving from staging to production is another wish */
export function wishOf({ values }: CertificateSection, issuerKey: string): Wish {
  return {
    names: identifiersOf(values).map(identifierKey).sort().join(' '),
    'key type': values['key-type'],
    subject: values.subject ?? '',
    'key usage': values['key-usage'].flat().join(' '),
    'must-staple': values['must-staple'] ? 'yes' : 'no',
    issuer: issuerKey,
    profile: values.profile ?? '',
  }
}

/** What is wanted otherwise than it was; empty when it is the same. */
export function changesBetween(former: Wish, wanted: Wish): string[] {
  const keys = new Set([...Object.keys(former), ...Object.keys(wanted)])
  return [...keys].filter((key) => former[key] !== wanted[key])
}
