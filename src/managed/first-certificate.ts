import { createPublicKey, type KeyObject } from 'node:crypto'
import { access } from 'node:fs/promises'
import { identifiersOf } from '../config/certificate-options.ts'
import type { CertificateSection } from '../config/config.ts'
import type { PluginContext } from '../plugin-api.ts'
import { parseChain } from '../x509/chain.ts'
import { formatPem } from '../x509/pem.ts'
import { generatePrivateKey, privateKeyPem } from '../x509/private-key.ts'
import { outputFiles, outputPaths } from './output-files.ts'
import { findOwner } from './owner.ts'
import { placeFiles } from './placement.ts'

const dayMs = 86_400_000

/**
 * Puts a certificate of its own making where a managed one will be, so that a server can be reached before it has one.
 * The key is the one that the managed certificate will be for (reuse-key): who knows the server by it goes on doing so.
 * @returns whether there was none
 */
export async function placeFirstCertificate(
  { values }: CertificateSection,
  context: Pick<PluginContext, 'clock' | 'randomBytes'>,
): Promise<boolean> {
  if (await areThere(outputPaths(values))) return false
  const key = await generatePrivateKey(values['key-type'])
  const chain = parseChain(formatPem('CERTIFICATE', await signItself(key, { values }, context)))
  const keyPem = privateKeyPem(key)
  try {
    const files = await outputFiles({ ...values, pkcs12: undefined }, chain, keyPem, async () => new Uint8Array())
    const owner = values.owner === undefined ? undefined : await findOwner(values.owner)
    await placeFiles(files, { directory: values.directory, owner }, `${context.clock.nowMs()}-first`)
  } finally {
    keyPem.fill(0)
  }
  return true
}

async function signItself(
  key: KeyObject,
  { values }: Pick<CertificateSection, 'values'>,
  context: Pick<PluginContext, 'clock' | 'randomBytes'>,
): Promise<Uint8Array> {
  const { buildCertificate } = await import('../x509/certificate-builder.ts')
  return buildCertificate({
    kind: 'leaf',
    identifiers: identifiersOf(values),
    publicKey: createPublicKey(key),
    // Only keys on P-256 sign here; under another one the signature is nobody's, and the key is what counts.
    issuer: { key: values['key-type'] === 'ec-256' ? key : await generatePrivateKey('ec-256') },
    notBeforeMs: context.clock.nowMs() - dayMs,
    notAfterMs: context.clock.nowMs() + 3650 * dayMs,
    serial: context.randomBytes(16),
  })
}

async function areThere(paths: readonly string[]): Promise<boolean> {
  const found = await Promise.all(
    paths.map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  )
  return found.every((there) => there)
}
