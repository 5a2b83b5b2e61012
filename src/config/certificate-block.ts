import { identifierKey } from '../acme/identifier.ts'
import type { Block } from '../policy/block.ts'
import { identifiersOf } from './certificate-options.ts'
import type { CertificateSection } from './config.ts'

/**
 * A `[certificate]` is an auth block, too: for exactly its names, and for nobody who asks over the network.
 * @param within a box that a host registered may not have more than its block still covers
 */
export function certificateBlock(
  { name, values, issuer, verification }: CertificateSection,
  within: Pick<Block, 'covers' | 'maxNames'> = { covers: () => true, maxNames: Number.POSITIVE_INFINITY },
): Block {
  const names = new Set(identifiersOf(values).map(identifierKey))
  const blockName = certificateBlockName(name)
  return {
    name: blockName,
    credentials: [],
    covers: (identifier) => names.has(identifierKey(identifier)) && within.covers(identifier),
    maxNames: Math.min(names.size, within.maxNames),
    issuer,
    verification,
    storage: blockName,
    profile: values.profile,
  }
}

/** No [auth] block can have this name: section names hold no quotes. */
export function certificateBlockName(name: string): string {
  return `certificate "${name}"`
}
