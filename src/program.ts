import { Command } from 'commander'
import { version } from './version.ts'

/** Each command is loaded when it is called: `--version` must not wait for a server's libraries. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./cli/serve.ts')).serveCommand(),
  accountd: async () => (await import('./cli/accountd.ts')).accountdCommand(),
  responder: async () => (await import('./cli/responder.ts')).responderCommand(),
  firewall: async () => (await import('./cli/firewall.ts')).firewallCommand(),
  agent: async () => (await import('./cli/agent.ts')).agentCommand(),
  demo: async () => (await import('./cli/demo.ts')).demoCommand(),
  init: async () => (await import('./cli/init.ts')).initCommand(),
  register: async () => (await import('./cli/register.ts')).registerCommand('register'),
  account: async () => (await import('./cli/account.ts')).accountCommand(),
  renew: async () => (await import('./cli/renew.ts')).renewCommand(),
  certs: async () => (await import('./cli/certs.ts')).certsCommand(),
  orders: async () => (await import('./cli/orders.ts')).ordersCommand(),
  'deploy-check': async () => (await import('./cli/deploy-check.ts')).deployCheckCommand(),
  audit: async () => (await import('./cli/audit.ts')).auditCommand(),
  plan: async () => (await import('./cli/plan.ts')).planCommand(),
  limits: async () => (await import('./cli/limits.ts')).limitsCommand(),
  enroll: async () => (await import('./cli/enroll.ts')).enrollCommand(),
  'dns-records': async () => (await import('./cli/dns-records.ts')).dnsRecordsCommand(),
  doctor: async () => (await import('./cli/doctor.ts')).doctorCommand(),
  import: async () => (await import('./cli/import.ts')).importCommand(),
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
  acmems certs list /etc/acmems.ini    say what was issued, and when it is renewed

Exit codes: 0 done, 1 it failed, 2 it was called wrongly`

/** The whole program; of the commands those that are called, or all, as for help. */
export async function createProgram(first: string): Promise<Command> {
  const program = new Command('acmems')
    .description(
      'ACME management server: one place that holds the ACME account and gives every machine the certificates it may have.',
    )
    .version(version, '-V, --version')
    .addHelpText('after', examples)
    .exitOverride()
  const called = commands[first] ?? hiddenCommands[first]
  const needed = called !== undefined ? [called] : ['-V', '--version'].includes(first) ? [] : Object.values(commands)
  for (const load of needed) {
    const command = await load()
    inheritSettings(command, program)
    program.addCommand(command)
  }
  return program
}

/** A command's own commands, too: each on its own would end the process itself. */
function inheritSettings(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent).showHelpAfterError('(try --help)')
  for (const inner of command.commands) inheritSettings(inner, command)
}
