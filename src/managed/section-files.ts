import type { CertificateSection } from '../config/config.ts'
import type { Chain } from '../x509/chain.ts'
import { parsePrivateKey } from '../x509/private-key.ts'
import { createFileHolding, type FileHolding, type FileHoldingParts } from './file-holding.ts'
import { hookFacts, runCommand } from './hooks.ts'

export type SectionFilesParts = Pick<FileHoldingParts, 'folder' | 'wish' | 'context' | 'trustedNowMs'> & {
  /** Told of a chain that is proven and in its place, before `check` runs. */
  placed?(chain: Chain): Promise<void>
}

/** Keys and certificates in the files that a section names, looked at by its `check`. */
export function openSectionFiles(section: CertificateSection, parts: SectionFilesParts): FileHolding {
  const { context, placed } = parts
  return createFileHolding(section, {
    ...parts,
    async makePkcs12(chain, keyPem, password) {
      const { buildPkcs12 } = await import('../x509/pkcs12.ts')
      const key = parsePrivateKey(Buffer.from(keyPem))
      return await buildPkcs12({ key, chainPem: chain.pem, password, friendlyName: section.name }, context)
    },
    async check(chain) {
      await placed?.(chain)
      const { check, 'hook-timeout': timeoutSeconds } = section.values
      if (check !== undefined) await runCommand(check, [hookFacts(section, chain)], timeoutSeconds * 1000, context)
    },
  })
}
