import type { AnyPlugin, PluginKind } from '../plugin-api.ts'
import { resolveCertificates } from './certificates.ts'
import { chooseCredentials, chooseType, credentialPlugins } from './choice.ts'
import type { AuthBlock, Chosen, Config } from './config.ts'
import { nearestWord } from './finding.ts'
import type { Section } from './ini.ts'
import { sectionKey } from './layers.ts'
import { resolveMgmtTls } from './mgmt-tls.ts'
import { type OptionsReader, readOptions } from './options.ts'
import { findProcessTrouble, type ProcessValues, processOptions } from './process-options.ts'
import { sectionKinds } from './sections.ts'
import {
  type AuthValues,
  authOptions,
  type DnsApiValues,
  dnsApiOptions,
  type LoggingValues,
  loggingOptions,
  type MgmtValues,
  mgmtOptions,
  setupOptions,
  stateOptions,
} from './static-sections.ts'

/** Sections that are there without being written. A section of the same name replaces them. */
const impliedSections: readonly Section[] = [
  implied('account', undefined, []),
  implied('verification', 'http', [['type', 'http01']]),
  implied('storage', 'none', [['type', 'none']]),
  implied('storage', 'state', [['type', 'state']]),
]

function implied(kind: string, name: string | undefined, pairs: [string, string][]): Section {
  return { kind, name, origin: 'default', entries: pairs.map(([key, value]) => ({ key, value, origin: 'default' })) }
}

