import { Command } from 'commander'
import { importLacmeCommand } from './import-lacme.ts'

/** `acmems import`: configurations of other programs. */
export function importCommand(): Command {
  return new Command('import')
    .summary("write another program's configuration as one of ours")
    .description("Read another program's configuration and write it as one of ours. Nothing of the other is changed.")
    .addCommand(importLacmeCommand())
    .addHelpText('after', '\nExamples:\n  acmems import lacme --output /etc/acmems/acmems.ini')
}
