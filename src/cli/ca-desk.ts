import { readFile } from 'node:fs/promises'
import { type AcmeTransport, createTransport } from '../acme-client/transport.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { environment, platformSettings } from '../config/environment.ts'
import { createHttpClient } from '../http/http-client.ts'
import { createLog } from '../log.ts'
import type { OptionValues, PluginContext, PluginSetup } from '../plugin-api.ts'
import type { AccountSettings, OpenAccountKey } from '../plugins/issuers/acme-account.ts'
import { accountSettings, type acmeOptions, defaultAccountFolder } from '../plugins/issuers/acme-plugin.ts'
import { createKeyOpener } from '../runtime.ts'
import { stateFolderOf } from '../state/state.ts'
import { version } from '../version.ts'

/** An account at a CA, without the state: there may be none yet. */
export interface CaDesk extends AsyncDisposable {
  readonly config: Config
  readonly issuerName: string
  readonly settings: AccountSettings
  readonly transport: AcmeTransport
  readonly context: PluginContext
  readonly openKey: OpenAccountKey
}

/** @throws Error when the issuer has no account */
export async function openCaDesk(config: Config, issuerName: string): Promise<CaDesk> {
  const chosen = config.issuers.get(issuerName)
  if (chosen === undefined) {
    const known = [...config.issuers.keys()].join(', ')
    throw new Error(`the configuration has no [issuer "${issuerName}"]; it has ${known}`)
  }
  if (chosen.plugin.name !== 'acme')
    throw new Error(`[issuer "${issuerName}"] is no ACME CA (type = ${chosen.plugin.name}): it has no account`)
  const options = chosen.options as OptionValues<typeof acmeOptions>
  const platform = platformSettings()
  const stateFolder = stateFolderOf(config.stateUrl ?? '', platform.stateFolder)
  const caFiles = [...platform.trustedCaFiles, ...(options['ca-file'] === undefined ? [] : [options['ca-file']])]
  await using stack = new AsyncDisposableStack()
  const http = stack.use(createHttpClient(await Promise.all(caFiles.map((file) => readFile(file, 'utf8')))))
  const log = stack.use(createLog({ level: 'warning', destination: 'stderr', format: 'text' }, 'program'))
  const context: PluginContext = {
    signal: new AbortController().signal,
    clock: systemClock,
    log,
    http,
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
  }
  const settings = accountSettings(options, defaultAccountFolder(stateFolder, issuerName))
  const userAgent = `acmems/${version} node/${process.versions.node}`
  const transport = createTransport(settings.directoryUrl, userAgent, () => systemClock.nowMs())
  // Keys need neither answers nor certificates nor limits: what is made of the state is not there.
  const setup = { ...context, section: 'account key', stateFolder, userAgent, environment } as unknown as PluginSetup
  const openKey = createKeyOpener(config, (section, parts) => ({ ...setup, ...parts, section }))
  const disposables = stack.move()
  return {
    ...{ config, issuerName, settings, transport, context, openKey },
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}
