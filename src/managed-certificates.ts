import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { believedNowMs } from './acme/believed-time.ts'
import { certificateBlockName } from './config/certificate-block.ts'
import { isForInstaller } from './config/certificates.ts'
import type { CertificateSection, Config } from './config/config.ts'
import type { InstallerLink } from './installer-link.ts'
import { createBoxHolding } from './managed/box-holding.ts'
import { openBoxKey } from './managed/box-key.ts'
import { type BoxPickUp, createBoxPickUp } from './managed/box-pick-up.ts'
import type { FileHolding } from './managed/file-holding.ts'
import type { Holding } from './managed/holding.ts'
import { createRemoteHolding } from './managed/remote-holding.ts'
import { openSectionFiles } from './managed/section-files.ts'
import type { Managed } from './managed/upkeep.ts'
import { wishOf } from './managed/wish.ts'
import type { Issuer, PluginContext } from './plugin-api.ts'
import type { Boxes } from './state/boxes.ts'
import { parseRecipient } from './x509/recipient.ts'

export type ManagedParts = {
  readonly issuers: ReadonlyMap<string, Issuer>
  readonly boxes: Boxes
  readonly stateFolder: string
  readonly context: PluginContext
  /** Who has the keys of files, when it is not us. */
  readonly installer?: InstallerLink | undefined
  /** The certificate of the management listener, whose key is ours all the same. */
  readonly mgmtTls?: Config['mgmtTls']
}

/** What is kept up, by today's configuration. @throws Error naming the section whose box cannot be had */
export async function openManagedCertificates(
  sections: readonly CertificateSection[],
  parts: ManagedParts,
): Promise<Managed[]> {
  return await Promise.all(
    sections.map(async (section): Promise<Managed> => {
      const folder = certificateFolder(parts.stateFolder, section)
      const common = { section, folder, block: certificateBlockName(section.name) }
      const box = await openOwnBox(section, parts)
      if (box !== undefined) return { ...common, holding: box }
      const remote = openRemote(section, folder, parts)
      if (remote !== undefined) return { ...common, holding: remote }
      const holding = openFiles(section, folder, parts)
      const pickUp = openPickUp(section, folder, holding, parts)
      return { ...common, holding, ...(pickUp === undefined ? {} : { pickUp }) }
    }),
  )
}

/** Where what we remember of it is. */
export function certificateFolder(stateFolder: string, { name }: Pick<CertificateSection, 'name'>): string {
  return join(stateFolder, 'certificates', name)
}

/** One that is sealed here. */
async function openOwnBox(section: CertificateSection, parts: ManagedParts): Promise<Holding | undefined> {
  const { context, boxes } = parts
  const { recipient } = section.values
  if (recipient === undefined && section.recipientPem === undefined) return undefined
  try {
    const pem = section.recipientPem ?? (await readFile(recipient ?? '', 'utf8'))
    return createBoxHolding(section, { boxes, recipient: parseRecipient(pem), context })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'cannot be read'
    // The others are looked after all the same.
    return unusableHolding(new Error(`${section.origin}: recipient ${recipient}: ${reason}`, { cause }))
  }
}

/** Says why at every use: its certificate is in trouble, and tried again like others. */
function unusableHolding(error: Error): Holding {
  const fail = () => Promise.reject(error)
  return {
    next: fail,
    current: fail,
    begin: fail,
    discard: fail,
    install: fail,
    findDamage: fail,
    tidy: async () => {},
  }
}

/** One that is sealed elsewhere, to us. */
function openPickUp(
  section: CertificateSection,
  folder: string,
  holding: FileHolding,
  { issuers, context }: ManagedParts,
): BoxPickUp | undefined {
  const { box: name, 'box-key': keyFile, 'box-interval': intervalSeconds } = section.values
  if (name === undefined) return undefined
  const source = issuers.get(section.issuer)?.boxes
  if (source === undefined)
    throw new Error(`${section.origin}: [certificate "${section.name}"] the issuer "${section.issuer}" has no boxes`)
  const boxKey = () => openBoxKey(source, keyFile)
  return createBoxPickUp({ name, source, holding, folder, intervalMs: 1000 * intervalSeconds, context, boxKey })
}

/** One whose key is with the installer. */
function openRemote(section: CertificateSection, folder: string, parts: ManagedParts): Holding | undefined {
  const { installer, mgmtTls, issuers } = parts
  if (installer === undefined || !isForInstaller(section, { mgmtTls }) || section.values.box !== undefined)
    return undefined
  const ask = installer.askFor(certificateBlockName(section.name))
  return createRemoteHolding(section, { ask, folder, issuerKey: issuers.get(section.issuer)?.key ?? '' })
}

function openFiles(section: CertificateSection, folder: string, parts: ManagedParts): FileHolding {
  const { context } = parts
  const issuer = parts.issuers.get(section.issuer)
  return openSectionFiles(section, {
    folder,
    context,
    wish: wishOf(section, issuer?.key ?? ''),
    async trustedNowMs() {
      const issuerMs = await issuer?.timeMs?.(context).catch(() => undefined)
      return believedNowMs(context.clock.nowMs(), issuerMs)
    },
  })
}
