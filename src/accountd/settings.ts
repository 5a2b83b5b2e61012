import { existsSync, readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { parseIpAddress } from '../acme/identifier.ts'
import { modeOf } from '../channel/permissions.ts'
import { parseLacmeFile, type Values } from '../lacme/lacme-file.ts'
import { expandSpecifiers, type Runner } from '../lacme/specifiers.ts'
import { parseNamePattern } from '../policy/name-pattern.ts'
import { lacmeKeys, ownKeys } from './configuration-keys.ts'
import type { NameList, Policy } from './policy.ts'
import type { Rate } from './rate.ts'
import { isPlainUrl } from './request-kind.ts'

/** As on the command line, which wins over the file. */
export type AccountdFlags = {
  readonly config?: string
  readonly privkey?: string
  readonly socket?: string
  /** In octal, as in the file. */
  readonly socketMode?: string
  readonly quiet?: boolean
  readonly debug?: boolean
}

export type AccountdSettings = {
  /** `file:PATH`, `gpg:PATH`, `ssh-agent:[SOCKET/]KEY`, specifiers filled in. */
  readonly privkey: string
  readonly gpg: readonly string[]
  readonly passphraseFile: string | undefined
  readonly socket: string | undefined
  readonly adminSocket: string | undefined
  readonly socketMode: number
  readonly socketGroup: string | undefined
  readonly logFile: string | undefined
  readonly auditFile: string | undefined
  readonly keyid: string | undefined
  readonly policy: Policy
  readonly rate: Rate | undefined
  readonly orderRate: Rate | undefined
  readonly verbosity: 'quiet' | 'usual' | 'debug'
  /** For people who wonder what was read. */
  readonly origin: string
  /** Who else can change what was read. */
  readonly warning: string | undefined
}

const usualConfig = '%E/lacme/lacme-accountd.conf'
const usualSocket = '%t/S.lacme'

/**
 * Reads lacme-accountd's configuration file, or ours, which has more keys.
 * @throws Error with a sentence for the operator
 */
export function readSettings(flags: AccountdFlags, runner: Runner): AccountdSettings {
  const file = expandSpecifiers(flags.config ?? usualConfig, runner)
  const isThere = flags.config !== undefined || existsSync(file)
  const values: Values = isThere ? readValues(file) : new Map()
  const warning = isThere ? flawOfFile(file, runner) : undefined
  // lacme-accountd does not look; what we promise to refuse must not be somebody else's to change.
  if (warning !== undefined && [...values.keys()].some((key) => key === 'keyid' || !Object.hasOwn(lacmeKeys, key)))
    throw new Error(`Insecure permissions on ${warning}`)
  const textOf = (key: string): string | undefined => values.get(key)?.text || undefined
  const expand = (text: string) => expandOwn(text, runner)
  const pathOf = (key: string) => read(key, expand)
  const privkey = flags.privkey ?? textOf('privkey')
  if (privkey === undefined)
    throw new Error(
      `'privkey' is not specified${isThere ? ` in ${file}` : `, and there is no ${file}`}: write privkey = file:PATH there, or say --privkey=file:PATH`,
    )
  const keyid = read('keyid', parseAccountUrl)
  return {
    privkey: parsePrivkey(privkey, expand),
    gpg: (textOf('gpg') ?? 'gpg --quiet').split(/\s+/),
    passphraseFile: pathOf('passphrase-file'),
    socket: read('socket', expand, flags.socket) ?? expandOrNone(usualSocket, runner),
    adminSocket: pathOf('admin-socket'),
    socketMode: read('socket-mode', parseMode, flags.socketMode) ?? 0o600,
    socketGroup: textOf('socket-group'),
    logFile: pathOf('logfile'),
    auditFile: pathOf('audit-log'),
    keyid,
    policy: readPolicy(textOf, read, keyid),
    rate: read('rate', parseRate),
    orderRate: read('order-rate', parseRate),
    verbosity:
      flags.debug === true ? 'debug' : (flags.quiet ?? textOf('quiet')?.toLowerCase() === 'yes') ? 'quiet' : 'usual',
    origin: isThere ? file : `no file at ${file}`,
    warning,
  }

  function read<T>(key: string, parse: (text: string) => T, given?: string): T | undefined {
    const text = given ?? textOf(key)
    if (text === undefined) return undefined
    try {
      return parse(text)
    } catch (error) {
      const where = given === undefined ? (values.get(key)?.origin ?? file) : 'command line'
      throw new Error(`${where}: ${key}: ${error instanceof Error ? error.message : 'cannot be read'}`)
    }
  }
}

/** Whoever can write to it decides what is signed, and what is run to open the key. */
function flawOfFile(file: string, { uid }: Runner): string | undefined {
  const stat = statSync(file)
  if (!stat.isFile()) return undefined
  if (stat.uid !== 0 && stat.uid !== uid)
    return `${file}: it belongs to user ${stat.uid}, who can change what is signed; chown it`
  if ((stat.mode & 0o022) === 0) return undefined
  return `${file}: others can write to it, and change what is signed (mode ${modeOf(stat)}); chmod go-w it`
}

function readValues(file: string): Values {
  const { content, remarks } = parseLacmeFile(readFileSync(file, 'utf8'), file)
  const unreadable = remarks.find(({ kind }) => kind === 'left out')
  if (unreadable !== undefined) throw new Error(`${unreadable.origin}: ${unreadable.what} cannot be read`)
  if (content.sections.size > 0)
    throw new Error(`${file}: Invalid section(s): ${[...content.sections.keys()].join(', ')}`)
  const unknown = [...content.defaults.keys()].filter(
    (key) => !Object.hasOwn(lacmeKeys, key) && !Object.hasOwn(ownKeys, key),
  )
  if (unknown.length > 0) throw new Error(`${file}: Unknown option(s): ${unknown.join(', ')}`)
  // A list of names that a template left empty is not to mean all of them.
  for (const [key, { text, origin }] of content.defaults)
    if (text === '' && Object.hasOwn(ownKeys, key))
      throw new Error(`${origin}: ${key} has no value: write one, or leave the line out`)
  return content.defaults
}

/** systemd's folder of credentials is one more: `%d`, as in its units. */
function expandOwn(text: string, runner: Runner): string {
  return expandSpecifiers(text, runner, { d: runner.environment.CREDENTIALS_DIRECTORY })
}

/** With --stdio nobody needs one. */
function expandOrNone(text: string, runner: Runner): string | undefined {
  try {
    return expandOwn(text, runner)
  } catch {
    return undefined
  }
}

function parsePrivkey(text: string, expand: (text: string) => string): string {
  const [, method, rest = ''] = /^(file|gpg|ssh-agent):(.+)$/.exec(text) ?? []
  if (method === undefined)
    throw new Error(`Unsupported method: ${text} (file:PATH, gpg:PATH and ssh-agent:KEY are known)`)
  return `${method}:${expand(rest)}`
}

type Read = <T>(key: string, parse: (text: string) => T) => T | undefined

function readPolicy(textOf: (key: string) => string | undefined, read: Read, keyid: string | undefined): Policy {
  const word = textOf('policy')
  const server = read('server', originOf)
  const wildcards = read('wildcards', parseYesOrNo) ?? false
  const names = read('names', (text) => parseNames(text, wildcards))
  if (word !== undefined && word !== 'issuing' && word !== 'account')
    throw new Error(`policy = ${word}: write "issuing", or "account" for what lacme-accountd signs`)
  if (word === 'account' && (keyid !== undefined || names !== undefined))
    throw new Error('keyid and names go with policy = issuing: leave policy out')
  const isIssuing = word === 'issuing' || keyid !== undefined || names !== undefined
  const origins = [server, keyid === undefined ? undefined : originOf(keyid)].filter((origin) => origin !== undefined)
  if (isIssuing && origins.length === 0)
    throw new Error("policy = issuing and names need to know the CA: set server, the CA's directory, or keyid")
  return {
    reach: isIssuing ? 'issuing' : 'account',
    origins,
    accountUrl: keyid,
    names,
  }
}

function originOf(url: string): string {
  if (!URL.canParse(url) || !/^https?:/.test(url)) throw new Error(`${JSON.stringify(url)} is no address of a CA`)
  return new URL(url).origin
}

/** Requests are compared with it to the letter. */
function parseAccountUrl(text: string): string {
  originOf(text)
  if (!isPlainUrl(text))
    throw new Error(
      `${JSON.stringify(text)} is not how a CA writes an account's address, and nothing would be signed: take it from "acmems account show", or from what lacme account prints`,
    )
  return text
}

function parseNames(text: string, wildcards: boolean): NameList {
  const words = text.split(/[\s,]+/).filter(Boolean)
  // As orders have them.
  const addresses = words.filter((word) => isIP(word) !== 0).map((word) => parseIpAddress(word).value)
  return { addresses, wildcards, patterns: words.filter((word) => isIP(word) === 0).map(parseNamePattern) }
}

function parseYesOrNo(text: string): boolean {
  if (!/^(yes|no)$/i.test(text)) throw new Error(`${JSON.stringify(text)} is neither yes nor no`)
  return text.toLowerCase() === 'yes'
}

function parseMode(text: string): number {
  if (text !== '0600' && text !== '0660') throw new Error('a socket is 0600, or 0660 for a group')
  return Number.parseInt(text, 8)
}

function parseRate(text: string): Rate {
  const [, count, span, unit = ''] = /^([1-9]\d{0,6})\s*\/\s*([1-9]\d{0,4})\s*([smhd])$/.exec(text) ?? []
  const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit]
  if (count === undefined || unitMs === undefined)
    throw new Error(`${JSON.stringify(text)} is no rate; write 600/1h or 50/1d`)
  return { count: Number(count), periodMs: Number(span) * unitMs }
}
