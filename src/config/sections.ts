import type { AnyPlugin, Option, Options, PluginKind } from '../plugin-api.ts'
import { dns01Options } from '../plugins/challenges/dns01-options.ts'
import { certificateOptions } from './certificate-options.ts'
import { processOptions } from './process-options.ts'
import {
  authOptions,
  dnsApiOptions,
  issuerOptions,
  listenersOptions,
  loggingOptions,
  mgmtOptions,
  setupOptions,
  stateOptions,
} from './static-sections.ts'

/** One kind of section: what may stand in it. */
export type SectionKind = {
  readonly kind: string
  readonly meaning: string
  readonly named: boolean
  readonly options: Options
  /** `type =` chooses among these plugins, whose options are then keys of the section too. */
  readonly typed?: readonly PluginKind[]
  /** Keys that a section has besides when its plugin is of this kind; they count before the plugin's own. */
  readonly byPlugin?: Partial<Readonly<Record<PluginKind, Options>>>
}

const noOptions: Options = {}

export const sectionKinds: readonly SectionKind[] = [
  {
    kind: 'account',
    meaning: 'the issuer named "default"; its type is acme unless it says otherwise',
    named: false,
    options: issuerOptions,
    typed: ['issuer'],
  },
  { kind: 'issuer', meaning: 'who issues certificates', named: true, options: issuerOptions, typed: ['issuer'] },
  { kind: 'mgmt', meaning: 'the door for hosts: POST /sign', named: false, options: mgmtOptions },
  {
    kind: 'verification',
    meaning: 'how names are proven to the CA',
    named: true,
    options: noOptions,
    typed: ['solver', 'dns'],
    byPlugin: { dns: dns01Options },
  },
  {
    kind: 'storage',
    meaning: 'where issued certificates are kept',
    named: true,
    options: noOptions,
    typed: ['storage'],
  },
  {
    kind: 'auth',
    meaning: 'who may have which names; the first block that holds and covers every name counts',
    named: true,
    options: authOptions,
  },
  {
    kind: 'certificate',
    meaning: 'a certificate that this machine keeps for itself, or seals for another',
    named: true,
    options: certificateOptions,
  },
  { kind: 'notification', meaning: 'whom to tell', named: true, options: noOptions, typed: ['notifier'] },
  {
    kind: 'dns-api',
    meaning: 'lets ACME clients elsewhere prove names through our DNS server',
    named: false,
    options: dnsApiOptions,
  },
  { kind: 'state', meaning: 'what survives a restart', named: false, options: stateOptions },
  {
    kind: 'process',
    meaning: 'parts of the server that are processes of their own',
    named: false,
    options: processOptions,
  },
  { kind: 'logging', meaning: 'the log', named: false, options: loggingOptions },
  { kind: 'setup', meaning: 'plugins of your own', named: false, options: setupOptions },
  { kind: 'listeners', meaning: "the earliest acmems' listeners", named: false, options: listenersOptions },
]

/** Plugins that a section kind's `type =` can choose. */
export function pluginsFor(section: SectionKind, plugins: readonly AnyPlugin[]): AnyPlugin[] {
  return plugins.filter((plugin) => section.typed?.includes(plugin.kind))
}

/** Every key of a section whose `type =` is this plugin. */
export function optionsWith(section: SectionKind, plugin: AnyPlugin): Options {
  return { ...section.options, ...plugin.options, ...section.byPlugin?.[plugin.kind] }
}

/** Every key that can stand in a kind of section, whatever its type: for the environment's names. */
export function knownKeys(plugins: readonly AnyPlugin[]): Map<string, Map<string, { list: boolean }>> {
  return new Map(
    sectionKinds.map((section) => {
      const sources: Options[] = [
        section.options,
        ...pluginsFor(section, plugins).map((plugin) => optionsWith(section, plugin)),
      ]
      if (section.kind === 'auth')
        sources.push(...plugins.filter(({ kind }) => kind === 'credential').map((plugin) => plugin.options))
      if (section.typed !== undefined) sources.push({ type: typeOption([]) })
      const keys = sources.flatMap((options) => Object.entries(options)).flatMap(([key, option]) => keysOf(key, option))
      return [section.kind, new Map(keys)]
    }),
  )
}

function keysOf(key: string, option: Option<unknown>): [string, { list: boolean }][] {
  const own: [string, { list: boolean }] = [key, { list: option.list === true }]
  return option.secret === true ? [own, [`${key}-file`, { list: false }]] : [own]
}

export function typeOption(names: readonly string[]): Option<string> {
  return { meaning: `one of ${names.join(', ')}`, type: 'word', parse: String }
}
