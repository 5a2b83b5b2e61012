import { Command } from 'commander'
import { configReference, formatReference } from '../config/reference.ts'
import { builtinPlugins } from '../plugins/builtin.ts'

/** `acmems config-reference`: every section and key. */
export function configReferenceCommand(): Command {
  return new Command('config-reference')
    .summary('print every section and key, with type, default and meaning')
    .description('Print every section and key of the configuration, with type, default and meaning.')
    .option('--json', 'print JSON', false)
    .addHelpText('after', '\nExamples:\n  acmems config-reference\n  acmems config-reference --json')
    .action(({ json }: { json: boolean }) => {
      const reference = configReference(builtinPlugins)
      process.stdout.write(json ? `${JSON.stringify(reference, null, 2)}\n` : formatReference(reference))
    })
}
