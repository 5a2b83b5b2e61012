import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isJsonObject } from '../acme/json-object.ts'
import { errorCode } from '../error-code.ts'
import type { AnyPlugin } from '../plugin-api.ts'
import type { Config } from './config.ts'
import { modernize } from './early-dialect.ts'
import { ConfigError, type Finding } from './finding.ts'
import { parseIni, type Section } from './ini.ts'
import { environmentLayer, findRepeatedSections, flagLayer, overlay } from './layers.ts'
import { resolveConfig } from './resolve.ts'
import { knownKeys } from './sections.ts'

export type ConfigSources = {
  readonly files: readonly string[]
  readonly environment: Readonly<Record<string, string | undefined>>
  /** `--set` values. */
  readonly assignments: readonly string[]
  /** Written as these, below everything else. */
  readonly defaults?: readonly string[]
  /** Unknown sections and keys are warnings, as with acmems. */
  readonly lenient: boolean
  /** The built-in plugins; `[setup] plugin` adds to them. */
  readonly plugins: readonly AnyPlugin[]
  /** Throws for a file, also one of a plugin, that is not to be obeyed; asked before it is. */
  readonly checkObeyed?: (path: string) => void
}

/**
 * Reads everything that configures the server: defaults < files in their order < environment < flags.
 * @throws ConfigError with every error found, each with its place
 */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const { checkObeyed = () => undefined } = sources
  for (const file of sources.files) refuseDisobeyed(file, file, checkObeyed)
  const { findings, sections: written } = await readSections(sources.files)
  let sections = overlay(flagLayer(sources.defaults ?? []).sections, written)
  const own = await loadPlugins(sections, findings, checkObeyed)
  const plugins = [...sources.plugins, ...own]
  for (const layer of [
    environmentLayer(sources.environment, sections, knownKeys(plugins)),
    flagLayer(sources.assignments),
  ]) {
    findings.push(...layer.findings)
    sections = overlay(sections, layer.sections)
  }
  const config = resolveConfig(sections, plugins, {
    lenient: sources.lenient,
    environment: sources.environment,
    findings,
  })
  const distinct = [...new Map(findings.map((finding) => [`${finding.origin} ${finding.message}`, finding])).values()]
  if (distinct.some(({ severity }) => severity === 'error')) throw new ConfigError(distinct)
  return { ...config, files: sources.files, warnings: distinct }
}

function refuseDisobeyed(path: string, origin: string, checkObeyed: (path: string) => void): void {
  try {
    checkObeyed(path)
  } catch (error) {
    const message = error instanceof Error ? error.message : 'it is not to be obeyed'
    throw new ConfigError([{ severity: 'error', origin, message }])
  }
}

/** What the files alone say, in their order: no key is understood yet, no secret read, no plugin loaded. */
export async function readSections(files: readonly string[]): Promise<{ sections: Section[]; findings: Finding[] }> {
  const findings: Finding[] = []
  let sections: Section[] = []
  for (const file of files) {
    const parsed = parseIni(await readConfigFile(file), file)
    findings.push(...parsed.findings, ...findRepeatedSections(parsed.sections))
    sections = overlay(sections, modernize(parsed.sections))
  }
  return { sections, findings }
}

async function readConfigFile(file: string): Promise<string> {
  try {
    if ((await stat(file)).isDirectory()) throw new Error('it is a folder')
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file))
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown reason'
    const remedy =
      errorCode(error) === 'EACCES'
        ? `; user ${process.getuid?.()} may not: give it to a group of that user (chown root:GROUP, mode 0640), and let that group into every folder above`
        : ''
    throw new ConfigError([{ severity: 'error', origin: file, message: `cannot be read: ${reason}${remedy}` }])
  }
}

/** `[setup] plugin`: a module whose default export is a plugin or a list of plugins. */
async function loadPlugins(
  sections: readonly Section[],
  findings: Finding[],
  checkObeyed: (path: string) => void,
): Promise<AnyPlugin[]> {
  const entries = sections
    .filter(({ kind }) => kind === 'setup')
    .flatMap((section) => section.entries.filter(({ key }) => key === 'plugin'))
  const plugins: AnyPlugin[] = []
  for (const { value, origin } of entries) {
    const path = resolve(dirname(origin.replace(/:\d+$/, '')), value)
    try {
      checkObeyed(path)
      const module: unknown = await import(pathToFileURL(path).href)
      const exported =
        isJsonObject(module) || typeof module === 'object' ? Reflect.get(module ?? {}, 'default') : undefined
      const listed: unknown[] = Array.isArray(exported) ? exported : [exported]
      if (!listed.every(isPlugin))
        throw new Error('its default export is no plugin ({ kind, name, meaning, options, create })')
      plugins.push(...listed)
    } catch (error) {
      findings.push({
        severity: 'error',
        origin,
        message: `plugin ${path}: ${error instanceof Error ? error.message : 'cannot be loaded'}`,
      })
    }
  }
  return plugins
}

const kinds = new Set(['credential', 'solver', 'dns', 'accountKey', 'issuer', 'storage', 'notifier'])

function isPlugin(value: unknown): value is AnyPlugin {
  return (
    isJsonObject(value) &&
    kinds.has(String(value.kind)) &&
    typeof value.name === 'string' &&
    isJsonObject(value.options) &&
    typeof value.create === 'function'
  )
}
