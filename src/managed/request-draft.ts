import type { KeyObject } from 'node:crypto'
import { type CertificateValues, identifiersOf } from '../config/certificate-options.ts'
import { buildCsrDer } from '../x509/csr-builder.ts'

/** The request that a `[certificate]` describes, for this key: DER. @throws RangeError for names or a subject that do not fit */
export function buildRequestDer(values: CertificateValues, key: KeyObject): Uint8Array {
  return buildCsrDer({
    key,
    identifiers: identifiersOf(values),
    keyUsage: values['key-usage'].flat(),
    mustStaple: values['must-staple'],
    ...(values.subject === undefined ? {} : { subject: values.subject }),
    ...(values.digest === undefined ? {} : { digest: values.digest }),
  })
}
