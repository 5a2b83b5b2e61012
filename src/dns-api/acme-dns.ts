import { isIP, isIPv6 } from 'node:net'
import type { JsonObject } from '../acme/json-object.ts'
import type { Caller, Presented } from '../plugin-api.ts'
import { addressRanges } from '../plugins/address-range.ts'
import type { Block } from '../policy/block.ts'
import type { StoredAnswers } from '../state/answer-records.ts'
import type { DnsAccount, DnsAccounts } from '../state/dns-accounts.ts'
import { type ApiAnswer, refuse } from './api-answer.ts'
import { publishedLifetimeMs } from './httpreq.ts'
import { txtPattern } from './httpreq-message.ts'
import { hashPassword, isPassword, saltBytes } from './password-hash.ts'

export type AcmeDnsParts = {
  readonly accounts: DnsAccounts
  readonly answers: Pick<StoredAnswers, 'put' | 'keepNewest'>
  readonly nowMs: () => number
  readonly makeId: () => string
  readonly randomBytes: (length: number) => Uint8Array
}

const passwordBytes = 30 // 40 characters of base64url, as acme-dns has them
const maxAccountsOfBlock = 1000
const maxRanges = 32
const valuesKept = 2 // a name and its wildcard
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

type Head = Omit<Presented, 'bodyBytes'>

/** `POST /register`: an account for one name below the zone, bound to the caller's block. */
export async function register(
  body: JsonObject,
  caller: Caller,
  zone: string | undefined,
  parts: AcmeDnsParts,
): Promise<ApiAnswer> {
  const [block = ''] = caller.blocks
  if (zone === undefined)
    return refuse(501, 'no_zone', 'accounts need a [verification] of type dns01-server with a zone', { block })
  const allowFrom = readRanges(body.allowfrom)
  if (allowFrom === undefined)
    return refuse(400, 'invalid_allowfrom_cidr', 'allowfrom is a list of addresses and ranges', { block })
  if ((await parts.accounts.countOf(block)) >= maxAccountsOfBlock)
    return refuse(429, 'too_many_accounts', `the block has ${maxAccountsOfBlock} accounts already`, { block })
  const [username, subdomain] = [parts.makeId(), parts.makeId()]
  const password = Buffer.from(parts.randomBytes(passwordBytes)).toString('base64url')
  const fullName = `${subdomain}.${zone}`
  await parts.accounts.add({
    username,
    passwordHash: await hashPassword(password, parts.randomBytes(saltBytes)),
    fullName,
    block,
    allowFrom,
    createdAtMs: parts.nowMs(),
  })
  return {
    status: 201,
    body: { username, password, fulldomain: fullName, subdomain, allowfrom: allowFrom },
    log: { block, name: fullName, outcome: 'registered' },
  }
}

/** Before the body is read: the account that the headers name, if they prove it. */
export async function findAccount(
  { headers, remoteAddress }: Head,
  blocks: readonly Block[],
  accounts: DnsAccounts,
): Promise<DnsAccount | undefined> {
  const [username = '', password = ''] = ['x-api-user', 'x-api-key'].map((name) => {
    const [value, ...more] = headers.get(name) ?? []
    return more.length === 0 ? value : undefined
  })
  if (!uuidPattern.test(username) || !/^[\w-]{40}$/.test(password)) return undefined
  const account = await accounts.find(username)
  if (account === undefined || !(await isPassword(password, account.passwordHash))) return undefined
  // Without its block an account is worth nothing: who may prove names is what the configuration says today.
  if (!blocks.some(({ name }) => name === account.block)) return undefined
  const isAllowed = account.allowFrom.length === 0 || addressRanges(account.allowFrom).includes(remoteAddress)
  return isAllowed ? account : undefined
}

/** `POST /update`: the last two values are kept, as acme-dns does it. */
export async function update(body: JsonObject, account: DnsAccount, parts: AcmeDnsParts): Promise<ApiAnswer> {
  const { block, fullName, username } = account
  const { subdomain, txt } = body
  if (typeof subdomain !== 'string' || !uuidPattern.test(subdomain))
    return refuse(400, 'bad_subdomain', 'subdomain is not what /register gave', { block })
  if (!fullName.startsWith(`${subdomain}.`))
    return refuse(401, 'forbidden', "subdomain is another account's", { block, name: fullName })
  if (typeof txt !== 'string' || !txtPattern.test(txt))
    return refuse(400, 'bad_txt', 'txt is not the base64url of a SHA-256 (43 characters)', { block, name: fullName })
  const publisher = `acme-dns ${username}`
  const expiresAtMs = parts.nowMs() + publishedLifetimeMs
  await parts.answers.put({
    ...{ type: 'dns-01', token: `${publisher} ${txt}`, host: fullName, keyAuthorization: txt },
    ...{ expiresAtMs, publisher },
  })
  await parts.answers.keepNewest(publisher, valuesKept)
  return { status: 200, body: { txt }, log: { block, name: fullName, outcome: 'published' } }
}

/** acme-dns takes ranges with bits beyond their prefix, and so do we. undefined: not readable. */
function readRanges(value: unknown): string[] | undefined {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value) || value.length > maxRanges) return undefined
  return value.every((one): one is string => typeof one === 'string' && isRange(one)) ? value : undefined
}

function isRange(text: string): boolean {
  const [address = '', prefix, ...more] = text.split('/')
  if (isIP(address) === 0 || address.includes('%') || more.length > 0) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (isIPv6(address) ? 128 : 32))
}
