import { type Account, parseAccount } from '../acme/account.ts'
import { isJsonObject, requireStrings } from '../acme/json-object.ts'
import { ProblemError } from '../acme/problem.ts'
import { bindExternalAccount } from '../jws/jws.ts'
import type { AccountKey, PluginContext } from '../plugin-api.ts'
import { publicJwkOf } from './account-identity.ts'
import { type AcmeReply, type AcmeTransport, jsonOf, type Signer, unusable } from './transport.ts'

export type ExternalAccountBinding = { readonly kid: string; readonly macKey: string }

/** Signs as the account, and only so: by its URL. */
export type AccountSigner = Required<Signer>

export type NewAccount = {
  /** Only after a person agreed (RFC 8555 §7.3.3). */
  readonly termsOfServiceAgreed: boolean
  /** `mailto:` URLs. */
  readonly contact: readonly string[]
  readonly binding?: ExternalAccountBinding
}

/** Makes the account, or returns the one the key already has (RFC 8555 §7.3). @throws ProblemError */
export async function createAccount(
  transport: AcmeTransport,
  key: AccountKey,
  request: NewAccount,
  context: PluginContext,
): Promise<Account> {
  const { newAccountUrl, externalAccountRequired } = await transport.directory(context)
  if (externalAccountRequired && request.binding === undefined) {
    throw new ProblemError(
      'externalAccountRequired',
      'this CA binds accounts to a customer: set eab-kid and eab-hmac-key as it gave them to you',
    )
  }
  const payload = {
    termsOfServiceAgreed: request.termsOfServiceAgreed,
    ...(request.contact.length === 0 ? {} : { contact: request.contact }),
    ...(request.binding === undefined
      ? {}
      : { externalAccountBinding: bindExternalAccount(publicJwkOf(key), newAccountUrl, request.binding) }),
  }
  return processAccountReply(await transport.post(newAccountUrl, payload, { key }, context))
}

/** The account that the key has at the CA, if any (RFC 8555 §7.3.1); the one that its holder names. @throws ProblemError */
export async function findAccount(
  transport: AcmeTransport,
  key: AccountKey,
  context: PluginContext,
): Promise<Account | undefined> {
  if (key.accountUrl !== undefined) return fetchAccount(transport, { key, accountUrl: key.accountUrl }, context)
  const { newAccountUrl } = await transport.directory(context)
  try {
    return processAccountReply(await transport.post(newAccountUrl, { onlyReturnExisting: true }, { key }, context))
  } catch (error) {
    if (error instanceof ProblemError && error.code === 'accountDoesNotExist') return undefined
    throw error
  }
}

/** What the CA says about the account now (RFC 8555 §6.3: POST-as-GET). @throws ProblemError */
export async function fetchAccount(
  transport: AcmeTransport,
  signer: AccountSigner,
  context: PluginContext,
): Promise<Account> {
  return accountAt(signer.accountUrl, await transport.post(signer.accountUrl, undefined, signer, context))
}

/** RFC 8555 §7.3.2: the new contact takes the place of the former one; an empty list removes it. @throws ProblemError */
export async function updateAccount(
  transport: AcmeTransport,
  signer: AccountSigner,
  { contact }: { readonly contact: readonly string[] },
  context: PluginContext,
): Promise<Account> {
  return accountAt(signer.accountUrl, await transport.post(signer.accountUrl, { contact }, signer, context))
}

/** For ever (RFC 8555 §7.3.6): from then on the CA answers nothing that the account signs. @throws ProblemError */
export async function deactivateAccount(
  transport: AcmeTransport,
  signer: AccountSigner,
  context: PluginContext,
): Promise<Account> {
  const reply = await transport.post(signer.accountUrl, { status: 'deactivated' }, signer, context)
  const account = accountAt(signer.accountUrl, reply)
  if (account.status === 'valid')
    throw unusable('the CA answered the deactivation, but the account is still valid', undefined)
  return account
}

const maxOrdersPerPage = 10_000

/**
 * Addresses of the account's orders (RFC 8555 §7.1.2.1); the CA leaves out what it likes.
 * @param maxPages how many pages to follow at most: the list may have no end
 * @throws ProblemError
 */
export async function listOrders(
  transport: AcmeTransport,
  signer: AccountSigner,
  ordersUrl: string,
  context: PluginContext,
  maxPages: number,
): Promise<string[]> {
  const orderUrls = new Set<string>()
  const asked = new Set<string>()
  let next: string | undefined = ordersUrl
  while (next !== undefined && asked.size < maxPages && !asked.has(next)) {
    asked.add(next)
    const page: string = next
    const reply = await transport.post(page, undefined, signer, context)
    for (const orderUrl of processOrdersReply(reply)) orderUrls.add(resolveUrl(orderUrl, page))
    const link = reply.links.get('next')?.[0]
    next = link === undefined ? undefined : resolveUrl(link, page)
  }
  return [...orderUrls]
}

function processOrdersReply(reply: AcmeReply): string[] {
  const body = jsonOf(reply)
  try {
    if (!isJsonObject(body)) throw new TypeError('no JSON object')
    // An account without orders: some servers, written in Go, say null.
    return body.orders === null ? [] : requireStrings(body, 'orders', maxOrdersPerPage)
  } catch (cause) {
    throw unusable('the CA answered something that is no list of orders', cause)
  }
}

function resolveUrl(url: string, page: string): string {
  if (!URL.canParse(url, page)) throw unusable('the CA gave an address that is no URL', undefined)
  // Exact where it is whole (RFC 8555 §6.4): only a relative address is made into another text.
  return URL.canParse(url) ? url : new URL(url, page).href
}

export function processAccountReply(reply: AcmeReply): Account {
  if (reply.location === undefined) throw unusable('the CA did not say where the account is', undefined)
  return accountAt(reply.location, reply)
}

function accountAt(url: string, reply: AcmeReply): Account {
  try {
    return parseAccount(url, jsonOf(reply))
  } catch (cause) {
    throw unusable('the CA answered something that is no account', cause)
  }
}
