import { existsSync } from 'node:fs'
import { carryAccount } from './carry-account.ts'
import { carryCertificate } from './carry-certificate.ts'
import { carryVerification } from './carry-verification.ts'
import type { LacmeSetup } from './lacme-setup.ts'
import { formatSections, type OwnSection } from './own-text.ts'
import { type Remark, remark } from './remark.ts'
import { lookAtServerKey } from './server-key.ts'
import type { Runner } from './specifiers.ts'

/** What became of lacme's configuration. */
export type Carried = {
  readonly text: string
  readonly remarks: readonly Remark[]
  /** Names of the certificates that are in it. */
  readonly certificates: readonly string[]
}

const introduction = [
  'Taken over from lacme. Behind each line stands where it comes from; what was left out stands',
  'above the section that it belongs to. See docs/from-lacme.md.',
]

/** Writes lacme's configuration as one of ours. */
export async function carryOver(
  setup: LacmeSetup,
  runner: Runner,
  accountFolder: string,
  parseServer: (text: string) => string,
): Promise<Carried> {
  const account = await carryAccount(setup, runner, accountFolder, parseServer)
  const verification = carryVerification(setup, runner)
  const taken = new Set<string>()
  const surroundings = { keyOf: lookAtServerKey, isThere: existsSync, taken }
  const certificates = keepPathsApart(
    setup.certificates.map((certificate) => carryCertificate(certificate, surroundings)),
  )
  const none =
    certificates.length === 0
      ? [remark('note', setup.configFile, 'no certificate', 'lacme has no section for one')]
      : []
  const general: OwnSection = {
    header: 'mgmt',
    origin: undefined,
    lines: [{ key: 'listener', value: '', because: 'nobody asks over the network, as with lacme' }],
    remarks: [...setup.remarks, ...none],
  }
  const sections = [general, account, verification, ...certificates]
  return {
    text: formatSections(introduction, sections),
    remarks: sections.flatMap(({ remarks }) => remarks),
    certificates: certificates.filter(({ disabled }) => disabled !== true).map(nameOf),
  }
}

function nameOf({ header }: OwnSection): string {
  return /"(.*)"/.exec(header)?.[1] ?? header
}

/** Two certificates in one file, or two keys: with lacme whichever came last. */
function keepPathsApart(sections: readonly OwnSection[]): OwnSection[] {
  const users = new Map<string, OwnSection>()
  return sections.map((section) => {
    if (section.disabled === true) return section
    const paths = section.lines.filter(({ key }) => ['key', 'certificate', 'fullchain'].includes(key))
    const shared = paths.find(({ value }) => users.has(value))
    if (shared !== undefined) {
      const other = nameOf(users.get(shared.value) ?? section)
      const instead = `${shared.value} is ${other}'s already, and each certificate has files of its own: give it others here and in your server's configuration, and take the # away; or put its names into ${other}`
      const own = remark('left out', shared.because, `[${nameOf(section)}], the whole section`, instead)
      return { ...section, remarks: [...section.remarks, own], disabled: true }
    }
    for (const { value } of paths) users.set(value, section)
    return section
  })
}
