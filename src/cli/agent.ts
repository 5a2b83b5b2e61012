import { Command } from 'commander'
import { agentEnrollCommand } from './agent-enroll.ts'
import { agentRegisterCommand } from './agent-register.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { serve } from './serve.ts'
import { UsageError } from './usage-error.ts'

/** An agent asks others; whoever wants it to be asked, too, says where. */
const agentDefaults = ['mgmt.listener=']

/** `acmems agent [CONFIG...]` */
export function agentCommand(): Command {
  return withConfigFlags(new Command('agent'))
    .summary('keep the certificates of this host, from another acmems; enroll makes its key known there')
    .description(
      'Keep the [certificate] sections of the configuration: order, install, renew, without listening anywhere. Like\n"acmems serve", whose signals it knows, except that [mgmt] listener is empty unless it is written.\nWith [issuer "hub"] type = acmems the certificates come from another acmems; key and request stay on this host,\nor, with box = NAME, come sealed to this host\'s key.',
    )
    .argument('[config...]', 'configuration files')
    .addCommand(agentEnrollCommand())
    .addCommand(agentRegisterCommand())
    .addHelpText(
      'after',
      '\nExamples:\n  acmems agent enroll --server https://hub.example:1313 --token TOKEN --pin sha256//...\n  acmems agent register /etc/acmems/agent.ini\n  acmems agent /etc/acmems/agent.ini\n  acmems check-config /etc/acmems/agent.ini',
    )
    .action(runAgent)
}

async function runAgent(files: string[], flags: ConfigFlags): Promise<void> {
  if (files.length === 0) throw new UsageError('name the configuration; "acmems agent enroll" prints how it begins')
  const { certificates, mgmt } = await readConfig(files, flags, agentDefaults)
  if (certificates.length === 0 && mgmt.listener.length === 0)
    throw new Error('there is nothing to do: the configuration has no [certificate]')
  await serve(files, flags, agentDefaults)
}
