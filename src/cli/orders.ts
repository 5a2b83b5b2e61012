import { Command } from 'commander'
import type { OrderStory, StoryWish } from '../state/order-stories.ts'
import { shortId } from './certificate-choice.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { issuerNames } from './issuer-names.ts'
import { parseCountOption } from './number-option.ts'
import { openDesk } from './open-installation.ts'
import { formatFacts, formatNames, formatSecond, formatTable, formatTime, isoTime, printJson } from './table.ts'

type ListFlags = ConfigFlags & {
  readonly json: boolean
  readonly max: number
  readonly failed: boolean
  readonly name?: string
}
type ShowFlags = ConfigFlags & { readonly json: boolean }

const maxCandidates = 20

/** `acmems orders`: what was and is asked of the CAs. */
export function ordersCommand(): Command {
  return new Command('orders')
    .summary('list orders, and show each step of one')
    .description('The orders of the last 90 days and those under way, with what the CA said at each step.')
    .addCommand(listCommand())
    .addCommand(showCommand())
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

function showCommand(): Command {
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

async function showOrder(text: string, files: string[], flags: ShowFlags): Promise<void> {
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
async function findStories(
  stories: { list(max: number, wish: StoryWish): Promise<OrderStory[]> },
  text: string,
): Promise<OrderStory[]> {
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

function storyJson(story: OrderStory, issuerName: (key: string) => string) {
  const { need: id, beganAtMs, finishedAtMs, steps, issuerKey, ...rest } = story
  return {
    id,
    ...rest,
    issuer: issuerName(issuerKey),
    issuerKey,
    beganAt: isoTime(beganAtMs),
    finishedAt: isoTime(finishedAtMs),
    steps: steps.map(({ atMs, note }) => ({ at: isoTime(atMs), note })),
  }
}
