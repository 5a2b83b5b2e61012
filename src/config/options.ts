import { readFileSync } from 'node:fs'
import type { Option, Options } from '../plugin-api.ts'
import { type Finding, nearestWord } from './finding.ts'
import type { Section } from './ini.ts'
import { sectionKey } from './layers.ts'

const maxSecretBytes = 64 * 1024

export type OptionsReader = {
  readonly lenient: boolean
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly findings: Finding[]
}

/**
 * Reads a section's entries by their options. Unknown keys, keys given twice and values that cannot be read become
 * findings; a secret may come as `KEY-file = path` and any value may hold `${ENV:NAME}`.
 * @returns values by key, as OptionValues describes them
 */
export function readOptions(section: Section, options: Options, reader: OptionsReader): Record<string, unknown> {
  reportUnknownKeys(section, options, reader)
  return Object.fromEntries(
    Object.entries(options).map(([key, option]) => [key, readOption(section, key, option, reader)]),
  )
}

function readOption(section: Section, key: string, option: Option<unknown>, reader: OptionsReader): unknown {
  const entries = section.entries.filter((entry) => entry.key === key || (option.secret && entry.key === `${key}-file`))
  const complain = (origin: string, message: string) => reader.findings.push({ severity: 'error', origin, message })
  if (entries.length > 1 && !option.list) {
    const [first, second] = entries
    const shown = option.secret ? '' : `: ${JSON.stringify(first?.value)} and ${JSON.stringify(second?.value)}`
    complain(second?.origin ?? section.origin, `${key} is given twice${shown} (first at ${first?.origin})`)
    return undefined
  }
  const parse = (value: string, origin: string): unknown[] => {
    try {
      return [option.parse(value)]
    } catch (error) {
      complain(origin, `${key}: ${error instanceof Error ? error.message : 'cannot be read'}`)
      return []
    }
  }
  const given = entries.flatMap((entry) => {
    const value = fillIn(entry.key === key ? entry.value : readSecretFile(entry.value), reader)
    if (value instanceof Error) {
      complain(entry.origin, `${entry.key}: ${value.message}`)
      return []
    }
    // An empty value takes a list's default away (`listener =`), and means "not given" elsewhere.
    return value === '' && (option.list || !option.required) ? [] : parse(value, entry.origin)
  })
  if (entries.length === 0) {
    if (option.required) complain(section.origin, `[${sectionKey(section)}] needs ${key} (${option.meaning})`)
    const defaults = option.list
      ? (option.default ?? '').split(' ').filter(Boolean)
      : option.default === undefined
        ? []
        : [option.default]
    given.push(...defaults.flatMap((value) => parse(value, `default of ${key}`)))
  }
  return option.list ? given : given[0]
}

function reportUnknownKeys(section: Section, options: Options, reader: OptionsReader): void {
  const known = Object.entries(options).flatMap(([key, option]) => (option.secret ? [key, `${key}-file`] : [key]))
  for (const entry of section.entries) {
    if (known.includes(entry.key)) continue
    const near = nearestWord(entry.key, known)
    const hint = near === undefined ? `known are ${known.join(', ')}` : `did you mean ${near}?`
    reader.findings.push({
      severity: reader.lenient ? 'warning' : 'error',
      origin: entry.origin,
      message: `[${sectionKey(section)}] has no key ${entry.key} (${JSON.stringify(entry.value)}); ${hint}`,
    })
  }
}

function readSecretFile(path: string): string | Error {
  try {
    const content = readFileSync(path)
    return content.length > maxSecretBytes
      ? new Error(`${path} is too big for a secret`)
      : content.toString('utf8').trim()
  } catch (error) {
    return new Error(`cannot read ${path}: ${error instanceof Error ? error.message : 'unknown reason'}`)
  }
}

function fillIn(value: string | Error, reader: OptionsReader): string | Error {
  if (value instanceof Error) return value
  const missing = [...value.matchAll(/\$\{ENV:(\w+)\}/g)]
    .map((match) => match[1] ?? '')
    .find((name) => reader.environment[name] === undefined)
  if (missing !== undefined) return new Error(`the environment has no ${missing}`)
  return value.replace(/\$\{ENV:(\w+)\}/g, (_, name: string) => reader.environment[name] ?? '')
}
