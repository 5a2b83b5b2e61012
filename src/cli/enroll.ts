import { Command, Option } from 'commander'
import type { Config } from '../config/config.ts'
import { hashOfToken } from '../sign/enroll-door.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { enrollListCommand } from './enroll-list.ts'
import { enrollRevokeCommand } from './enroll-revoke.ts'
import { mgmtUrl, serverPin } from './mgmt-url.ts'
import { openDesk } from './open-installation.ts'
import { parseSpanOption } from './span-option.ts'
import { formatTime, isoTime, printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & {
  readonly validFor: number
  readonly label?: string
  readonly server?: string
  readonly pin?: string
  readonly json: boolean
}

const tokenBytes = 32
const defaultValidForMs = 24 * 3_600_000
const maxLabelLength = 100

/** `acmems enroll BLOCK`: lets one host enrol its key. */
export function enrollCommand(): Command {
  return withConfigFlags(new Command('enroll'))
    .summary('let a host enrol the key that it signs requests with; list and revoke such keys')
    .description(
      'Make a token with which one host enrols one public key for an [auth] block that says enroll = yes, and print the\nline to type on the host. The token is shown once: the state knows only its digest.',
    )
    .argument('<block>', 'the [auth] block')
    .argument('[config...]', 'configuration files')
    .addOption(
      new Option('--valid-for <span>', 'how long the token is good: 90m, 24h, 7d')
        .argParser(parseSpanOption)
        .default(defaultValidForMs, '24h'),
    )
    .option('--label <text>', 'what to call the key in lists')
    .option('--server <url>', 'where hosts reach this server (default: from [mgmt] public-name or listener)')
    .option('--pin <pin>', "the server's key for hosts that cannot check its certificate: sha256//BASE64")
    .option('--json', 'print JSON', false)
    .addCommand(enrollListCommand())
    .addCommand(enrollRevokeCommand())
    .addHelpText(
      'after',
      '\nExamples:\n  acmems enroll fleet --label web1 /etc/acmems/acmems.ini\n  acmems enroll fleet --valid-for 1h --json /etc/acmems/acmems.ini\n  acmems enroll list /etc/acmems/acmems.ini\n  acmems enroll revoke 3fa94c10 /etc/acmems/acmems.ini',
    )
    .action(makeToken)
}

async function makeToken(block: string, files: string[], flags: Flags): Promise<void> {
  const label = readLabel(flags.label)
  await using desk = await openDesk(files, flags)
  requireEnrolling(desk.config, block)
  const token = Buffer.from(desk.context.randomBytes(tokenBytes)).toString('base64url')
  const createdAtMs = desk.clock.nowMs()
  const expiresAtMs = createdAtMs + flags.validFor
  await desk.state.enrolments.addToken({ tokenHash: hashOfToken(token), block, label, createdAtMs, expiresAtMs })
  const server = flags.server ?? mgmtUrl(desk.config)
  const pin = flags.pin ?? (await serverPin(desk.config))
  const rest = `enroll --server ${server} --token ${token}${pin === undefined ? '' : ` --pin ${pin}`}`
  const lines = [`sh agent.sh ${rest}`, `acmems agent ${rest}`]
  if (flags.json) printJson({ block, label, token, expiresAt: isoTime(expiresAtMs), server, pin, lines })
  else
    process.stdout.write(
      `${lines.join('\n')}\n\nOne of these lines, typed on the host until ${formatTime(expiresAtMs)}, enrols its key for block "${block}".\n`,
    )
}

function readLabel(text: string | undefined): string | undefined {
  if (text !== undefined && (text.length > maxLabelLength || /\p{Cc}/u.test(text)))
    throw new UsageError(`a label has at most ${maxLabelLength} characters on one line`)
  return text
}

function requireEnrolling({ blocks }: Config, name: string): void {
  const block = blocks.find((candidate) => candidate.name === name)
  const enrolling = blocks.filter(takesEnrolledKeys).map((candidate) => candidate.name)
  const known = enrolling.length === 0 ? 'none does' : `those that do: ${enrolling.join(', ')}`
  if (block === undefined)
    throw new UsageError(`there is no [auth ${JSON.stringify(name)}]; of the blocks with enroll = yes ${known}`)
  if (!takesEnrolledKeys(block))
    throw new UsageError(`[auth ${JSON.stringify(name)}] does not say enroll = yes; ${known}`)
}

function takesEnrolledKeys({ credentials }: Config['blocks'][number]): boolean {
  return credentials.some(({ options }) => options.enroll === true)
}
