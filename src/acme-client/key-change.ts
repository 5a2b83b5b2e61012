import { ProblemError } from '../acme/problem.ts'
import { signKeyChange } from '../jws/jws.ts'
import type { AccountKey, PluginContext } from '../plugin-api.ts'
import { publicJwkOf } from './account-identity.ts'
import { findAccount } from './accounts.ts'
import type { AcmeTransport } from './transport.ts'

export type KeyChange = {
  /** As the CA gave it, to the letter (RFC 8555 §7.3.5). */
  readonly accountUrl: string
  readonly oldKey: AccountKey
  readonly newKey: AccountKey
}

/**
 * Gives the account a new key (RFC 8555 §7.3.5). Orders and authorizations stay as they are.
 * @throws ProblemError whose `retry` is `never` when the CA said no; otherwise it may have said yes unheard
 */
export async function changeKey(
  transport: AcmeTransport,
  { accountUrl, oldKey, newKey }: KeyChange,
  context: PluginContext,
): Promise<void> {
  const url = await findKeyChangeUrl(transport, context)
  const change = { url, accountUrl, oldJwk: publicJwkOf(oldKey) }
  const inner = await signKeyChange({ alg: newKey.alg, publicJwk: publicJwkOf(newKey) }, change, (octets) =>
    newKey.sign(octets, context),
  )
  let refusal: ProblemError | undefined
  try {
    await transport.post(url, inner, { key: oldKey, accountUrl }, context)
  } catch (error) {
    if (!(error instanceof ProblemError) || error.retry.when !== 'never') throw error
    refusal = error
  }
  // A key that another account has is a 409, whose Location should name that account; Pebble 2.10 says 200 and does
  // nothing. The key itself always finds its account (§7.3.1).
  const holder = await findAccount(transport, newKey, context).catch(() => undefined)
  if (holder !== undefined && holder.url !== accountUrl) {
    throw new ProblemError(
      'malformed',
      `the CA has another account with this key, ${holder.url}: choose a key that was never used`,
      { cause: refusal },
    )
  }
  if (holder === undefined && refusal !== undefined) throw refusal
}

/** @throws ProblemError when the CA has no such thing */
export async function findKeyChangeUrl(transport: AcmeTransport, context: PluginContext): Promise<string> {
  const { keyChangeUrl } = await transport.directory(context)
  if (keyChangeUrl !== undefined) return keyChangeUrl
  throw new ProblemError(
    'userActionRequired',
    "this CA cannot change an account's key (its directory has no keyChange): make a new account instead",
  )
}
