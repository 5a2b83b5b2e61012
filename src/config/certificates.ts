import { type CertificateValues, certificateOptions, identifiersOf } from './certificate-options.ts'
import type { CertificateSection, Config } from './config.ts'
import type { Section } from './ini.ts'
import { sectionKey } from './layers.ts'
import { type OptionsReader, readOptions } from './options.ts'

export type Defaults = {
  /** @throws nothing: what does not exist is complained about */
  issuerOf(section: Section, given: string | undefined): string
  verificationOf(section: Section, given: string | undefined, issuer: string): string | undefined
  isBlock(name: string): boolean
  hasBoxes(issuer: string): boolean
}

/**
 * Whether acmems-install has its key, where there is one: the server itself seals for others, and keeps the certificate of
 * its own listener.
 */
export function isForInstaller({ name, values }: CertificateSection, { mgmtTls }: Pick<Config, 'mgmtTls'>): boolean {
  return values.recipient === undefined && name !== mgmtTls?.managed
}

/** It becomes the name of a folder, and part of a URL. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/
const outputs = ['key', 'certificate', 'chain', 'fullchain', 'pkcs12'] as const

/** Reads the `[certificate]` sections; everything wrong becomes a finding of the reader. */
export function resolveCertificates(
  sections: readonly Section[],
  reader: OptionsReader,
  defaults: Defaults,
): CertificateSection[] {
  const resolved = sections.map((section): CertificateSection => {
    const name = section.name ?? ''
    const values = readOptions(section, certificateOptions, reader) as CertificateValues
    const complain = (message: string) =>
      reader.findings.push({
        severity: 'error',
        origin: section.origin,
        message: `[${sectionKey(section)}] ${message}`,
      })
    if (!namePattern.test(name)) complain('needs a name of letters, digits, dots, hyphens and underscores')
    if (identifiersOf(values).length === 0) complain('names nothing: give domain or ip-address')
    for (const problem of placesProblems(values)) complain(problem)
    if (values.auth !== undefined && !defaults.isBlock(values.auth)) complain(`there is no [auth "${values.auth}"]`)
    const issuer = defaults.issuerOf(section, values.issuer)
    if (values.box !== undefined && !defaults.hasBoxes(issuer))
      complain(`has a box, and its issuer "${issuer}" has none: name one of type acmems`)
    const verification = defaults.verificationOf(section, values.verification, issuer)
    return { name, origin: section.origin, values, issuer, verification }
  })
  for (const [path, users] of Map.groupBy(resolved.flatMap(pathsOf), ([path]) => path)) {
    if (users.length < 2) continue
    const message = `${path} is written by ${users.map(([, { name }]) => `[certificate "${name}"]`).join(' and ')}`
    reader.findings.push({ severity: 'error', origin: users[1]?.[1].origin ?? '', message })
  }
  return resolved
}

function pathsOf(section: CertificateSection): [string, CertificateSection][] {
  return [...outputs, 'directory' as const].flatMap((key): [string, CertificateSection][] => {
    const path = section.values[key]
    return path === undefined ? [] : [[path, section]]
  })
}

/** Said in a request, which the one who makes the key makes. */
const requestKeys = ['subject', 'digest', 'profile', 'renew-within'] as const

function boxProblems(values: CertificateValues): string[] {
  const isBox = values.box !== undefined
  if (!isBox) return values['box-key'] === undefined ? [] : ['has a box-key without a box']
  const problems: string[] = requestKeys
    .filter((key) => values[key] !== undefined)
    .map((key) => `has a box: whoever makes it decides on ${key}`)
  if (values.recipient !== undefined) problems.push('has a recipient and a box: it is made here or fetched, not both')
  if (values['reuse-key']) problems.push('has a box: every one has a key of its own, so reuse-key cannot be')
  if (values['must-staple'] || values['key-usage'].length > 0)
    problems.push('has a box: whoever makes it decides on must-staple and key-usage')
  return problems
}

function placesProblems(values: CertificateValues): string[] {
  const problems = filesProblems(values)
  if (values.recipient === undefined && values.probe.some((target) => target !== 'no' && target.at === 'caller'))
    problems.push('has probe = caller without a recipient: nobody picks it up')
  return problems
}

function filesProblems(values: CertificateValues): string[] {
  const paths = outputs.filter((output) => values[output] !== undefined)
  const problems = boxProblems(values)
  if (values.recipient !== undefined) {
    if (values.directory !== undefined || paths.length > 0)
      problems.push('has a recipient: its key is sealed, so nothing can be installed here')
    if (values.auth === undefined)
      problems.push('has a recipient and needs auth, the block whose callers fetch the box')
    if (values['reuse-key']) problems.push('has a recipient: its key is never kept, so reuse-key cannot be')
    return problems
  }
  if (values.auth !== undefined) problems.push('has auth without a recipient')
  if (values.directory !== undefined && paths.some((output) => output !== 'pkcs12'))
    problems.push(`has a directory, which holds all files: take ${paths.join(' and ')} away, or the directory`)
  if (values.directory === undefined && values.key === undefined && values.pkcs12 === undefined)
    problems.push('does not say where the key goes: give directory, or key and certificate or fullchain, or pkcs12')
  if (values.key !== undefined && values.certificate === undefined && values.fullchain === undefined)
    problems.push('does not say where the certificate goes: give certificate or fullchain')
  if (values['reuse-key'] && values.directory === undefined && values.key === undefined)
    problems.push('keeps its key (reuse-key) only where it goes to a file of its own: give key or directory')
  if ((values.pkcs12 === undefined) !== (values['pkcs12-password'] === undefined))
    problems.push('needs pkcs12 and pkcs12-password together')
  return problems
}
