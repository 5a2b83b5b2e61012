import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { platformSettings } from '../config/environment.ts'
import {
  type FirstAnswers,
  firstConfiguration,
  knownCas,
  readCa,
  readEmails,
  readListeners,
  readServerName,
  usualListeners,
} from './first-configuration.ts'
import { isTaken, writeNewFile } from './new-file.ts'
import { openQuestions, readYesNo } from './questions.ts'
import { UsageError } from './usage-error.ts'

type Flags = {
  readonly serverName?: string
  readonly listener: readonly string[]
  readonly email: readonly string[]
  readonly ca?: string
  readonly acceptTermsOfService: boolean
  readonly output: string
  readonly yes: boolean
}

/** What was said by flags. */
type Given = { readonly [Key in keyof FirstAnswers]: FirstAnswers[Key] | undefined }

const usualOutput = '/etc/acmems/acmems.ini'
const usualCa = 'letsencrypt'

/** `acmems init`: a first configuration. */
export function initCommand(): Command {
  const collect = (value: string, former: string[]) => [...former, value]
  return new Command('init')
    .summary('write a first configuration')
    .description(
      'Write a first configuration, with TLS for the hosts: the server keeps its own certificate. At a terminal it asks for\nwhat the options do not say; no setting is overwritten, and nobody is asked over the network.\nExit code: 0 it was written, 1 it was not, 2 it was called wrongly.',
    )
    .option('--server-name <name>', 'what hosts call this server: the name in its certificate')
    .option(
      '--listener <address:port>',
      `where hosts reach it (usually ${usualListeners}); repeat it for more`,
      collect,
      [],
    )
    .option('--email <address>', 'where the CA may write to; repeat it for more', collect, [])
    .option('--ca <ca>', `${Object.keys(knownCas).join(', ')}, or the address of a directory (usually ${usualCa})`)
    .option('--accept-terms-of-service', "agree to the CA's terms of service", false)
    .option('--output <file>', 'where to write it, a file that is not there yet', usualOutput)
    .option('--yes', 'ask nothing: what was not said is as usual', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems init\n  acmems init --server-name acmems.example.org --email ops@example.org --accept-terms-of-service --yes\n  acmems init --server-name acmems.example.org --ca letsencrypt-staging --output ./acmems.ini',
    )
    .action(init)
}

async function init(flags: Flags): Promise<void> {
  const output = resolve(flags.output)
  const given = readFlags(flags)
  const isAsking = !flags.yes && process.stdin.isTTY === true
  if (!flags.yes && !isAsking)
    throw new UsageError('there is no terminal to ask at: say --server-name NAME, and --yes for what is as usual')
  // Before anything is asked: nobody answers for nothing.
  if (isTaken(output)) throw new Error(`${output} is there already, and is left as it is; --output names another file`)
  const answers = isAsking ? await askFor(given, output) : takeUsual(given)
  await writeNewFile(output, firstConfiguration(answers, platformSettings().stateFolder))
  process.stdout.write(nextSteps(output, answers))
}

function readFlags(flags: Flags): Given {
  try {
    return {
      server: flags.serverName === undefined ? undefined : readServerName(flags.serverName),
      listeners: flags.listener.length === 0 ? undefined : readListeners(flags.listener.join(' ')),
      ca: flags.ca === undefined ? undefined : readCa(flags.ca),
      emails: flags.email.length === 0 ? undefined : readEmails(flags.email.join(' ')),
      termsAreAccepted: flags.acceptTermsOfService || undefined,
    }
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'an option cannot be read')
  }
}

function takeUsual(given: Given): FirstAnswers {
  const name = usualName()
  const server = given.server ?? (name === '' ? undefined : readServerName(name))
  if (server === undefined) throw new UsageError('say --server-name NAME: this machine has no name that a CA takes')
  return {
    server,
    listeners: given.listeners ?? readListeners(usualListeners),
    ca: given.ca ?? readCa(usualCa),
    emails: given.emails ?? [],
    termsAreAccepted: given.termsAreAccepted ?? false,
  }
}

async function askFor(given: Given, output: string): Promise<FirstAnswers> {
  using questions = openQuestions()
  const server = given.server ?? (await questions.ask('What hosts call this server', usualName(), readServerName))
  const listeners = given.listeners ?? (await questions.ask('Where hosts reach it', usualListeners, readListeners))
  const ca =
    given.ca ?? (await questions.ask(`CA (${Object.keys(knownCas).join(', ')}, or an address)`, usualCa, readCa))
  const emails =
    given.emails ?? (await questions.ask('Where the CA may write to (a mail address, or nothing)', '', readEmails))
  const terms = `Do you agree to the terms of service of ${new URL(ca).hostname}`
  const termsAreAccepted = given.termsAreAccepted ?? (await questions.ask(terms, 'no', readYesNo))
  if (!(await questions.ask(`Write ${output}`, 'yes', readYesNo))) throw new Error('nothing was written')
  return { server, listeners, ca, emails, termsAreAccepted }
}

/** The machine's own name, where a CA could know it. */
function usualName(): string {
  try {
    return readServerName(hostname()).value
  } catch {
    return ''
  }
}

function nextSteps(output: string, { server, termsAreAccepted }: FirstAnswers): string {
  const lines = [
    `acmems check-config ${output}`,
    ...(termsAreAccepted
      ? []
      : [`acmems register --gen-key ${output}   (shows the terms of service, and the command that accepts them)`]),
    `acmems doctor ${server.value} --config ${output}`,
    `acmems serve ${output}`,
  ]
  return `${output} is written. Next:\n${lines.map((line) => `  ${line}`).join('\n')}\nThen write an [auth] block for your hosts; acmems enroll makes the line that lets one in.\n`
}