/** Turns sections into the typed Config; everything wrong becomes a finding of the reader. */
export function resolveConfig(
  given: readonly Section[],
  plugins: readonly AnyPlugin[],
  reader: OptionsReader,
): Omit<Config, 'files' | 'warnings'> {
  const complain = (origin: string, message: string) => reader.findings.push({ severity: 'error', origin, message })
  const known = given.filter((section) => isKnown(section, reader))
  const ofKind = (kind: string) => known.filter((section) => section.kind === kind)
  const single = (kind: string) => ofKind(kind)[0] ?? implied(kind, undefined, [])

  const mgmt = readOptions(single('mgmt'), mgmtOptions, reader) as MgmtValues
  const dnsApi = readOptions(single('dns-api'), dnsApiOptions, reader) as DnsApiValues
  const process = readOptions(single('process'), processOptions, reader) as ProcessValues
  for (const trouble of findProcessTrouble(process)) complain(single('process').origin, `[process] ${trouble}`)
  const logging = readOptions(single('logging'), loggingOptions, reader) as LoggingValues
  const state = readOptions(single('state'), stateOptions, reader)
  const setup = single('setup')
  readOptions(setup, setupOptions, reader)
  warnAboutIncludePath(setup, reader)

  const choose = <K extends PluginKind>(kind: string, withImplied: boolean): Map<string, Chosen<K>> => {
    const written = ofKind(kind)
    const defaults = withImplied
      ? impliedSections.filter((section) => section.kind === kind && !written.some(({ name }) => name === section.name))
      : []
    const chosen = [...defaults, ...written].map((section) => chooseType<K>(section, plugins, reader))
    return new Map(chosen.filter((one) => one !== undefined).map((one) => [one.name, one]))
  }
  const issuers = choose<'issuer'>('issuer', false)
  const account = chooseType<'issuer'>(single('account'), plugins, reader)
  if (account !== undefined && !issuers.has('default')) issuers.set('default', { ...account, name: 'default' })
  else if (ofKind('account').length > 0)
    complain(single('account').origin, '[account] is the issuer "default"; there is an [issuer "default"] too')
  const fallbacks = resolveFallbacks(issuers, complain)
  const verifications = choose<'solver' | 'dns'>('verification', true)
  const storages = choose<'storage'>('storage', true)
  const notifications = choose<'notifier'>('notification', false)

  const find = (map: ReadonlyMap<string, unknown>, kind: string, name: string, origin: string): string => {
    if (map.has(name)) return name
    const near = nearestWord(name, map.keys())
    complain(
      origin,
      `there is no [${kind} ${JSON.stringify(name)}]${near === undefined ? '' : `; did you mean ${near}?`}`,
    )
    return name
  }
  const originOf = (section: Section, key: string) =>
    section.entries.find((entry) => entry.key === key)?.origin ?? section.origin
  const mgmtSection = single('mgmt')
  const defaultIssuer = find(issuers, 'issuer', mgmt['default-issuer'], originOf(mgmtSection, 'default-issuer'))
  const defaultVerification = defaultOf('verification', mgmtSection, ofKind('verification'), 'http', (name, origin) =>
    find(verifications, 'verification', name, origin),
  )
  const defaultStorage =
    defaultOf('storage', mgmtSection, ofKind('storage'), 'state', (name, origin) =>
      find(storages, 'storage', name, origin),
    ) ?? 'none'

  const issuerOf = (section: Section, given: string | undefined): string =>
    given === undefined ? defaultIssuer : find(issuers, 'issuer', given, originOf(section, 'issuer'))
  const verificationOf = (section: Section, given: string | undefined, issuer: string): string | undefined => {
    if (given !== undefined) return find(verifications, 'verification', given, originOf(section, 'verification'))
    if (issuers.get(issuer)?.plugin.needsNoVerification === true) return undefined
    if (defaultVerification === undefined)
      complain(
        section.origin,
        `[${sectionKey(section)}] names no verification, and the default is disabled (default-verification is empty)`,
      )
    return defaultVerification
  }

  const blocks = ofKind('auth').map((section): AuthBlock => {
    const credentials = chooseCredentials(section, plugins, reader)
    const options = Object.assign({}, authOptions, ...credentialPlugins(plugins).map((plugin) => plugin.options))
    const values = readOptions(section, options, reader) as AuthValues
    if (credentials.length === 0) {
      complain(
        section.origin,
        `[${sectionKey(section)}] names nobody: give ip, public-key, hmac_type and hmac_key, or all = yes to let everybody in`,
      )
    }
    if (values.domain.length === 0 && values['ip-address'].length === 0) {
      reader.findings.push({
        severity: 'warning',
        origin: section.origin,
        message: `[${sectionKey(section)}] has no domain, so it covers no name`,
      })
    }
    const issuer = issuerOf(section, values.issuer)
    const storage =
      values.storage === undefined
        ? defaultStorage
        : find(storages, 'storage', values.storage, originOf(section, 'storage'))
    const storageType = storages.get(storage)?.plugin.name ?? 'none'
    if (values.probe.some((target) => target !== 'no') && storageType === 'none')
      reader.findings.push({
        severity: 'warning',
        origin: originOf(section, 'probe'),
        message: `[${sectionKey(section)}] has probe, but its storage keeps nothing: who picked up is not remembered, so it is looked at for sealed boxes only`,
      })
    if (!values.metadata && storageType !== 'none')
      complain(
        originOf(section, 'metadata'),
        `[${sectionKey(section)}] metadata = no needs a storage that keeps nothing, and ${JSON.stringify(storage)} is of type ${storageType}; write storage = none`,
      )
    for (const [key, isSet] of [
      ['register-boxes', values['register-boxes']],
      ['probe', values.probe.length > 0],
    ] as const)
      if (!values.metadata && isSet)
        complain(originOf(section, key), `[${sectionKey(section)}] metadata = no and ${key} contradict each other`)
    return {
      name: section.name ?? '',
      origin: section.origin,
      credentials,
      values,
      issuer,
      verification: verificationOf(section, values.verification, issuer),
      storage,
    }
  })
  const certificates = resolveCertificates(ofKind('certificate'), reader, {
    isBlock: (name) => blocks.some((block) => block.name === name),
    hasBoxes: (name) => issuers.get(name)?.plugin.hasBoxes === true,
    issuerOf,
    verificationOf,
  })
  if (process.installer !== undefined) refuseBoxes(ofKind('certificate'), originOf, complain)
  const mgmtTls = resolveMgmtTls(mgmt, certificates, (key, message) => complain(originOf(mgmtSection, key), message))
  const dnsServers = [...verifications.values()].filter(({ plugin }) => plugin.name === 'dns01-server')
  if (dnsApi.listener.length > 0 && dnsServers.length === 0)
    complain(
      single('dns-api').origin,
      '[dns-api] needs a [verification] of type dns01-server, which tells what it publishes',
    )
  return {
    mgmt,
    mgmtTls,
    dnsApi,
    process,
    logging,
    stateUrl: typeof state.url === 'string' ? state.url : undefined,
    issuers,
    fallbacks,
    verifications: usedVerifications(
      verifications,
      ofKind('verification'),
      [...blocks, ...certificates],
      defaultVerification,
    ),
    storages,
    notifications,
    defaultIssuer,
    defaultVerification,
    defaultStorage,
    blocks,
    certificates,
    accountKeys: plugins.filter((plugin) => plugin.kind === 'accountKey'),
  }
}

