import { existsSync } from 'node:fs'
import { calculateJwkThumbprint } from 'jose'
import type { Account } from '../../acme/account.ts'
import { ProblemError } from '../../acme/problem.ts'
import { createAccount, type ExternalAccountBinding, findAccount } from '../../acme-client/accounts.ts'
import type { AcmeTransport } from '../../acme-client/transport.ts'
import type { AccountKey, PluginContext } from '../../plugin-api.ts'
import { type AccountDirectory, createAccountKeyFile } from './account-directory.ts'

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

/** Finds or makes the account once; a failure is not remembered. */
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

  async function load(context: PluginContext): Promise<UsableAccount> {
    const key = await openOrCreateKey(settings, openKey, context)
    const thumbprint = await calculateJwkThumbprint(key.publicJwk)
    const registration = forgotten ? undefined : await settings.folder.readRegistration()
    if (registration !== undefined && isAt(registration, settings.directoryUrl)) {
      return { key, thumbprint, accountUrl: registration.uri }
    }
    const account = await ownAffair(
      async () => (await findAccount(transport, key, context)) ?? (await register(settings, transport, key, context)),
    )
    if (account.status !== 'valid') {
      throw new ProblemError(
        'userActionRequired',
        `the CA says that the account is ${account.status}; a new account needs a new key`,
      )
    }
    await saveAccount(settings, account)
    return { key, thumbprint, accountUrl: account.url }
  }

  return {
    account(context) {
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

/** acmems and we keep one registration a folder: it counts only for the CA that it came from. */
function isAt(registration: { readonly uri: string; readonly directory?: string }, directoryUrl: string): boolean {
  if (registration.directory !== undefined) return registration.directory === directoryUrl
  return (
    URL.canParse(registration.uri) &&
    new URL(registration.uri).origin === new URL(directoryUrl).origin &&
    !isAcmeV1(registration.uri)
  )
}

/** ACME v1 named accounts `/acme/reg/N`; its accounts live on under other addresses, found again by their key. */
function isAcmeV1(accountUrl: string): boolean {
  return /\/acme\/reg\/\d+$/.test(accountUrl)
}

async function openOrCreateKey(
  settings: AccountSettings,
  openKey: OpenAccountKey,
  context: PluginContext,
): Promise<AccountKey> {
  const { folder, keyLocation } = settings
  if (keyLocation !== undefined) return openKey(keyLocation)
  if (!existsSync(folder.keyFile)) {
    if (settings.acceptedTerms.length === 0) {
      throw new ProblemError(
        'userActionRequired',
        `no account key at ${folder.keyFile}: run "acmems register", or set accept-terms-of-service`,
      )
    }
    await createAccountKeyFile(folder)
    context.log.info('account key made', { file: folder.keyFile })
  }
  return openKey(`file:${folder.keyFile}`)
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

export async function saveAccount(settings: AccountSettings, account: Account): Promise<void> {
  const body = { status: account.status, contact: account.contact }
  await settings.folder.saveRegistration({ uri: account.url, body, directory: settings.directoryUrl })
}

function sameUrl(left: string, right: string): boolean {
  return left === right || (URL.canParse(left) && URL.canParse(right) && new URL(left).href === new URL(right).href)
}
