// What tests of DNS providers share: a provider made as from a configuration, and a context to call it with.
import { randomBytes } from 'node:crypto'
import { systemClock } from '../src/clock.ts'
import { readOptions } from '../src/config/options.ts'
import { exchange } from '../src/dns/exchange.ts'
import { encodeQuery, recordType, txtValue } from '../src/dns/message.ts'
import { createHttpClient } from '../src/http/http-client.ts'
import type { DnsProvider, ErasedPlugin, LogFields, PluginContext, PluginSetup } from '../src/plugin-api.ts'
import { makeTempFolder } from './peers/child.ts'

const http = createHttpClient([])
export const logged: { level: string; message: string; fields: LogFields | undefined }[] = []
const log = (level: string) => (message: string, fields?: LogFields) => void logged.push({ level, message, fields })

export function providerContext(signal = new AbortController().signal): PluginContext {
  return {
    ...{ signal, http, clock: systemClock, randomBytes: (length: number) => randomBytes(length) },
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
  }
}

const folder = makeTempFolder('hooks')
/** Where the providers of a test keep what they must. */
export const stateFolder = folder.path

/** @param values as they would stand in the file; of a list, an array. @throws Error with what the reader says */
export async function createProvider(
  plugin: ErasedPlugin<'dns'>,
  values: Readonly<Record<string, string | readonly string[]>>,
): Promise<DnsProvider> {
  const entries = Object.entries(values).flatMap(([key, value]) =>
    [value].flat().map((text) => ({ key, value: text as string, origin: 'test' })),
  )
  const findings: { message: string }[] = []
  const reader = { lenient: false, environment: {}, findings: findings as never }
  const options = readOptions({ kind: 'verification', name: 'dns', origin: 'test', entries }, plugin.options, reader)
  if (findings.length > 0) throw new Error(findings.map(({ message }) => message).join('; '))
  plugin.check?.(options as never)
  const setup: Partial<PluginSetup> = {
    ...providerContext(),
    stateFolder,
    section: 'dns',
    httpClient: async () => http,
  }
  return plugin.create(options as never, setup as PluginSetup)
}

/** The values that a server has for a name, asked over TCP. */
export async function queryTxt(port: number, name: string): Promise<string[]> {
  const query = encodeQuery(7, name, recordType.txt)
  const { answers } = await exchange({ host: '127.0.0.1', port }, query, 5000, new AbortController().signal)
  return answers.filter(({ type }) => type === recordType.txt).map(({ rdata }) => txtValue(rdata))
}
