import { ProblemError } from '../../acme/problem.ts'
import { accountThumbprint } from '../../acme-client/account-identity.ts'
import { changeKey, findKeyChangeUrl } from '../../acme-client/key-change.ts'
import type { AcmeTransport } from '../../acme-client/transport.ts'
import type { PluginContext } from '../../plugin-api.ts'
import { readRegistrationAt } from './account-directory.ts'
import { type AccountSettings, type OpenAccountKey, openAccount, type UsableAccount } from './acme-account.ts'

/**
 * Gives the account to a key that there is already (RFC 8555 §7.3.5): in accountd, in an ssh-agent, in a file. No key is made
 * or moved here; whoever uses the account has to be told the new key's place afterwards.
 * @param location as `key =` has it
 * @throws ProblemError when either key is hidden or away, both are one, or the CA says no; the account then has its old key
 */
export async function handOverAccount(
  settings: AccountSettings,
  transport: AcmeTransport,
  openKey: OpenAccountKey,
  location: string,
  context: PluginContext,
): Promise<UsableAccount> {
  const { folder, directoryUrl } = settings
  await findKeyChangeUrl(transport, context)
  const account = await openAccount(settings, transport, openKey, context)
  const newKey = await openKey(location)
  const thumbprint = await accountThumbprint(newKey)
  if (thumbprint === account.thumbprint)
    throw new ProblemError(
      'userActionRequired',
      `${location} is the key that the account has: there is nothing to change`,
    )
  await changeKey(transport, { accountUrl: account.accountUrl, oldKey: account.key, newKey }, context)
  const registration = await readRegistrationAt(folder, directoryUrl)
  if (registration !== undefined) await folder.saveRegistration({ ...registration, thumbprint })
  context.log.info('account handed over to another key', { account: account.accountUrl, thumbprint })
  return { ...account, key: newKey, thumbprint }
}
