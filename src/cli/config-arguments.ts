import type { Command } from 'commander'
import type { Config } from '../config/config.ts'
import { environment } from '../config/environment.ts'
import { loadConfig } from '../config/load.ts'
import { builtinPlugins } from '../plugins/builtin.ts'

export type ConfigFlags = { readonly set: readonly string[]; readonly lenient: boolean }

/** The flags that every command with a configuration shares. */
export function withConfigFlags(command: Command): Command {
  return command
    .option('--set <section.key=value>', 'set one key, over files and environment; repeat it for more', collect, [])
    .option('--lenient', 'unknown sections and keys are warnings, as with acmems', false)
}

function collect(value: string, former: string[]): string[] {
  return [...former, value]
}

/**
 * @param defaults assignments that hold where nothing else is written
 * @param checkObeyed throws for a file, of the configuration or of a plugin, that is not to be obeyed
 * @throws ConfigError
 */
export function readConfig(
  files: readonly string[],
  { set: assignments, lenient }: ConfigFlags,
  defaults: readonly string[] = [],
  checkObeyed?: (path: string) => void,
): Promise<Config> {
  const more = checkObeyed === undefined ? {} : { checkObeyed }
  return loadConfig({ files, environment, assignments, defaults, lenient, plugins: builtinPlugins, ...more })
}
