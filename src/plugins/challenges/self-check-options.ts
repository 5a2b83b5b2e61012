import { isIP } from 'node:net'
import type { Clock, Option, OptionValues } from '../../plugin-api.ts'
import { createPlaceFinder, type FindPlaces } from '../../self-check/places.ts'
import { addressRanges, parseAddressRange } from '../address-range.ts'
import { parseYesNo } from '../option-values.ts'

/** Keys of every verification that looks at its own answer before the CA is told. */
export const selfCheckOptions = {
  'self-check': {
    meaning: 'no: the CA is told without looking at the answer first; for where the name means another host here',
    type: 'yes or no',
    default: 'yes',
    parse: parseYesNo,
  },
  'self-check-address': {
    meaning: "where to look instead of the name's own addresses, host[:port]",
    type: 'host',
    parse: parseHost,
  },
  'self-check-network': {
    meaning: 'addresses that are not public and may be looked at all the same',
    type: 'address or range',
    list: true,
    parse: parseAddressRange,
  },
  resolver: {
    meaning: "the DNS resolver that knows the names as the CA does, address[:port] (default: the system's)",
    type: 'host',
    parse: parseResolver,
  },
} as const satisfies Record<string, Option<unknown>>

/** undefined: nothing is looked at. */
export function placeFinderOf(
  options: OptionValues<typeof selfCheckOptions>,
  firstPort: 80 | 443,
  clock: Pick<Clock, 'monotonicMs'>,
): FindPlaces | undefined {
  if (!options['self-check']) return undefined
  const networks = addressRanges(options['self-check-network'])
  const settings = {
    resolver: options.resolver,
    firstPort,
    instead: options['self-check-address'],
    isAllowed: (address: string) => networks.includes(address),
  }
  return createPlaceFinder(settings, clock)
}

const hostPattern = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]/]+))(?::(\d{1,5}))?$/

function splitHost(text: string): { readonly host: string; readonly port: number | undefined } | undefined {
  if (isIP(text) === 6) return { host: text, port: undefined }
  const match = hostPattern.exec(text)
  if (match === null || Number(match[3] ?? 1) > 65535 || Number(match[3] ?? 1) < 1) return undefined
  return { host: match[1] ?? match[2] ?? '', port: match[3] === undefined ? undefined : Number(match[3]) }
}

function parseHost(text: string) {
  const host = splitHost(text)
  if (host === undefined)
    throw new Error(`${JSON.stringify(text)} is no host; write 192.0.2.1, 192.0.2.1:8080 or a name`)
  return host
}

function parseResolver(text: string): string {
  const server = splitHost(text)
  if (server === undefined || isIP(server.host) === 0)
    throw new Error(`${JSON.stringify(text)} is no address of a resolver; write 192.0.2.53 or [2001:db8::53]:5353`)
  return `${isIP(server.host) === 6 ? `[${server.host}]` : server.host}:${server.port ?? 53}`
}
