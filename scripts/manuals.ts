// Makes the manual pages from the program's own help and configuration reference: node scripts/manuals.ts FOLDER
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Command, Help } from 'commander'
import { lacmeKeys, ownKeys } from '../src/accountd/configuration-keys.ts'
import { configReference, type ReferenceKey, type ReferenceSection } from '../src/config/reference.ts'
import { usage as installerUsage } from '../src/installer/usage.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { createProgram } from '../src/program.ts'
import { version } from '../src/version.ts'
import {
  accountdConfiguration,
  accountdSignals,
  configurationFile,
  environmentVariables,
  files,
  seeAlso,
  signals,
} from './manual-texts.ts'
import { bold, heading, italic, item, pageHead, paragraphs, roff, subheading, verbatim } from './roff.ts'

const root = resolve(import.meta.dirname, '..')
const help = new Help()

export type Page = { readonly file: string; readonly text: string }

/** @param date as it shall stand on the pages, or nothing */
export async function manualPages(date = ''): Promise<Page[]> {
  const program = await createProgram('')
  const source = `acmems ${version}`
  return [
    { file: 'acmems.1', text: programPage(program, { date, source }) },
    ...program.commands
      .filter(hasOwnPage)
      .map((command) => ({ file: `acmems-${command.name()}.1`, text: commandPage(command, { date, source }) })),
    { file: 'acmems-install.8', text: installerPage({ date, source }) },
    { file: 'agent.sh.1', text: shellAgentPage({ date, source }) },
    { file: 'acmems.ini.5', text: configurationPage({ date, source }) },
  ]
}

type Edition = { readonly date: string; readonly source: string }

function programPage(program: Command, edition: Edition): string {
  const { text, examples } = afterHelp(program)
  return [
    pageHead({ name: 'acmems', section: 1, summary: 'ACME management server', ...edition }),
    heading('SYNOPSIS'),
    `${bold('acmems')} ${italic('command')} [${italic('option')}...] [${italic('argument')}...]\n`,
    heading('DESCRIPTION'),
    paragraphs(program.description()),
    paragraphs('Every command says with --help what it takes. Options come before or after arguments.'),
    heading('OPTIONS'),
    optionItems(program),
    heading('COMMANDS'),
    ...program.commands.flatMap((command) => (hasOwnPage(command) ? pageReference(command) : commandSections(command))),
    heading('EXIT STATUS'),
    paragraphs(text.replace(/^Exit codes: /, '')),
    heading('SIGNALS'),
    signalItems(signals),
    heading('ENVIRONMENT'),
    environmentVariables.map(([name, meaning]) => item(bold(name), meaning)).join(''),
    heading('FILES'),
    files.map(([name, meaning]) => item(italic(name), meaning)).join(''),
    heading('EXAMPLES'),
    verbatim(examples),
    seeAlsoSection('acmems(1)'),
  ].join('')
}

function commandPage(command: Command, edition: Edition): string {
  return [
    pageHead({ name: `acmems-${command.name()}`, section: 1, summary: command.summary(), ...edition }),
    heading('SYNOPSIS'),
    `${usageOf(command)}\n`,
    ...command.commands.map((inner) => `.br\n${usageOf(inner)}\n`),
    heading('DESCRIPTION'),
    paragraphs(command.description()),
    argumentItems(command),
    heading('OPTIONS'),
    optionItems(command),
    heading('COMMANDS'),
    ...command.commands.flatMap(commandSections),
    ...(command.name() === 'accountd' ? accountdSections() : [heading('SIGNALS'), signalItems(signals)]),
    heading('EXAMPLES'),
    verbatim(afterHelp(command).examples),
    seeAlsoSection(`acmems-${command.name()}(1)`),
  ].join('')
}

function signalItems(listed: typeof signals): string {
  return listed.map(([name, meaning]) => item(bold(name), meaning)).join('')
}

/** Its configuration is not that of acmems.ini(5), and no signal has it read again. */
function accountdSections(): string[] {
  const items = (keys: Readonly<Record<string, string>>) =>
    Object.entries(keys)
      .map(([key, meaning]) => item(bold(key), meaning))
      .join('')
  return [
    heading('CONFIGURATION'),
    paragraphs(accountdConfiguration),
    items(lacmeKeys),
    paragraphs('Beside these, which lacme-accountd does not know:'),
    items(ownKeys),
    heading('SIGNALS'),
    signalItems(accountdSignals),
  ]
}

/** One that is used without a server on the same machine. */
function hasOwnPage(command: Command): boolean {
  return ['agent', 'accountd'].includes(command.name())
}

function pageReference(command: Command): string[] {
  const page = `See ${bold(`acmems-${command.name()}`)}(1).
`
  return [subheading(help.commandUsage(command)), paragraphs(command.summary()), page]
}

