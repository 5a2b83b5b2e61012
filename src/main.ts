import { Command, CommanderError } from 'commander'
import { version } from './version.ts'

/** Each command is loaded when it is called: `--version` must not wait for a server's libraries. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./cli/serve.ts')).serveCommand(),
  demo: async () => (await import('./cli/demo.ts')).demoCommand(),
  register: async () => (await import('./cli/register.ts')).registerCommand('register'),
  'check-config': async () => (await import('./cli/check-config.ts')).checkConfigCommand(),
  'config-reference': async () => (await import('./cli/config-reference.ts')).configReferenceCommand(),
}

/** acmems' own name for `register`; understood, not advertised. */
const hiddenCommands: typeof commands = {
  'acme-register': async () => (await import('./cli/register.ts')).registerCommand('acme-register'),
}

const examples = `
Examples:
  acmems demo                          see the main job done, on this machine alone
  acmems check-config /etc/acmems.ini  say what a configuration means
  acmems serve /etc/acmems.ini         run the server

Exit codes: 0 done, 1 it failed, 2 it was called wrongly`

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('acmems')
    .description(
      'ACME management server: one place that holds the ACME account and gives every machine the certificates it may have.',
    )
    .version(version, '-V, --version')
    .addHelpText('after', examples)
    .exitOverride()
  const [first = ''] = argv
  const called = commands[first] ?? hiddenCommands[first]
  const needed = called !== undefined ? [called] : ['-V', '--version'].includes(first) ? [] : Object.values(commands)
  for (const load of needed)
    program.addCommand((await load()).copyInheritedSettings(program).showHelpAfterError('(try --help)'))
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
