import { Command, CommanderError } from 'commander'
import { checkConfigCommand } from './cli/check-config.ts'
import { configReferenceCommand } from './cli/config-reference.ts'
import { demoCommand } from './cli/demo.ts'
import { registerCommand } from './cli/register.ts'
import { serveCommand } from './cli/serve.ts'
import { version } from './version.ts'

/** argv -> command. Exit codes: 0 done, 1 it failed, 2 it was called wrongly. */
async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('acmems')
    .description(
      'ACME management server: one place that holds the ACME account and gives every machine the certificates it may have.',
    )
    .version(version, '-V, --version')
    .addHelpText(
      'after',
      '\nExamples:\n  acmems demo                        see the main job done, on this machine alone\n  acmems serve /etc/acmems.ini       run the server\n  acmems check-config /etc/acmems.ini\n\nDocumentation: README.md and docs/ beside the program',
    )
    .showHelpAfterError('(try --help)')
    .exitOverride()
  for (const command of [
    serveCommand(),
    demoCommand(),
    registerCommand(),
    checkConfigCommand(),
    configReferenceCommand(),
  ]) {
    program.addCommand(command.exitOverride())
  }
  program.addCommand(registerCommand('acme-register').exitOverride(), { hidden: true })
  await program.parseAsync(argv, { from: 'user' })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2
  } else {
    process.stderr.write(`acmems: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
