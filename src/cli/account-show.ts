import { join } from 'node:path'
import { Command } from 'commander'
import { accountThumbprint } from '../acme-client/account-identity.ts'
import { fetchAccount } from '../acme-client/accounts.ts'
import type { Config } from '../config/config.ts'
import { platformSettings } from '../config/environment.ts'
import type { AccountKey } from '../plugin-api.ts'
import { readRegistrationAt } from '../plugins/issuers/account-directory.ts'
import { type AccountSettings, openAccount } from '../plugins/issuers/acme-account.ts'
import { openState } from '../state/state.ts'
import { type CaDesk, openCaDesk } from './ca-desk.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { issuerNames } from './issuer-names.ts'
import { type OutageView, outageJson, outageView } from './limits.ts'
import { hasState } from './open-installation.ts'
import { formatFacts, formatTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly issuer?: string; readonly offline: boolean; readonly json: boolean }

type AccountView = {
  readonly issuer: string
  readonly directory: string
  readonly url: string | undefined
  readonly status: string | undefined
  readonly contact: readonly string[]
  readonly terms?: string
  readonly termsAgreed?: boolean
  readonly key: { readonly alg: string; readonly thumbprint: string; readonly location: string } | undefined
}

export function showAccountCommand(): Command {
  return withConfigFlags(new Command('show'))
    .summary('show the account as the CA knows it')
    .description(
      'Ask the CA for the account: address, status, contact, terms; with the key that we have for it.\nWith --offline the CA is not asked: what is shown is what it said last.',
    )
    .argument('[config...]', 'configuration files')
    .option('--issuer <name>', 'the [issuer] whose account it is')
    .option('--offline', 'do not ask the CA', false)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems account show /etc/acmems/acmems.ini\n  acmems account show --issuer letsencrypt --offline --json /etc/acmems/acmems.ini',
    )
    .action(showAccount)
}

async function showAccount(files: string[], flags: Flags): Promise<void> {
  const config = await readConfig(files, flags)
  await using desk = await openCaDesk(config, flags.issuer ?? config.defaultIssuer)
  const account = flags.offline ? await viewOffline(desk) : await viewAtCa(desk)
  const outage = await findOutage(config, desk)
  if (flags.json) printJson({ ...account, outage: outage && outageJson(outage) })
  else process.stdout.write(formatFacts(factsOf(account, outage)))
}

async function viewAtCa({ issuerName, settings, transport, context, openKey }: CaDesk): Promise<AccountView> {
  const signer = await openAccount(settings, transport, openKey, context)
  const account = await fetchAccount(transport, signer, context)
  const { termsOfServiceUrl } = await transport.directory(context)
  return {
    issuer: issuerName,
    directory: settings.directoryUrl,
    url: account.url,
    status: account.status,
    contact: account.contact,
    ...(termsOfServiceUrl === undefined ? {} : { terms: termsOfServiceUrl }),
    ...(account.termsOfServiceAgreed === undefined ? {} : { termsAgreed: account.termsOfServiceAgreed }),
    key: await keyView(settings, signer.key),
  }
}

async function viewOffline({ issuerName, settings, openKey }: CaDesk): Promise<AccountView> {
  const registration = await readRegistrationAt(settings.folder, settings.directoryUrl)
  const key = await openKey(keyLocationOf(settings)).catch(() => undefined)
  if (registration === undefined && key === undefined)
    throw new Error(`there is no account in ${settings.folder.path}: run "acmems register"`)
  const { status, contact } = registration?.body ?? {}
  return {
    issuer: issuerName,
    directory: settings.directoryUrl,
    url: registration?.uri,
    status: typeof status === 'string' ? status : undefined,
    contact: Array.isArray(contact) ? contact.filter((one) => typeof one === 'string') : [],
    key: key === undefined ? undefined : await keyView(settings, key),
  }
}

function keyLocationOf({ keyLocation, folder }: AccountSettings): string {
  return keyLocation ?? `file:${folder.keyFile}`
}

async function keyView(settings: AccountSettings, key: AccountKey): Promise<NonNullable<AccountView['key']>> {
  const thumbprint = await accountThumbprint(key)
  return { alg: key.alg, thumbprint, location: keyLocationOf(settings) }
}

/** What the servers on this state know; where there is no state, nothing is known. */
async function findOutage(config: Config, { settings, context }: CaDesk): Promise<OutageView | undefined> {
  const stateUrl = config.stateUrl ?? `sqlite:${join(platformSettings().stateFolder, 'state.db')}`
  if (!hasState(stateUrl)) return undefined
  await using state = await openState(stateUrl, () => context.clock.nowMs())
  const outage = await state.outages.find(`acme:${settings.directoryUrl}`)
  return outage && outageView(outage, issuerNames(config))
}

function factsOf(account: AccountView, outage: OutageView | undefined): [string, string | undefined][] {
  const { key, terms, termsAgreed } = account
  const agreed = termsAgreed === undefined ? '' : termsAgreed ? ' (agreed)' : ' (not agreed)'
  return [
    ['account', account.url ?? 'not known'],
    ['status', account.status ?? 'not known'],
    ['contact', account.contact.map((address) => address.replace(/^mailto:/, '')).join(', ') || 'none'],
    ['CA', `${account.directory} (issuer "${account.issuer}")`],
    ['terms', terms && `${terms}${agreed}`],
    ['key', key === undefined ? 'cannot be read' : `${key.alg}, ${key.location}`],
    ['thumbprint', key?.thumbprint],
    [
      'away',
      outage &&
        `since ${formatTime(outage.sinceMs)}, tried again ${formatTime(outage.untilMs)}: ${outage.reason} (${outage.failures} failures)`,
    ],
  ]
}
