// What the tests of DNS share: plugins with options as texts, a context of one's own, and a look at what is there.
import { randomBytes } from 'node:crypto'
import { systemClock } from '../src/clock.ts'
import { exchange } from '../src/dns/exchange.ts'
import { encodeQuery, encodeTxtUpdate, recordType, txtValue } from '../src/dns/message.ts'
import { signMessage, type TsigKey } from '../src/dns/tsig.ts'
import type { Options, OptionValues, PluginContext, PluginSetup } from '../src/plugin-api.ts'

const timeoutMs = 5000

export type LogLine = { readonly level: string; readonly message: string; readonly fields: unknown }

/** @param skewMs by how much our clock goes before the right time */
export function makeContext(
  skewMs = 0,
  signal: AbortSignal = new AbortController().signal,
): PluginContext & { readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = []
  const level = (name: string) => (message: string, fields?: unknown) => {
    lines.push({ level: name, message, fields })
  }
  return {
    signal,
    clock: { ...systemClock, nowMs: () => Date.now() + skewMs },
    log: { debug: level('debug'), info: level('info'), warn: level('warn'), error: level('error') },
    http: { request: () => Promise.reject(new Error('nothing here speaks HTTP')) },
    randomBytes,
    lines,
  }
}

/** For plugins that need nothing of it. */
export const noSetup = {} as unknown as PluginSetup

/** Values as the configuration would read them. */
export function readValues<O extends Options>(
  options: O,
  texts: { readonly [K in keyof O]?: string | readonly string[] },
): OptionValues<O> {
  const entries = Object.entries(options).map(([key, option]) => {
    const given: string | readonly string[] | undefined = texts[key] ?? option.default
    const list = given === undefined ? [] : typeof given === 'string' ? [given] : given
    const parsed = list.map((text) => option.parse(text))
    return [key, option.list === true ? parsed : parsed[0]]
  })
  return Object.fromEntries(entries) as OptionValues<O>
}

export async function txtValues(port: number, name: string, host = '127.0.0.1'): Promise<string[]> {
  const query = encodeQuery(randomBytes(2).readUInt16BE(0), name, recordType.txt)
  const { answers } = await exchange({ host, port }, query, timeoutMs, new AbortController().signal)
  return answers.filter(({ type }) => type === recordType.txt).map(({ rdata }) => txtValue(rdata))
}

/** Puts a value there that is not ours. */
export async function addForeignTxt(port: number, zone: string, fqdn: string, key?: TsigKey): Promise<void> {
  const change = { fqdn, value: 'not-ours', ttlSeconds: 1, action: 'add' } as const
  const plain = encodeTxtUpdate(9, zone, change)
  const message = key === undefined ? plain : signMessage(plain, key, Date.now()).message
  const server = { host: '127.0.0.1', port }
  const { rcode } = await exchange(server, message, timeoutMs, new AbortController().signal)
  if (rcode !== 0) throw new Error(`the server does not take the foreign value: ${rcode}`)
}
