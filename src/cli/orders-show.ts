import { Command } from 'commander'
import type { OrderStories, OrderStory } from '../state/order-stories.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { issuerNames } from './issuer-names.ts'
import { openDesk } from './open-installation.ts'
import { storyJson } from './order-text.ts'
import { formatFacts, formatNames, formatSecond, formatTable, formatTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean }

const maxCandidates = 20

export function ordersShowCommand(): Command {
  return withConfigFlags(new Command('show'))
    .summary('show each step of an order')
    .description("Show the newest order that is meant: each step with its time and the CA's words.")
    .argument('<order>', "how its id begins, the order's URL, or one of its names")
    .argument('[config...]', 'configuration files')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems orders show www.example.org /etc/acmems/acmems.ini\n  acmems orders show 3fa94c10 --json /etc/acmems/acmems.ini',
    )
    .action(showOrder)
}

async function showOrder(text: string, files: string[], flags: Flags): Promise<void> {
  await using desk = await openDesk(files, flags)
  const stories = await findStories(desk.state.stories, text)
  const [story] = stories
  if (story === undefined)
    throw new Error(`no order has the id, the URL or the name ${text}; "acmems orders list" shows them`)
  const issuerName = issuerNames(desk.config)
  if (flags.json) {
    printJson(storyJson(story, issuerName))
    return
  }
  process.stdout.write(formatFacts(factsOf(story, issuerName)))
  process.stdout.write(`\n${formatTable(['TIME', 'STEP'], stepsOf(story))}`)
  if (stories.length > 1)
    process.stdout.write(`\nthis is the newest; "acmems orders list --name ${story.names[0]}" shows others\n`)
}

/** @throws Error when the beginning of an id is that of several */
async function findStories(stories: OrderStories, text: string): Promise<OrderStory[]> {
  if (text.includes('://')) return await stories.list(maxCandidates, { orderUrl: text })
  const byName = await stories.list(maxCandidates, { name: text.toLowerCase().replace(/\.$/, '') })
  if (byName.length > 0) return byName
  const byId = await stories.list(maxCandidates, { needPrefix: text })
  const needs = new Map(byId.map((story) => [story.need, story]))
  if (needs.size <= 1) return byId
  const rows = [...needs.values()].map(({ need, names }) => [need, formatNames(names)])
  throw new Error(`${text} may be any of these; say more of the id\n${formatTable(['ID', 'NAMES'], rows).trimEnd()}`)
}

function factsOf(story: OrderStory, issuerName: (key: string) => string): [string, string | undefined][] {
  return [
    ['names', story.names.join(' ')],
    ['status', story.status],
    ['id', story.need],
    ['block', story.block],
    ['issuer', issuerName(story.issuerKey)],
    ['order', story.orderUrl],
    ['began', formatTime(story.beganAtMs)],
    ['finished', story.finishedAtMs === undefined ? undefined : formatTime(story.finishedAtMs)],
    ['serial', story.serial],
    ['reason', story.reason],
  ]
}

function stepsOf({ steps }: OrderStory): string[][] {
  return steps.map(({ atMs, note }) => [formatSecond(atMs), note])
}
