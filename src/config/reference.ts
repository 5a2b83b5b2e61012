import type { AnyPlugin, Option, Options } from '../plugin-api.ts'
import { optionsWith, pluginsFor, sectionKinds } from './sections.ts'

/** One key, as the reference shows it. */
export type ReferenceKey = {
  readonly key: string
  readonly type: string
  readonly list: boolean
  readonly required: boolean
  readonly secret: boolean
  readonly default: string | null
  readonly meaning: string
}

/** A section, or one `type =` of it. */
export type ReferenceSection = {
  readonly section: string
  readonly meaning: string
  readonly keys: readonly ReferenceKey[]
}

/** Every key there is, from the same descriptions that read them. */
export function configReference(plugins: readonly AnyPlugin[]): ReferenceSection[] {
  return sectionKinds.flatMap((kind): ReferenceSection[] => {
    const title = kind.named ? `[${kind.kind} "name"]` : `[${kind.kind}]`
    const types = pluginsFor(kind, plugins).map((plugin) => ({
      section: kind.kind === 'account' && plugin.name === 'acme' ? title : `${title} type = ${plugin.name}`,
      meaning: plugin.meaning,
      keys: keysOf({ ...plugin.options, ...optionsWith(kind, plugin) }),
    }))
    if (types.length > 0) return types
    if (kind.typed !== undefined)
      return [{ section: `${title} type = <a plugin of yours>`, meaning: kind.meaning, keys: [] }]
    const credentials = kind.kind === 'auth' ? plugins.filter((plugin) => plugin.kind === 'credential') : []
    const who = credentials.flatMap((plugin) => keysOf(plugin.options))
    return [{ section: title, meaning: kind.meaning, keys: [...who, ...keysOf(kind.options)] }]
  })
}

function keysOf(options: Options): ReferenceKey[] {
  return Object.entries(options).map(([key, option]: [string, Option<unknown>]) => ({
    key,
    type: option.type,
    list: option.list === true,
    required: option.required === true,
    secret: option.secret === true,
    default: option.default ?? null,
    meaning: option.meaning,
  }))
}

/** The reference as text: each key as it is written, its default where it has one. */
export function formatReference(sections: readonly ReferenceSection[]): string {
  return sections.map(formatSection).join('\n')
}

function formatSection({ section, meaning, keys }: ReferenceSection): string {
  const lines = keys.map((key) => {
    const notes = [
      key.required ? 'required' : '',
      key.list ? 'may be repeated' : '',
      key.secret ? `or ${key.key}-file` : '',
    ].filter(Boolean)
    const value = key.default ?? `<${key.type}>`
    return `  ${`${key.key} = ${value}`.padEnd(46)} ${key.meaning}${notes.length === 0 ? '' : ` (${notes.join('; ')})`}`
  })
  return [`${section}`, `  # ${meaning}`, ...lines, ''].join('\n')
}
