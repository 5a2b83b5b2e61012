import { Command } from 'commander'
import type { Account } from '../acme/account.ts'
import { handOverAccount } from '../plugins/issuers/account-hand-over.ts'
import {
  type AccountSettings,
  changeContact,
  closeAccount,
  openAccount,
  rollOverKey,
} from '../plugins/issuers/acme-account.ts'
import { acmeOptions } from '../plugins/issuers/acme-plugin.ts'
import { showAccountCommand } from './account-show.ts'
import { type CaDesk, openCaDesk } from './ca-desk.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { confirm } from './confirmation.ts'
import { noteWhereStateIs } from './note-by-hand.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & { readonly issuer?: string; readonly json: boolean }
type RolloverFlags = Flags & { readonly to?: string }
type UpdateFlags = Flags & { readonly email?: readonly string[] | false }

/** `acmems account`: the account at the CA, after it was made. */
export function accountCommand(): Command {
  return new Command('account')
    .summary('show the account at the CA, change its contact or its key, end it')
    .description(
      'The account at the CA. "acmems register" makes it. Run this as the user that the server runs as: files that\nare written must stay readable for it. A server need not be stopped.',
    )
    .addCommand(showAccountCommand())
    .addCommand(updateCommand())
    .addCommand(rolloverCommand())
    .addCommand(deactivateCommand())
    .addHelpText(
      'after',
      '\nExamples:\n  acmems account show /etc/acmems/acmems.ini\n  acmems account update --email ops@example.org /etc/acmems/acmems.ini\n  acmems account rollover /etc/acmems/acmems.ini\n  acmems account deactivate --issuer old /etc/acmems/acmems.ini',
    )
}

function updateCommand(): Command {
  const collect = (value: string, former: readonly string[] | false | undefined) => [...(former || []), value]
  return withConfigFlags(new Command('update'))
    .summary('tell the CA where it may write to')
    .description('Tell the CA where it may write to. The addresses take the place of those that it has.')
    .argument('[config...]', 'configuration files')
    .option('--email <address>', 'where the CA may write to; repeat it for more', collect)
    .option('--no-email', 'nowhere')
    .option('--issuer <name>', 'the [issuer] whose account it is')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems account update --email ops@example.org --email tls@example.org /etc/acmems/acmems.ini\n  acmems account update --no-email /etc/acmems/acmems.ini',
    )
    .action(updateContact)
}

async function updateContact(files: string[], flags: UpdateFlags): Promise<void> {
  const contact = readContact(flags.email)
  await using desk = await openAccountDesk(files, flags)
  const { settings, transport, openKey, context } = desk
  const signer = await openAccount(settings, transport, openKey, context)
  const account = await changeContact(settings, transport, signer, contact, context)
  await noteWhereStateIs(desk.config, 'account.updated', { account: account.url, contact: contact.join(' ') })
  if (flags.json) printJson(accountJson(account))
  else process.stdout.write(`the CA writes to ${formatContact(account)}\n`)
}

function readContact(email: UpdateFlags['email']): string[] {
  if (email === undefined) throw new UsageError('say --email ADDRESS, as often as there are addresses, or --no-email')
  try {
    return email === false ? [] : email.map((address) => acmeOptions.contact.parse(address))
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function rolloverCommand(): Command {
  return withConfigFlags(new Command('rollover'))
    .summary('give the account a new key')
    .description(
      'Give the account a new key (RFC 8555 §7.3.5). The former one stays beside it as account.previous.pem. A server\nthat runs takes the new key with its next order. One that was interrupted is finished by running it again.\nWith --to the account is given to a key that there is elsewhere; a key held by accountd changes this way, too. Both\nkeys are then used at admin sockets, and key = in the configuration is to name the new one afterwards.',
    )
    .argument('[config...]', 'configuration files')
    .option('--issuer <name>', 'the [issuer] whose account it is')
    .option('--to <key>', 'where the new key is, as key = has it: accountd:/path, ssh-agent:KEY, file:/path')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems account rollover /etc/acmems/acmems.ini\n  acmems account rollover --issuer letsencrypt --json /etc/acmems/acmems.ini\n  acmems account rollover --to accountd:/run/acmems-accountd/admin/S.lacme admin.ini',
    )
    .action(rollOver)
}

async function rollOver(files: string[], flags: RolloverFlags): Promise<void> {
  await using desk = await openAccountDesk(files, flags)
  const { settings, transport, openKey, context } = desk
  const { to } = flags
  const { accountUrl, key, thumbprint } =
    to === undefined
      ? await rollOverKey(settings, transport, openKey, context)
      : await handOverAccount(settings, transport, openKey, to, context)
  await noteWhereStateIs(desk.config, 'account.key-changed', { account: accountUrl, thumbprint })
  if (to !== undefined) {
    if (flags.json) printJson({ url: accountUrl, key: { alg: key.alg, thumbprint, at: to } })
    else
      process.stdout.write(
        `the account ${accountUrl} has the key at ${to}, thumbprint ${thumbprint}; the CA does not take the former one any more\nkey = in the configuration has to lead to the new one now\n`,
      )
    return
  }
  const { keyFile, previousKeyFile } = settings.folder
  if (flags.json) printJson({ url: accountUrl, key: { alg: key.alg, thumbprint, file: keyFile }, previousKeyFile })
  else
    process.stdout.write(
      `the account ${accountUrl} has a new key, thumbprint ${thumbprint}, in ${keyFile}\nthe former key is in ${previousKeyFile}; the CA does not take it any more\n`,
    )
}

function deactivateCommand(): Command {
  return withConfigFlags(new Command('deactivate'))
    .summary('end the account for ever')
    .description(
      'End the account for ever (RFC 8555 §7.3.6). Its certificates stay good, but nothing can be ordered or renewed\nwith it: a new account needs a new key.',
    )
    .argument('[config...]', 'configuration files')
    .option('--issuer <name>', 'the [issuer] whose account it is')
    .option('--yes', 'do not ask', false)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems account deactivate /etc/acmems/acmems.ini\n  acmems account deactivate --issuer old --yes /etc/acmems/acmems.ini',
    )
    .action(deactivate)
}

async function deactivate(files: string[], flags: Flags & { readonly yes: boolean }): Promise<void> {
  await using desk = await openAccountDesk(files, flags)
  const { settings, transport, openKey, context, issuerName } = desk
  const signer = await openAccount(settings, transport, openKey, context)
  await confirm(`End the account ${signer.accountUrl} of issuer "${issuerName}" for ever`, flags.yes)
  const account = await closeAccount(settings, transport, signer, context)
  await noteWhereStateIs(desk.config, 'account.deactivated', { account: account.url })
  if (flags.json) printJson(accountJson(account))
  else process.stdout.write(`the account ${account.url} is ${account.status}; ${nextStep(settings)}\n`)
}

function nextStep({ folder, keyLocation }: AccountSettings): string {
  const what = keyLocation === undefined ? `move ${folder.path} away` : 'set another key'
  return `to make a new one, ${what} and run "acmems register --gen-key"`
}

async function openAccountDesk(files: readonly string[], flags: Flags): Promise<CaDesk> {
  const config = await readConfig(files, flags)
  return await openCaDesk(config, flags.issuer ?? config.defaultIssuer)
}

function accountJson({ url, status, contact }: Account) {
  return { url, status, contact }
}

function formatContact({ contact }: Account): string {
  return contact.map((address) => address.replace(/^mailto:/, '')).join(', ') || 'nobody'
}
