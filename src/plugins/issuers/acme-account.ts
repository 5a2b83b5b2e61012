import { existsSync } from 'node:fs'
import type { Account } from '../../acme/account.ts'
import { ProblemError } from '../../acme/problem.ts'
import { accountThumbprint } from '../../acme-client/account-identity.ts'
import {
  createAccount,
  deactivateAccount,
  type ExternalAccountBinding,
  findAccount,
  updateAccount,
} from '../../acme-client/accounts.ts'
import { changeKey, findKeyChangeUrl } from '../../acme-client/key-change.ts'
import type { AcmeTransport } from '../../acme-client/transport.ts'
import type { AccountKey, PluginContext } from '../../plugin-api.ts'
import {
  type AccountDirectory,
  adoptNextKey,
  createAccountKeyFile,
  createNextKeyFile,
  discardNextKey,
  keyFileStamp,
  type Registration,
  readRegistrationAt,
  type SettledRollover,
  settleRollover,
} from './account-directory.ts'

export type AccountSettings = {
  readonly directoryUrl: string
  readonly folder: AccountDirectory
  /** `NAME:location`; undefined is the folder's own `account.pem`. */
  readonly keyLocation: string | undefined
  /** `yes`, or addresses of the terms that were agreed to. */
  readonly acceptedTerms: readonly string[]
  readonly contact: readonly string[]
  readonly binding: ExternalAccountBinding | undefined
}

export type OpenAccountKey = (location: string) => Promise<AccountKey>

/** An account that orders can be made with. */
export type UsableAccount = { readonly key: AccountKey; readonly accountUrl: string; readonly thumbprint: string }

/** Finds or makes the account once, and again when `account.pem` was replaced; a failure is not remembered. */
export interface AccountHolder {
  account(context: PluginContext): Promise<UsableAccount>
  /** The CA does not know the account any more: look it up again at the next use. */
  forget(): void
}

export function createAccountHolder(
  settings: AccountSettings,
  transport: AcmeTransport,
  openKey: OpenAccountKey,
): AccountHolder {
  let current: Promise<UsableAccount> | undefined
  let forgotten = false
  let loadedStamp: string | undefined
  const stamp = () => (settings.keyLocation === undefined ? keyFileStamp(settings.folder) : undefined)

  async function load(context: PluginContext): Promise<UsableAccount> {
    loadedStamp = undefined
    const registration = forgotten ? undefined : await readRegistrationAt(settings.folder, settings.directoryUrl)
    refuseEnded(settings, registration)
    const settled = await settle(settings, transport, openKey, context)
    await ensureKey(settings, context)
    loadedStamp = stamp()
    const key = await openKey(keyLocationOf(settings))
    const thumbprint = await accountThumbprint(key)
    if (registration !== undefined && (settled === 'finished' || isOf(registration, key, thumbprint)))
      return { key, thumbprint, accountUrl: registration.uri }
    const account = await ownAffair(
      async () => (await findAccount(transport, key, context)) ?? (await register(settings, transport, key, context)),
    )
    if (account.status !== 'valid') throw endedAccount(settings, account.url, account.status)
    await saveAccount(settings, account, thumbprint)
    return { key, thumbprint, accountUrl: account.url }
  }

  return {
    account(context) {
      const present = loadedStamp === undefined ? undefined : stamp()
      if (present !== undefined && present !== loadedStamp) current = undefined
      if (current === undefined) {
        const attempt = load(context)
        current = attempt
        attempt.catch(() => {
          if (current === attempt) current = undefined
        })
      }
      return current
    },
    forget() {
      current = undefined
      forgotten = true
    },
  }
}

/**
 * A key's holder that names the account knows better than our notes of it. Another key than that of our notes (moved to
 * accountd, and made anew there) has another account: with this one the CA would refuse whatever it signs.
 */
function isOf({ uri, thumbprint }: Registration, { accountUrl }: AccountKey, ours: string): boolean {
  return accountUrl === undefined ? (thumbprint ?? ours) === ours : accountUrl === uri
}

