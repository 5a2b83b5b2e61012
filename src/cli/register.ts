import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { ProblemError } from '../acme/problem.ts'
import { accountThumbprint } from '../acme-client/account-identity.ts'
import { findAccount } from '../acme-client/accounts.ts'
import { type AcmeTransport, createTransport } from '../acme-client/transport.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { environment, platformSettings } from '../config/environment.ts'
import { createHttpClient } from '../http/http-client.ts'
import { createLog } from '../log.ts'
import type { AccountKey, OptionValues, PluginContext, PluginSetup } from '../plugin-api.ts'
import { createAccountKeyFile } from '../plugins/issuers/account-directory.ts'
import { type AccountSettings, register, saveAccount } from '../plugins/issuers/acme-account.ts'
import { accountSettings, type acmeOptions, defaultAccountFolder } from '../plugins/issuers/acme-plugin.ts'
import { createKeyOpener } from '../runtime.ts'
import { stateFolderOf } from '../state/state.ts'
import { version } from '../version.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'

type Flags = ConfigFlags & {
  readonly genKey: boolean
  readonly register: boolean
  readonly email: readonly string[]
  readonly acceptTermsOfService: readonly string[]
  readonly issuer: string
}

/** `acmems register`, under acmems' name `acme-register` too. */
export function registerCommand(name = 'register'): Command {
  const collect = (value: string, former: string[]) => [...former, value]
  return withConfigFlags(new Command(name))
    .summary('make the account at the CA')
    .description(
      'Make the account key and the account at the CA, or find the account that the key already has.\nWithout accepted terms of service it shows their address and the next command.',
    )
    .argument('[config...]', 'configuration files')
    .option('--gen-key', 'make the account key when there is none', false)
    .option('--register', 'make the account (the default; known from acmems)', false)
    .option('--email <address>', 'where the CA may write to; repeat it for more', collect, [])
    .option('--accept-terms-of-service <url>', "agree to the CA's terms of service at this address", collect, [])
    .option('--issuer <name>', 'the [issuer] to register with', 'default')
    .addHelpText(
      'after',
      `\nExamples:\n  acmems ${name} --gen-key --email ops@example.org acmems.ini\n  acmems ${name} --accept-terms-of-service=https://letsencrypt.org/documents/LE-SA.pdf acmems.ini`,
    )
    .action((files: string[], flags: Flags) => registerAccount(name, files, flags))
}

async function registerAccount(name: string, files: string[], flags: Flags): Promise<void> {
  const config = await readConfig(files, flags)
  const chosen = config.issuers.get(flags.issuer)
  if (chosen === undefined || chosen.plugin.name !== 'acme')
    throw new Error(`[issuer "${flags.issuer}"] is no ACME CA, so there is nothing to register with`)
  const options = chosen.options as OptionValues<typeof acmeOptions>
  const platform = platformSettings()
  const stateFolder = stateFolderOf(config.stateUrl ?? '', platform.stateFolder)
  const fromConfig = accountSettings(options, defaultAccountFolder(stateFolder, flags.issuer))
  const settings: AccountSettings = {
    ...fromConfig,
    acceptedTerms: [...fromConfig.acceptedTerms, ...flags.acceptTermsOfService.map((url) => new URL(url).href)],
    contact: flags.email.length === 0 ? fromConfig.contact : flags.email.map((address) => `mailto:${address}`),
  }
  const caFiles = [...platform.trustedCaFiles, ...(options['ca-file'] === undefined ? [] : [options['ca-file']])]
  await using http = createHttpClient(await Promise.all(caFiles.map((file) => readFile(file, 'utf8'))))
  using log = createLog({ level: 'warning', destination: 'stderr', format: 'text' }, 'program')
  const context: PluginContext = {
    signal: new AbortController().signal,
    clock: systemClock,
    log,
    http,
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
  }
  const key = await step(await keyStep(settings, flags), () => loadKey(config, settings, context))
  const transport = createTransport(settings.directoryUrl, `acmems/${version} node/${process.versions.node}`, () =>
    systemClock.nowMs(),
  )
  await step('Initialize ACME client', () => transport.directory(context))
  await registerOrExplain(name, files, settings, transport, key, context, flags)
}

async function registerOrExplain(
  name: string,
  files: readonly string[],
  settings: AccountSettings,
  transport: AcmeTransport,
  key: AccountKey,
  context: PluginContext,
  flags: Flags,
): Promise<void> {
  const existing = await step('Look up the registration', () => findAccount(transport, key, context))
  if (existing !== undefined) {
    await saveAccount(settings, existing, await accountThumbprint(key))
    process.stdout.write(`The key is registered as ${existing.url} (${existing.status})\n`)
    return
  }
  try {
    const account = await register(settings, transport, key, context)
    await saveAccount(settings, account, await accountThumbprint(key))
    process.stdout.write(`Register ... done\nThe account is ${account.url}\n`)
  } catch (error) {
    const { termsOfServiceUrl } = await transport.directory(context)
    if (!(error instanceof ProblemError) || error.code !== 'userActionRequired' || termsOfServiceUrl === undefined)
      throw error
    process.stdout.write(`You need to accept the terms of service at ${termsOfServiceUrl}\n`)
    process.stdout.write(`Read them, then run: ${nextCommand(name, files, flags, termsOfServiceUrl)}\n`)
  }
}

/** The same call once more, with the terms accepted; quoted for a shell. */
function nextCommand(name: string, files: readonly string[], flags: Flags, termsUrl: string): string {
  const repeated = [
    ...flags.email.flatMap((address) => ['--email', address]),
    ...(flags.issuer === 'default' ? [] : ['--issuer', flags.issuer]),
    ...flags.set.flatMap((assignment) => ['--set', assignment]),
    ...(flags.lenient ? ['--lenient'] : []),
  ]
  const words = [
    ...(name === 'register' ? ['acmems', name] : [name]),
    ...repeated,
    `--accept-terms-of-service=${termsUrl}`,
    ...files,
  ]
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ')
}

/** Makes the key where that was asked for, and says which of the two happens. */
async function keyStep(settings: AccountSettings, flags: Flags): Promise<string> {
  const { folder, keyLocation } = settings
  if (!flags.genKey || keyLocation !== undefined) return 'Load private key'
  if (existsSync(folder.keyFile))
    throw new Error(
      `${folder.keyFile} is there already; an account key is never overwritten (leave --gen-key out to use it)`,
    )
  await createAccountKeyFile(folder)
  return 'Generate private key'
}

async function loadKey(
  config: Config,
  { folder, keyLocation }: AccountSettings,
  context: PluginContext,
): Promise<AccountKey> {
  if (keyLocation === undefined && !existsSync(folder.keyFile))
    throw new Error(`account.pem not found: there is no key at ${folder.keyFile}; --gen-key makes one`)
  // Keys need neither answers nor certificates nor limits: what is made of the state is not there.
  const setup = { ...context, section: 'account', stateFolder: folder.path, environment } as unknown as PluginSetup
  return createKeyOpener(config, () => setup)(keyLocation ?? `file:${folder.keyFile}`)
}

async function step<T>(what: string, act: () => Promise<T>): Promise<T> {
  process.stdout.write(`${what} ... `)
  try {
    const result = await act()
    process.stdout.write('done\n')
    return result
  } catch (error) {
    process.stdout.write('failed\n')
    throw error
  }
}