/** A box is opened with a key that the server has; the installer has the keys when there is one. */
function refuseBoxes(
  sections: readonly Section[],
  originOf: (section: Section, key: string) => string,
  complain: (origin: string, message: string) => void,
): void {
  for (const section of sections.filter(({ entries }) => entries.some(({ key }) => key === 'box')))
    complain(
      originOf(section, 'box'),
      `[${sectionKey(section)}] has a box, which the installer ([process] installer) does not open: put the section into a file of its own, for "acmems renew" or "acmems agent" to fetch it as root`,
    )
}

function isKnown(section: Section, { lenient, findings }: OptionsReader): boolean {
  const kind = sectionKinds.find((candidate) => candidate.kind === section.kind)
  if (kind === undefined) {
    const near = nearestWord(
      section.kind,
      sectionKinds.map((candidate) => candidate.kind),
    )
    const hint =
      near === undefined
        ? `known are ${sectionKinds.map((candidate) => candidate.kind).join(', ')}`
        : `did you mean ${near}?`
    findings.push({
      severity: lenient ? 'warning' : 'error',
      origin: section.origin,
      message: `unknown section [${sectionKey(section)}]; ${hint}`,
    })
    return false
  }
  if (kind.named === (section.name !== undefined)) return true
  const message = kind.named
    ? `[${section.kind}] needs a name: [${section.kind} "name"]`
    : `[${section.kind}] has no name`
  findings.push({ severity: 'error', origin: section.origin, message })
  return false
}

/** Which issuer stands in for which; a name that does not exist, or a way that leads back, is an error. */
function resolveFallbacks(
  issuers: ReadonlyMap<string, Chosen<'issuer'>>,
  complain: (origin: string, message: string) => void,
): Map<string, string> {
  const fallbacks = new Map<string, string>()
  for (const [name, { options, origin }] of issuers) {
    const { fallback } = options
    if (typeof fallback !== 'string') continue
    if (issuers.has(fallback)) fallbacks.set(name, fallback)
    else {
      const near = nearestWord(fallback, issuers.keys())
      complain(
        origin,
        `fallback: there is no [issuer ${JSON.stringify(fallback)}]${near === undefined ? '' : `; did you mean ${near}?`}`,
      )
    }
  }
  for (const start of fallbacks.keys()) {
    const way = [start]
    for (let next = fallbacks.get(start); next !== undefined; next = fallbacks.get(next)) {
      if (way.includes(next)) {
        complain(issuers.get(start)?.origin ?? '', `fallback: ${[...way, next].join(' -> ')} leads back`)
        return new Map()
      }
      way.push(next)
    }
  }
  return fallbacks
}

/** acmems' rule: the one named in [mgmt], else the only one there is, else the implied one. Named and empty: none. */
function defaultOf(
  kind: 'verification' | 'storage',
  mgmt: Section,
  written: readonly Section[],
  impliedName: string,
  find: (name: string, origin: string) => string,
): string | undefined {
  const entry = mgmt.entries.findLast((candidate) => candidate.key === `default-${kind}`)
  if (entry !== undefined) return entry.value === '' ? undefined : find(entry.value, entry.origin)
  const [only] = written
  return written.length === 1 && only?.name !== undefined ? only.name : impliedName
}

/** The implied http01 has listeners: it is there only for who uses it. */
function usedVerifications(
  all: ReadonlyMap<string, Chosen<'solver' | 'dns'>>,
  written: readonly Section[],
  blocks: readonly Pick<AuthBlock, 'verification'>[],
  byDefault: string | undefined,
): Map<string, Chosen<'solver' | 'dns'>> {
  const used = new Set([...written.map(({ name }) => name), ...blocks.map(({ verification }) => verification)])
  if (blocks.length === 0) used.add(byDefault)
  return new Map([...all].filter(([name]) => used.has(name)))
}

function warnAboutIncludePath(setup: Section, reader: OptionsReader): void {
  const entry = setup.entries.find(({ key }) => key === 'include-path')
  if (entry === undefined) return
  reader.findings.push({
    severity: 'warning',
    origin: entry.origin,
    message: 'include-path is for Python plugins and does nothing here; see plugin',
  })
}
