import { type Account, parseAccount } from '../acme/account.ts'
import { ProblemError } from '../acme/problem.ts'
import { bindExternalAccount } from '../jws/jws.ts'
import type { AccountKey, PluginContext } from '../plugin-api.ts'
import { type AcmeReply, type AcmeTransport, jsonOf, unusable } from './transport.ts'

export type ExternalAccountBinding = { readonly kid: string; readonly macKey: string }

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
      : { externalAccountBinding: bindExternalAccount(key.publicJwk, newAccountUrl, request.binding) }),
  }
  return processAccountReply(await transport.post(newAccountUrl, payload, { key }, context))
}

/** The account that the key has at the CA, if any (RFC 8555 §7.3.1). @throws ProblemError */
export async function findAccount(
  transport: AcmeTransport,
  key: AccountKey,
  context: PluginContext,
): Promise<Account | undefined> {
  const { newAccountUrl } = await transport.directory(context)
  try {
    return processAccountReply(await transport.post(newAccountUrl, { onlyReturnExisting: true }, { key }, context))
  } catch (error) {
    if (error instanceof ProblemError && error.code === 'accountDoesNotExist') return undefined
    throw error
  }
}

export function processAccountReply(reply: AcmeReply): Account {
  if (reply.location === undefined) throw unusable('the CA did not say where the account is', undefined)
  try {
    return parseAccount(reply.location, jsonOf(reply))
  } catch (cause) {
    throw unusable('the CA answered something that is no account', cause)
  }
}
