import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { oneLine } from '../acme/problem.ts'
import { platformSettings } from '../config/environment.ts'
import { createHttpClient } from '../http/http-client.ts'
import type { HttpReply } from '../plugin-api.ts'
import { type AgentKey, defaultAgentKeyFile, openAgentKey } from '../plugins/issuers/agent-key.ts'
import { checkTrust, parseHubUrl, parsePins } from '../plugins/issuers/hub-address.ts'
import { whyNot } from '../plugins/issuers/hub-connection.ts'
import { version } from '../version.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = {
  readonly server: string
  readonly token: string
  readonly pin?: string
  readonly caFile?: string
  readonly key?: string
  readonly label: string
  readonly json: boolean
}

type Wish = {
  readonly origin: string
  readonly token: string
  readonly pins: readonly string[]
  readonly caFile: string | undefined
  readonly keyFile: string
  readonly label: string
}

const timeoutMs = 30_000
const maxReplyBytes = 4096

/** `acmems agent enroll` */
export function agentEnrollCommand(): Command {
  return new Command('enroll')
    .summary("make this host's key, and have a server know it")
    .description(
      'Make the key that this host signs its requests with, unless it is there, and enrol it at the server with a one-time\ntoken, which "acmems enroll BLOCK" prints there. The private key stays here. If the answer is lost, the same line can\nbe typed again. Prints the section for the configuration.',
    )
    .requiredOption('--server <url>', 'the server: https://hub.example:1313')
    .requiredOption('--token <token>', 'the one-time token; - reads it from standard input')
    .option('--pin <pin>', "the server's key, sha256//BASE64: checked instead of its certificate")
    .option('--ca-file <file>', "PEM file with the roots to trust for the server's certificate")
    .option('--key <file>', 'the private key (default: agent.key in the state folder)')
    .option('--label <name>', 'what the configuration calls the server: [issuer "NAME"]', 'hub')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems agent enroll --server https://hub.example:1313 --token TOKEN --pin sha256//...\n  acmems agent enroll --server https://hub.example:1313 --token - --ca-file /etc/acmems/hub-ca.pem < token',
    )
    .action(enroll)
}

async function enroll(flags: Flags): Promise<void> {
  const wish = await readWish(flags)
  const agentKey = await openAgentKey(wish.keyFile)
  const keyId = readKeyId(wish, agentKey, await send(wish, agentKey))
  const section = formatSection(wish)
  if (flags.json) printJson({ keyId, key: wish.keyFile, server: wish.origin, section })
  else
    process.stdout.write(
      `${wish.origin} knows this host's key ${keyId} (${wish.keyFile}). For the configuration:\n\n${section}`,
    )
}

async function readWish(flags: Flags): Promise<Wish> {
  const { label, key = defaultAgentKeyFile(platformSettings().stateFolder) } = flags
  const caFile = flags.caFile === undefined ? undefined : resolve(flags.caFile)
  try {
    const origin = parseHubUrl(flags.server)
    const pins = flags.pin === undefined ? [] : parsePins(flags.pin)
    checkTrust(origin, pins, caFile)
    if (!/^[\w.-]{1,100}$/.test(label)) throw new Error('a label has letters, digits, dots, hyphens and underscores')
    return { origin, token: await readToken(flags.token), pins, caFile, keyFile: resolve(key), label }
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'it cannot be read')
  }
}

/** From standard input it is in no list of processes. */
async function readToken(given: string): Promise<string> {
  let token = given
  if (given === '-') {
    token = ''
    for await (const chunk of process.stdin) token += String(chunk)
  }
  if (!/^[A-Za-z0-9_-]{43}$/.test(token.trim())) throw new Error('this is no token: it has 43 letters, digits, - and _')
  return token.trim()
}

async function send({ origin, token, pins, caFile }: Wish, { publicPem }: AgentKey): Promise<HttpReply> {
  const files = [...platformSettings().trustedCaFiles, ...(caFile === undefined ? [] : [caFile])]
  const trusted = await Promise.all(files.map((file) => readFile(file, 'utf8')))
  await using http = createHttpClient(trusted, pins)
  try {
    return await http.request(`${origin}/enroll`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'user-agent': `acmems/${version} node/${process.versions.node}` },
      body: publicPem,
      maxBytes: maxReplyBytes,
      timeoutMs,
      signal: new AbortController().signal,
    })
  } catch (cause) {
    throw new Error(
      `the server at ${new URL(origin).host} ${whyNot(cause)}\nThe key is made; the same line can be typed again.`,
      { cause },
    )
  }
}

function readKeyId({ origin }: Wish, { thumbprint }: AgentKey, { status, body }: HttpReply): string {
  const words = oneLine(new TextDecoder().decode(body))
  const { host } = new URL(origin)
  if (status === 200) {
    if (words === thumbprint) return thumbprint
    throw new Error(`${host} answered something else than the id of this key: is it an acmems?`)
  }
  if (status === 401) throw new Error(`${host} refused: ${words}\nMake another token there with "acmems enroll BLOCK".`)
  throw new Error(`${host} ${status >= 500 ? 'cannot now' : 'refused'} (status ${status}): ${words}`)
}

function formatSection({ origin, pins, caFile, keyFile, label }: Wish): string {
  return [
    `[issuer "${label}"]`,
    'type = acmems',
    `server = ${origin}`,
    ...pins.map((pin) => `pin = ${pin}`),
    ...(caFile === undefined ? [] : [`ca-file = ${caFile}`]),
    `key = ${keyFile}`,
    '',
    '[mgmt]',
    `default-issuer = ${label}`,
    '',
  ].join('\n')
}
