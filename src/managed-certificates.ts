import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { certificateBlockName } from './config/certificate-block.ts'
import type { CertificateSection } from './config/config.ts'
import { createBoxHolding } from './managed/box-holding.ts'
import { createFileHolding } from './managed/file-holding.ts'
import type { Holding } from './managed/holding.ts'
import { hookFacts, runCommand } from './managed/hooks.ts'
import type { Managed } from './managed/upkeep.ts'
import { wishOf } from './managed/wish.ts'
import type { Issuer, PluginContext } from './plugin-api.ts'
import type { Boxes } from './state/boxes.ts'
import { parsePrivateKey } from './x509/private-key.ts'
import { parseRecipient } from './x509/recipient.ts'

export type ManagedParts = {
  readonly issuers: ReadonlyMap<string, Issuer>
  readonly boxes: Boxes
  readonly stateFolder: string
  readonly context: PluginContext
}

/** What is kept up, by today's configuration. @throws Error naming the section whose recipient cannot be read */
export async function openManagedCertificates(
  sections: readonly CertificateSection[],
  parts: ManagedParts,
): Promise<Managed[]> {
  return await Promise.all(
    sections.map(async (section): Promise<Managed> => {
      const folder = join(parts.stateFolder, 'certificates', section.name)
      const holding = await openHolding(section, folder, parts)
      return { section, folder, holding, block: certificateBlockName(section.name) }
    }),
  )
}

async function openHolding(section: CertificateSection, folder: string, parts: ManagedParts): Promise<Holding> {
  const { context, boxes } = parts
  const { recipient } = section.values
  if (recipient !== undefined || section.recipientPem !== undefined) {
    try {
      const pem = section.recipientPem ?? (await readFile(recipient ?? '', 'utf8'))
      return createBoxHolding(section, { boxes, recipient: parseRecipient(pem), context })
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : 'cannot be read'
      throw new Error(`${section.origin}: [certificate "${section.name}"] recipient ${recipient}: ${reason}`, { cause })
    }
  }
  return createFileHolding(section, {
    folder,
    context,
    wish: wishOf(section, parts.issuers.get(section.issuer)?.key ?? ''),
    async makePkcs12(chain, keyPem, password) {
      const { buildPkcs12 } = await import('./x509/pkcs12.ts')
      const key = parsePrivateKey(Buffer.from(keyPem))
      return await buildPkcs12({ key, chainPem: chain.pem, password, friendlyName: section.name }, context)
    },
    async check(chain) {
      const { check, 'hook-timeout': timeoutSeconds } = section.values
      if (check !== undefined) await runCommand(check, [hookFacts(section, chain)], timeoutSeconds * 1000, context)
    },
  })
}
