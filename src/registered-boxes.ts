import { ProblemError } from './acme/problem.ts'
import { identifiersOf } from './config/certificate-options.ts'
import type { CertificateSection } from './config/config.ts'
import { type RegisteredWish, registeredCertificate } from './config/registered-certificate.ts'
import type { Logger } from './plugin-api.ts'
import type { Runtime } from './runtime.ts'
import type { BoxRegistration, BoxRegistrations } from './state/box-registrations.ts'

const maxOfBlock = 1000

/** Boxes that hosts registered: kept up like those of the configuration, as far as their blocks cover them today. */
export type RegisteredBoxes = {
  /** Lets the runtime issue for all that were registered. @returns their sections */
  admitAll(runtime: Runtime): Promise<CertificateSection[]>
  /** @returns the section, admitted, or why it cannot be */
  register(wish: RegisteredWish, blocks: readonly string[], runtime: Runtime): Promise<CertificateSection | string>
}

export function createRegisteredBoxes(registrations: BoxRegistrations, log: Logger): RegisteredBoxes {
  return {
    async admitAll(runtime) {
      const sections: CertificateSection[] = []
      for (const registration of await registrations.list()) {
        const section = sectionOf(wishOf(registration), registration.block, runtime)
        if (typeof section === 'string')
          log.warn('a registered box is not kept up', { box: registration.name, reason: section })
        else {
          await runtime.admit(section)
          sections.push(section)
        }
      }
      return sections
    },
    async register(wish, blocks, runtime) {
      const tried = blocks.map((block) => ({ block, section: sectionOf(wish, block, runtime) }))
      const fitting = tried.find(({ section }) => typeof section !== 'string')
      if (fitting === undefined || typeof fitting.section === 'string') return String(tried[0]?.section)
      const { block, section } = fitting
      const saved = await registrations.save(
        {
          name: wish.name,
          block,
          recipientPem: wish.recipientPem,
          names: [...wish.domains, ...wish.addresses],
          keyType: wish.keyType,
        },
        maxOfBlock,
      )
      if (saved === 'taken') return 'there is a box of this name already'
      if (saved === 'full') return `the block "${block}" has registered the ${maxOfBlock} boxes that it may`
      await runtime.admit(section)
      return section
    },
  }
}

/** A sentence when the block does not allow it. */
function sectionOf(wish: RegisteredWish, blockName: string, { config, rules }: Runtime): CertificateSection | string {
  if (config.certificates.some(({ name }) => name === wish.name)) return 'there is a box of this name already'
  const section = config.blocks.find(({ name }) => name === blockName)
  const block = rules.blocks.find(({ name }) => name === blockName)
  if (section === undefined || block?.registersBoxes !== true) return `the block "${blockName}" registers no boxes`
  try {
    const registered = registeredCertificate(wish, section)
    const identifiers = identifiersOf(registered.values)
    const refused = identifiers.find((identifier) => !block.covers(identifier))
    if (refused !== undefined) return `${refused.value} is not in any auth block that accepts this caller`
    return identifiers.length > block.maxNames ? 'more names than max-names allows' : registered
  } catch (error) {
    if (error instanceof RangeError || error instanceof ProblemError) return error.message
    throw error
  }
}

function wishOf({ name, recipientPem, names, keyType }: BoxRegistration): RegisteredWish {
  // Only an address has a colon, or nothing but digits and dots.
  const isAddress = (value: string) => value.includes(':') || /^[\d.]+$/.test(value)
  return {
    name,
    recipientPem,
    keyType,
    domains: names.filter((one) => !isAddress(one)),
    addresses: names.filter(isAddress),
  }
}
