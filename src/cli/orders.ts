import { Command } from 'commander'
import type { StoryWish } from '../state/order-stories.ts'
import { shortId } from './certificate-choice.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { issuerNames } from './issuer-names.ts'
import { parseCountOption } from './number-option.ts'
import { openDesk } from './open-installation.ts'
import { storyJson } from './order-text.ts'
import { ordersShowCommand } from './orders-show.ts'
import { formatNames, formatTable, formatTime, printJson } from './table.ts'

type ListFlags = ConfigFlags & {
  readonly json: boolean
  readonly max: number
  readonly failed: boolean
  readonly name?: string
}
/** `acmems orders`: what was and is asked of the CAs. */
export function ordersCommand(): Command {
  return new Command('orders')
    .summary('list orders, and show each step of one')
    .description('The orders of the last 90 days and those under way, with what the CA said at each step.')
    .addCommand(listCommand())
    .addCommand(ordersShowCommand())
    .addHelpText(
      'after',
      '\nExamples:\n  acmems orders list --failed /etc/acmems/acmems.ini\n  acmems orders show www.example.org /etc/acmems/acmems.ini',
    )
}

function listCommand(): Command {
  return withConfigFlags(new Command('list'))
    .summary('list orders, the newest first')
    .description(
      'List orders, the newest first: in progress, waiting (nobody works on it now), issued, failed, or abandoned.',
    )
    .argument('[config...]', 'configuration files')
    .option('--max <n>', 'so many at most', parseCountOption, 30)
    .option('--failed', 'only those that failed', false)
    .option('--name <name>', 'only those for this name')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems orders list /etc/acmems/acmems.ini\n  acmems orders list --failed --max 5 /etc/acmems/acmems.ini\n  acmems orders list --name www.example.org --json /etc/acmems/acmems.ini',
    )
    .action(listOrders)
}

async function listOrders(files: string[], flags: ListFlags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const wish: StoryWish = {
    ...(flags.failed ? { failed: true } : {}),
    ...(flags.name === undefined ? {} : { name: flags.name.toLowerCase() }),
  }
  const stories = await desk.state.stories.list(flags.max, wish)
  const issuerName = issuerNames(desk.config)
  if (flags.json) printJson(stories.map((story) => storyJson(story, issuerName)))
  else if (stories.length === 0) process.stdout.write('no orders\n')
  else
    process.stdout.write(
      formatTable(
        ['ID', 'BEGAN', 'STATUS', 'NAMES', 'BLOCK', 'ISSUER', 'OUTCOME'],
        stories.map((story) => [
          shortId(story.need),
          formatTime(story.beganAtMs),
          story.status,
          formatNames(story.names),
          story.block,
          issuerName(story.issuerKey),
          story.reason ?? story.serial ?? story.steps.at(-1)?.note ?? '',
        ]),
      ),
    )
}