/** What a CA has against our account is no fault of the host that asked for a certificate, whatever the CA calls it. */
async function ownAffair<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    if (!(cause instanceof ProblemError) || cause.retry.when !== 'never' || cause.code === 'userActionRequired')
      throw cause
    throw new ProblemError('userActionRequired', `the CA does not take our account: ${cause.message}`, { cause })
  }
}

/** RFC 8555 §7.3.6: the CA would answer nothing but 401, for ever. */
function refuseEnded(settings: AccountSettings, registration: Registration | undefined): void {
  const status = registration?.body.status
  if (registration !== undefined && (status === 'deactivated' || status === 'revoked'))
    throw endedAccount(settings, registration.uri, status)
}

function endedAccount({ folder, keyLocation }: AccountSettings, accountUrl: string, status: string): ProblemError {
  const what = keyLocation === undefined ? folder.path : `${folder.path}, set another key`
  return new ProblemError(
    'userActionRequired',
    `the account ${accountUrl} is ${status}; a new account needs a new key: move away ${what} and run "acmems register --gen-key"`,
  )
}

async function ensureKey(
  { folder, keyLocation, acceptedTerms }: AccountSettings,
  context: PluginContext,
): Promise<void> {
  if (keyLocation !== undefined || existsSync(folder.keyFile) || acceptedTerms.length === 0) return
  await createAccountKeyFile(folder)
  context.log.info('account key made', { file: folder.keyFile })
}

/** @throws ProblemError when there is no key */
function keyLocationOf({ folder, keyLocation }: AccountSettings): string {
  if (keyLocation !== undefined) return keyLocation
  if (existsSync(folder.keyFile)) return `file:${folder.keyFile}`
  throw new ProblemError(
    'userActionRequired',
    `no account key at ${folder.keyFile}: run "acmems register", or set accept-terms-of-service`,
  )
}

/** @throws ProblemError `userActionRequired` when nobody agreed to the CA's terms (RFC 8555 §7.3.3) */
export async function register(
  settings: AccountSettings,
  transport: AcmeTransport,
  key: AccountKey,
  context: PluginContext,
): Promise<Account> {
  const { termsOfServiceUrl } = await transport.directory(context)
  const agreed =
    termsOfServiceUrl === undefined ||
    settings.acceptedTerms.some((terms) => terms === 'yes' || sameUrl(terms, termsOfServiceUrl))
  if (!agreed) {
    throw new ProblemError(
      'userActionRequired',
      `the CA's terms of service must be accepted first: read ${termsOfServiceUrl} and run "acmems register --accept-terms-of-service=${termsOfServiceUrl}", or set accept-terms-of-service`,
    )
  }
  const { contact, binding } = settings
  const account = await createAccount(
    transport,
    key,
    { termsOfServiceAgreed: true, contact, ...(binding === undefined ? {} : { binding }) },
    context,
  )
  context.log.info('account registered', { account: account.url })
  return account
}

export async function saveAccount(settings: AccountSettings, account: Account, thumbprint: string): Promise<void> {
  const body = { status: account.status, contact: account.contact }
  await settings.folder.saveRegistration({ uri: account.url, body, directory: settings.directoryUrl, thumbprint })
}

/**
 * The account as it is: neither key nor account is made.
 * @throws ProblemError when there is none, or it is of no use any more
 */
export async function openAccount(
  settings: AccountSettings,
  transport: AcmeTransport,
  openKey: OpenAccountKey,
  context: PluginContext,
): Promise<UsableAccount> {
  const registration = await readRegistrationAt(settings.folder, settings.directoryUrl)
  refuseEnded(settings, registration)
  const settled = await settle(settings, transport, openKey, context)
  const location = keyLocationOf(settings)
  const key = await openKey(location)
  const thumbprint = await accountThumbprint(key)
  const isKnown = registration !== undefined && (settled === 'finished' || isOf(registration, key, thumbprint))
  const known = isKnown ? registration.uri : undefined
  const accountUrl = known ?? (await ownAffair(() => findAccount(transport, key, context)))?.url
  if (accountUrl === undefined) {
    const message = `the key at ${location} has no account at ${settings.directoryUrl}: run "acmems register"`
    throw new ProblemError('userActionRequired', message)
  }
  return { key, accountUrl, thumbprint }
}

