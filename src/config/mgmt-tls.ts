import { join } from 'node:path'
import type { CertificateSection, MgmtTls } from './config.ts'
import type { MgmtValues } from './static-sections.ts'

/**
 * Where the management listener has its certificate from.
 * @param complain told what does not fit; the key of [mgmt] that it is about
 */
export function resolveMgmtTls(
  mgmt: MgmtValues,
  certificates: readonly CertificateSection[],
  complain: (key: 'tls' | 'tls-certificate' | 'tls-key', message: string) => void,
): MgmtTls | undefined {
  const { tls: name, 'tls-certificate': certificateFile, 'tls-key': keyFile } = mgmt
  if (name === undefined) {
    if (certificateFile !== undefined && keyFile !== undefined) return { certificateFile, keyFile }
    if (certificateFile !== undefined) complain('tls-certificate', '[mgmt] tls-certificate needs tls-key beside it')
    if (keyFile !== undefined) complain('tls-key', '[mgmt] tls-key needs tls-certificate beside it')
    return undefined
  }
  if (certificateFile !== undefined || keyFile !== undefined)
    complain('tls', '[mgmt] has its certificate from tls or from tls-certificate and tls-key, not from both')
  const section = certificates.find((candidate) => candidate.name === name)
  if (section === undefined) {
    complain('tls', `tls: there is no [certificate "${name}"]`)
    return undefined
  }
  const { directory, key, fullchain, 'reuse-key': reuseKey } = section.values
  if (!reuseKey)
    complain('tls', `[certificate "${name}"] needs reuse-key = yes: hosts know this server by its key (tls = managed)`)
  if (directory !== undefined)
    return { certificateFile: join(directory, 'fullchain.pem'), keyFile: join(directory, 'privkey.pem'), managed: name }
  if (key !== undefined && fullchain !== undefined) return { certificateFile: fullchain, keyFile: key, managed: name }
  complain('tls', `[certificate "${name}"] needs directory, or key and fullchain (tls = managed)`)
  return undefined
}