/** A command and the commands of its own. */
function commandSections(command: Command): string[] {
  const { text, examples } = afterHelp(command)
  const inner = command.commands.flatMap(commandSections)
  return [
    subheading(help.commandUsage(command)),
    paragraphs(command.description() || command.summary()),
    argumentItems(command),
    optionItems(command),
    text === '' ? '' : paragraphs(text),
    examples === '' ? '' : `.PP\nExamples:\n${verbatim(examples)}`,
    ...inner,
  ]
}

function usageOf(command: Command): string {
  const [words = '', rest = ''] = help.commandUsage(command).split(/ (?=\[|<)(.*)/s)
  return `${bold(words)} ${roff(rest)}`.trim()
}

function argumentItems(command: Command): string {
  return help
    .visibleArguments(command)
    .map((argument) => item(italic(help.argumentTerm(argument)), help.argumentDescription(argument)))
    .join('')
}

function optionItems(command: Command): string {
  return help
    .visibleOptions(command)
    .filter((option) => option.long !== '--help' || command.parent === null)
    .map((option) => {
      const [flags = '', value] = help.optionTerm(option).split(/ (?=[<[])/)
      const term = value === undefined ? bold(flags) : `${bold(flags)} ${italic(value)}`
      return item(term, help.optionDescription(option).replace(/ \(default: (false|\[\])\)$/, ''))
    })
    .join('')
}

/** What stands below the help: lines of examples, and whatever else there is. */
function afterHelp(command: Command): { text: string; examples: string } {
  let all = ''
  command.configureOutput({
    writeOut: (part) => {
      all += part
    },
  })
  command.outputHelp()
  const lines = all.slice(command.helpInformation().length).trim().split('\n')
  const isExample = (line: string) => line.startsWith('  ')
  return {
    examples: lines
      .filter(isExample)
      .map((line) => line.slice(2))
      .join('\n'),
    text: lines
      .filter((line) => !isExample(line) && line !== 'Examples:')
      .join('\n')
      .trim(),
  }
}

/** From what `acmems-install --help` prints. */
function installerPage(edition: Edition): string {
  const [synopsis = '', description = '', options = '', signalText = '', examples = '', exits = ''] = installerUsage
    .trim()
    .split('\n\n')
  const indented = (block: string) => block.split('\n').slice(1)
  return [
    pageHead({
      name: 'acmems-install',
      section: 8,
      summary: 'keep the keys of certificates, and install them',
      ...edition,
    }),
    heading('SYNOPSIS'),
    synopsis
      .replace('Usage: ', '')
      .split('\n')
      .map((line) =>
        line.trim().replace(/^(\S+) (.*)$/, (_all, name: string, rest: string) => `${bold(name)} ${roff(rest)}`),
      )
      .join('\n.br\n'),
    `\n${heading('DESCRIPTION')}`,
    paragraphs(description),
    heading('OPTIONS'),
    // A long meaning goes on in the next line.
    twoColumns(
      indented(options)
        .join('\n')
        .replace(/\n {10,}/g, '  '),
    ),
    heading('SIGNALS'),
    paragraphs(signalText),
    heading('EXIT STATUS'),
    paragraphs(exits.replace(/^Exit codes: /, '')),
    heading('EXAMPLES'),
    verbatim(
      indented(examples)
        .map((line) => line.slice(2))
        .join('\n'),
    ),
    seeAlsoSection('acmems-install(8)'),
  ].join('')
}

/** From what `agent.sh --help` prints: paragraphs, tables of two columns, and blocks to be left as they are. */
function shellAgentPage(edition: Edition): string {
  const text = execFileSync('sh', [join(root, 'agent/agent.sh'), '--help'], { encoding: 'utf8' })
  const [usage = '', ...blocks] = text.trim().split(/\n{2,}/)
  const [commands = '', options = ''] = blocks
  const named = (title: RegExp) => blocks.find((block) => title.test(block))
  const configuration = named(/^Configuration, /)
  const hooks = named(/^check and hook /)
  const examples = named(/^Examples:/)
  const exits = named(/^Exit codes: /)
  if (
    !usage.startsWith('Usage: ') ||
    [configuration, hooks, examples, exits].includes(undefined) ||
    blocks.length !== 6
  )
    throw new Error('agent.sh --help is not written as this script expects it')
  const [configurationIntroduction = '', ...keys] = (configuration ?? '').split('\n')
  return [
    pageHead({
      name: 'agent.sh',
      section: 1,
      summary: "keep a host's certificates fresh with openssl and curl",
      ...edition,
    }),
    heading('SYNOPSIS'),
    `${bold('agent.sh')} [${italic('command')}] [${italic('option')}...]\n`,
    heading('DESCRIPTION'),
    paragraphs(
      "acmems' agent for hosts that have a POSIX shell, openssl and curl. It makes key and request, has the server issue the certificate, checks what comes, installs it and runs a hook. It is silent where nothing is to do. Debian's package has it as /usr/bin/acmems-agent.sh; a server gives it out as /agent.sh.",
    ),
    heading('COMMANDS'),
    twoColumns(commands),
    heading('OPTIONS'),
    twoColumns(options),
    heading('CONFIGURATION'),
    paragraphs(configurationIntroduction.replace(/:$/, '.')),
    verbatim(keys.map((line) => line.slice(2)).join('\n')),
    heading('ENVIRONMENT'),
    paragraphs(hooks ?? ''),
    heading('EXIT STATUS'),
    ...(exits ?? '')
      .replace(/^Exit codes: /, '')
      .replace(/\.$/, '')
      .split(/;\s/)
      .map((exit) => {
        const [, code = '', meaning = ''] = /^(\d+) (.*)$/s.exec(exit.trim()) ?? []
        return item(bold(code), meaning)
      }),
    heading('EXAMPLES'),
    verbatim(
      (examples ?? '')
        .split('\n')
        .slice(1)
        .map((line) => line.slice(2))
        .join('\n'),
    ),
    seeAlsoSection('agent.sh(1)'),
  ].join('')
}

/** Lines of a term, blanks and its meaning; a long term goes on in the next line and ends with a colon. */
function twoColumns(block: string): string {
  let pending = ''
  const items = block.split('\n').map((line) => {
    const [, term = '', meaning] = /^ +(\S.*?)(?: {2,}|: )(\S.*)$/.exec(line) ?? [undefined, line.trim(), undefined]
    pending = pending === '' ? term : `${pending} ${term}`
    if (meaning === undefined) return ''
    const whole = pending
    pending = ''
    return item(bold(whole), meaning.replace(/ {2,}/g, ' '))
  })
  if (pending !== '') throw new Error(`agent.sh --help has a term without a meaning: ${pending}`)
  return items.join('')
}

function configurationPage(edition: Edition): string {
  const sections = configReference(builtinPlugins)
  return [
    pageHead({ name: 'acmems.ini', section: 5, summary: 'configuration of acmems', ...edition }),
    ...configurationFile.map(({ title, text, example }) =>
      [heading(title), paragraphs(text), example === undefined ? '' : verbatim(example)].join(''),
    ),
    heading('SECTIONS AND KEYS'),
    paragraphs('A key is shown with its default, or with what it takes in angle brackets.'),
    ...sections.map((section, at) => referenceSection(section, sections.slice(0, at))),
    seeAlsoSection('acmems.ini(5)'),
  ].join('')
}

function referenceSection({ section, meaning, keys }: ReferenceSection, former: readonly ReferenceSection[]): string {
  const same = former.find((other) => keys.length > 0 && JSON.stringify(other.keys) === JSON.stringify(keys))
  return [
    subheading(section),
    paragraphs(`${meaning.charAt(0).toUpperCase()}${meaning.slice(1)}.`),
    same === undefined ? keys.map(referenceKey).join('') : paragraphs(`The keys are those of ${same.section}.`),
  ].join('')
}

function referenceKey({ key, type, list, required, secret, meaning, ...rest }: ReferenceKey): string {
  const value = rest.default === null ? italic(`<${type}>`) : roff(rest.default)
  const notes = [
    required ? 'Required.' : '',
    list ? 'May be repeated.' : '',
    secret ? `It can stand in a file that ${key}-file names.` : '',
  ].filter(Boolean)
  return item(`${bold(key)} = ${value}`, `${meaning}${notes.length === 0 ? '' : `. ${notes.join(' ')}`}`)
}

function seeAlsoSection(own: string): string {
  const others = seeAlso
    .filter((page) => page !== own)
    .map((page) => {
      const [, name = '', section = ''] = /^(.*)(\(\d\))$/.exec(page) ?? []
      return `${bold(name)}${section}`
    })
  return `${heading('SEE ALSO')}${others.join(',\n')}\n`
}

/** The day of SOURCE_DATE_EPOCH, for builds that shall be the same again. */
export function editionDate(epochS: number): string {
  return new Date(epochS * 1000).toISOString().slice(0, 10)
}

if (import.meta.main) {
  const [folder = join(root, 'dist/man')] = process.argv.slice(2)
  const epoch = process.env.SOURCE_DATE_EPOCH
  mkdirSync(folder, { recursive: true })
  for (const { file, text } of await manualPages(epoch === undefined ? '' : editionDate(Number(epoch))))
    writeFileSync(join(folder, file), text)
}
