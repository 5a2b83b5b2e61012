import { type Identifier, identifierKey } from '../acme/identifier.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import { isForInstaller } from '../config/certificates.ts'
import { createInstallerLink } from '../installer-link.ts'
import type { DoctorFinding } from './doctor-finding.ts'
import type { Instruments } from './doctor-instruments.ts'

const topic = 'installer'

/** Where a [certificate] of this name is to be installed by another process: is it there, and does it know it? */
export async function examineInstaller(
  identifier: Identifier,
  { config, context }: Pick<Instruments, 'config' | 'context'>,
): Promise<DoctorFinding[]> {
  const { installer: path } = config.process
  const wanted = identifierKey(identifier)
  const names = config.certificates
    .filter((section) => isForInstaller(section, config))
    .filter(({ values }) => identifiersOf(values).some((one) => identifierKey(one) === wanted))
    .map(({ name }) => name)
  if (path === undefined || names.length === 0) return []
  await using link = createInstallerLink(path, config, context)
  try {
    const { certificates } = await link.ask('hello', {})
    const known: unknown[] = Array.isArray(certificates) ? certificates : []
    const unknown = names.filter((name) => !known.includes(name))
    if (unknown.length === 0) return [{ topic, verdict: 'good', says: `it answers at ${path}` }]
    const says = `it answers at ${path}, and does not know [certificate "${unknown.join('", "')}"]`
    return [{ topic, verdict: 'fails', says, advice: 'give it the same files, and systemctl reload acmems-install' }]
  } catch (error) {
    const says = error instanceof Error ? error.message : 'it does not answer'
    const advice = 'systemctl status acmems-install; whoever asks must be in the group of its socket'
    return [{ topic, verdict: 'fails', says, advice }]
  }
}
