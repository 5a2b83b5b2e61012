import type { AnyPlugin, PluginKind } from '../plugin-api.ts'
import type { Chosen } from './config.ts'
import { type Finding, nearestWord } from './finding.ts'
import type { Section } from './ini.ts'
import { sectionKey } from './layers.ts'
import { type OptionsReader, readOptions } from './options.ts'
import { optionsWith, pluginsFor, type SectionKind, sectionKinds, typeOption } from './sections.ts'

/** The plugin that a section's `type =` names, with its options. undefined after a complaint. */
export function chooseType<K extends PluginKind>(
  section: Section,
  plugins: readonly AnyPlugin[],
  reader: OptionsReader,
): Chosen<K> | undefined {
  const kind = sectionKinds.find((candidate) => candidate.kind === section.kind) as SectionKind
  const candidates = pluginsFor(kind, plugins)
  const names = candidates.map(({ name }) => name)
  const typeEntry = section.entries.find((entry) => entry.key === 'type')
  const type = typeEntry?.value ?? (section.kind === 'account' ? 'acme' : undefined)
  const complain = (origin: string, message: string) => reader.findings.push({ severity: 'error', origin, message })
  if (type === undefined) {
    complain(section.origin, `[${sectionKey(section)}] must name its type: ${names.join(', ')}`)
    return undefined
  }
  const plugin = candidates.findLast(({ name }) => name === type)
  if (plugin === undefined) {
    const near = nearestWord(type, names)
    complain(
      typeEntry?.origin ?? section.origin,
      `there is no ${section.kind} type ${JSON.stringify(type)}; ${near === undefined ? `known are ${names.join(', ')}` : `did you mean ${near}?`}`,
    )
    return undefined
  }
  const options = readOptions(section, { ...optionsWith(kind, plugin), type: typeOption(names) }, reader)
  checkOptions(plugin, options, section.origin, reader.findings)
  return { name: section.name ?? section.kind, plugin: plugin as Chosen<K>['plugin'], options, origin: section.origin }
}

function checkOptions(plugin: AnyPlugin, options: Record<string, unknown>, origin: string, findings: Finding[]): void {
  // A missing value was complained about already; rules between values then only confuse.
  if (findings.some(({ severity }) => severity === 'error')) return
  try {
    plugin.check?.(options as never)
  } catch (error) {
    findings.push({
      severity: 'error',
      origin,
      message: error instanceof Error ? error.message : 'the options do not fit together',
    })
  }
}

export function credentialPlugins(plugins: readonly AnyPlugin[]): Extract<AnyPlugin, { kind: 'credential' }>[] {
  return plugins.filter((plugin) => plugin.kind === 'credential')
}

/** A credential belongs to a block when any of its keys stands there. */
export function chooseCredentials(
  section: Section,
  plugins: readonly AnyPlugin[],
  reader: OptionsReader,
): Chosen<'credential'>[] {
  return credentialPlugins(plugins).flatMap((plugin): Chosen<'credential'>[] => {
    const keys = new Set(
      Object.entries(plugin.options).flatMap(([key, option]) =>
        option.secret === true ? [key, `${key}-file`] : [key],
      ),
    )
    const entries = section.entries.filter((entry) => keys.has(entry.key))
    if (entries.length === 0) return []
    const options = readOptions({ ...section, entries }, plugin.options, reader)
    checkOptions(plugin, options, section.origin, reader.findings)
    // `all = no` and `enroll = no` say nothing, so they are no condition either.
    if (plugin.name === 'all' && options.all !== true) return []
    if (entries.every(({ key }) => key === 'enroll') && options.enroll !== true) return []
    return [{ name: plugin.name, plugin, options, origin: section.origin }]
  })
}