/**
 * Tells the CA where it may write to, and notes what it made of that.
 * @param contact `mailto:` URLs, in place of the former ones
 */
export async function changeContact(
  settings: AccountSettings,
  transport: AcmeTransport,
  signer: UsableAccount,
  contact: readonly string[],
  context: PluginContext,
): Promise<Account> {
  const account = await updateAccount(transport, signer, { contact }, context)
  await saveAccount(settings, account, signer.thumbprint)
  return account
}

/** Ends the account for ever; from then on every use of it is refused here already. @throws ProblemError */
export async function closeAccount(
  settings: AccountSettings,
  transport: AcmeTransport,
  signer: UsableAccount,
  context: PluginContext,
): Promise<Account> {
  const account = await deactivateAccount(transport, signer, context)
  await saveAccount(settings, account, signer.thumbprint)
  context.log.info('account deactivated', { account: account.url })
  return account
}

/**
 * Gives the account a new key (RFC 8555 §7.3.5). The new key is durable before the CA hears of it, and the old one
 * stays in `account.previous.pem`: no crash loses the account. A rollover that a crash interrupted, and that the CA
 * had taken, is finished and counts as this one.
 * @throws ProblemError when the key is not in our folder, or the CA says no; the account then has its old key
 */
export async function rollOverKey(
  settings: AccountSettings,
  transport: AcmeTransport,
  openKey: OpenAccountKey,
  context: PluginContext,
): Promise<UsableAccount> {
  const { folder, keyLocation, directoryUrl } = settings
  if (keyLocation !== undefined) {
    throw new ProblemError(
      'userActionRequired',
      `the account key is at ${keyLocation}, outside of our hands: only a key in ${folder.keyFile} (no key = in the configuration) can be made anew by us; "acmems account rollover --to KEY" gives the account to a key that you made`,
    )
  }
  // Asked first: a CA that is away, or cannot do it, leaves nothing behind here.
  await findKeyChangeUrl(transport, context)
  const settled = await settle(settings, transport, openKey, context)
  if (settled === 'unknown') {
    throw new ProblemError(
      'userActionRequired',
      `${directoryUrl} knows neither ${folder.keyFile} nor ${folder.nextKeyFile}, which an interrupted rollover left: find out which CA it was for, or move it away`,
    )
  }
  const account = await openAccount(settings, transport, openKey, context)
  if (settled === 'finished') return account
  const nextPem = await createNextKeyFile(folder)
  const newKey = await openKey(`file:${folder.nextKeyFile}`)
  try {
    await changeKey(transport, { accountUrl: account.accountUrl, oldKey: account.key, newKey }, context)
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    if (error.retry.when === 'never' || error.code === 'rateLimited') {
      await discardNextKey(folder)
      throw error
    }
    throw new ProblemError(
      error.code,
      `${error.message}; whether the CA took the new key is not known, so both are kept: the next use of the account finds out`,
      { retry: error.retry, cause: error },
    )
  }
  await adoptNextKey(folder, nextPem)
  const thumbprint = await accountThumbprint(newKey)
  const registration = await readRegistrationAt(folder, directoryUrl)
  if (registration !== undefined) await folder.saveRegistration({ ...registration, thumbprint })
  context.log.info('account key changed', { account: account.accountUrl, previous: folder.previousKeyFile })
  return { ...account, key: newKey, thumbprint }
}

/** @throws ProblemError when the CA cannot be asked; both keys then stay where they are */
async function settle(
  { folder, keyLocation }: AccountSettings,
  transport: AcmeTransport,
  openKey: OpenAccountKey,
  context: PluginContext,
): Promise<SettledRollover> {
  if (keyLocation !== undefined) return 'nothing'
  const settled = await settleRollover(folder, async (keyFile) => {
    const key = await openKey(`file:${keyFile}`)
    return (await ownAffair(() => findAccount(transport, key, context))) !== undefined
  })
  if (settled !== 'nothing')
    context.log.warn('a change of the account key had been interrupted', { folder: folder.path, settled })
  return settled
}

function sameUrl(left: string, right: string): boolean {
  return left === right || (URL.canParse(left) && URL.canParse(right) && new URL(left).href === new URL(right).href)
}
