import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Who } from '../channel/permissions.ts'
import { certificateOptions } from '../config/certificate-options.ts'
import { resolveCertificates } from '../config/certificates.ts'
import type { CertificateSection } from '../config/config.ts'
import { modernize } from '../config/early-dialect.ts'
import { ConfigError, type Finding } from '../config/finding.ts'
import { parseIni, type Section } from '../config/ini.ts'
import { environmentLayer, findRepeatedSections, flagLayer, overlay } from '../config/layers.ts'
import { readOptions } from '../config/options.ts'
import { type ProcessValues, processOptions } from '../config/process-options.ts'
import {
  issuerOptions,
  type LoggingValues,
  loggingOptions,
  managedTlsName,
  mgmtOptions,
} from '../config/static-sections.ts'
import { errorCode } from '../error-code.ts'
import type { Options } from '../plugin-api.ts'
import { checkTrustedFile } from '../trusted-file.ts'

/** A certificate that we look after; `issuer` in words, to know when it is another one. */
export type InstalledSection = CertificateSection & { readonly issuerPlace: string }

/** What the installer reads in the server's configuration: nothing that needs a plugin. */
export type InstallerConfig = {
  readonly files: readonly string[]
  readonly socket: string | undefined
  readonly stateFolder: string
  readonly logging: LoggingValues
  readonly certificates: readonly InstalledSection[]
  /** Sections that are the server's, and why. */
  readonly others: ReadonlyMap<string, string>
  readonly warnings: readonly Finding[]
}

export type InstallerSources = {
  readonly files: readonly string[]
  readonly who: Who
  /** Root's own: `ACMEMS_SECTION_KEY`, and for `${ENV:NAME}`. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** `--set` values. */
  readonly assignments: readonly string[]
  readonly lenient: boolean
}

const issuerPlaceKeys = ['type', 'acme-server', 'server'] as const

/** What the environment can say to us. Not from the list of all sections: that knows every plugin. */
const variables = new Map(
  Object.entries({
    ...{ certificate: certificateOptions, process: processOptions, logging: loggingOptions, mgmt: mgmtOptions },
    ...{ account: issuerOptions, issuer: issuerOptions },
  }).map(([kind, options]: [string, Options]) => {
    const keys = Object.entries(options).flatMap(([key, { list = false, secret }]) =>
      (secret === true ? [key, `${key}-file`] : [key]).map((one): [string, { list: boolean }] => [one, { list }]),
    )
    const places = issuerPlaceKeys.map((key): [string, { list: boolean }] => [key, { list: false }])
    return [kind, new Map(options === issuerOptions ? [...keys, ...places] : keys)]
  }),
)

/**
 * Reads what root obeys: files that nobody else can write, and what root was started with.
 * @throws ConfigError with every error found, each with its place
 */
export function readInstallerConfig(sources: InstallerSources): InstallerConfig {
  const { files, who, environment, assignments, lenient } = sources
  const findings: Finding[] = []
  const paths = files.map((file) => resolve(file))
  let sections: Section[] = []
  for (const file of paths) {
    const text = readTrusted(file, who, findings)
    const parsed = parseIni(text, file)
    findings.push(...parsed.findings, ...findRepeatedSections(parsed.sections))
    sections = overlay(sections, modernize(parsed.sections))
  }
  // What is said about them is the server's to say: it knows every key.
  sections = overlay(sections, environmentLayer(environment, sections, variables).sections)
  sections = overlay(sections, flagLayer(assignments).sections)
  const reader = { lenient, environment, findings }
  const single = (kind: string) =>
    sections.find((section) => section.kind === kind) ?? { kind, name: undefined, origin: 'default', entries: [] }
  const process = readOptions(single('process'), processOptions, reader) as ProcessValues
  const logging = readOptions(single('logging'), loggingOptions, reader) as LoggingValues
  const defaultIssuer = lastOf(single('mgmt'), 'default-issuer') ?? 'default'
  const all = resolveCertificates(
    sections.filter(({ kind }) => kind === 'certificate'),
    reader,
    {
      // Whether these exist is for the server to say: it reads the same files.
      isBlock: () => true,
      hasBoxes: () => true,
      issuerOf: (_section, given) => given ?? defaultIssuer,
      verificationOf: (_section, given) => given,
    },
  )
  const ownTls = managedTlsName(lastOf(single('mgmt'), 'tls') ?? '')
  const others = new Map(all.flatMap((section) => otherOf(section, ownTls)))
  const certificates = all
    .filter(({ name }) => !others.has(name))
    .map((section) => ({ ...section, issuerPlace: placeOf(section.issuer, sections) }))
  for (const { values, origin, name } of certificates)
    if (values['ca-file'] !== undefined)
      findings.push(...findLoose(values['ca-file'], who, `${origin} [certificate "${name}"] ca-file`))
  if (findings.some(({ severity }) => severity === 'error')) throw new ConfigError(findings)
  return {
    files: paths,
    socket: process.installer,
    stateFolder: process['installer-state'],
    logging,
    certificates,
    others,
    // No error is among them.
    warnings: findings,
  }
}

function readTrusted(file: string, who: Who, findings: Finding[]): string {
  try {
    checkTrustedFile(file, who)
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file))
  } catch (error) {
    findings.push({ severity: 'error', origin: file, message: error instanceof Error ? error.message : 'unreadable' })
    return ''
  }
}

/** One that is not there is missed when it is needed. */
function findLoose(path: string, who: Who, origin: string): Finding[] {
  try {
    checkTrustedFile(path, who)
    return []
  } catch (error) {
    const { message, cause } = error instanceof Error ? error : new Error('unreadable')
    return [{ severity: errorCode(cause) === 'ENOENT' ? 'warning' : 'error', origin, message }]
  }
}

function otherOf({ name, values }: CertificateSection, ownTls: string | undefined): [string, string][] {
  if (values.recipient !== undefined) return [[name, 'it is sealed for another machine']]
  if (values.box !== undefined) return [[name, 'it comes in a box: "acmems agent" or "acmems renew" fetches it']]
  return name === ownTls ? [[name, "it is the management listener's own ([mgmt] tls)"]] : []
}

function lastOf(section: Section, key: string): string | undefined {
  return section.entries.findLast((entry) => entry.key === key && entry.value !== '')?.value
}

/** Moving from a CA's staging to its production is another issuer, under the same name. */
function placeOf(issuer: string, sections: readonly Section[]): string {
  const section =
    sections.find(({ kind, name }) => kind === 'issuer' && name === issuer) ??
    sections.find(({ kind }) => kind === 'account' && issuer === 'default')
  const said = section === undefined ? [] : issuerPlaceKeys.map((key) => lastOf(section, key) ?? '')
  return [issuer, ...said].join(' ').trimEnd()
}
