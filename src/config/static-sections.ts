import type { Option, OptionValues } from '../plugin-api.ts'
import { parseAddressRange } from '../plugins/address-range.ts'
import {
  parseCount,
  parseListener,
  parsePublicName,
  parseSize,
  parseTcpListener,
  parseYesNo,
} from '../plugins/option-values.ts'
import { parseNamePattern } from '../policy/name-pattern.ts'
import { parseProbeTarget } from '../probe/probe-target.ts'

/** Sections that no plugin owns. The types of the values and the configuration reference both come from here. */

const text = (meaning: string, type = 'text'): Option<string> => ({ meaning, type, parse: String })

export const mgmtOptions = {
  listener: {
    meaning: 'where hosts send their requests; empty for nowhere',
    type: 'listener',
    list: true,
    default: '127.0.0.1:1313 [::1]:1313',
    parse: parseListener,
  },
  'tls-certificate': text(
    'serve HTTPS on the TCP listeners with the chain in this PEM file, leaf first; read again when it changes',
    'path',
  ),
  'tls-key': text("the certificate's private key, a PEM file", 'path'),
  tls: {
    meaning:
      'managed NAME: serve HTTPS on the TCP listeners with what [certificate "NAME"] has, and a self-signed certificate until then',
    type: 'managed NAME',
    parse: parseManagedTls,
  },
  'max-size': { meaning: 'the largest request that is read', type: 'size', default: '4096', parse: parseSize },
  'public-name': {
    meaning:
      'names that hosts call this server by (host or host:port): signed requests must be for one of them (default: for whatever the Host header says)',
    type: 'name',
    list: true,
    parse: parsePublicName,
  },
  'trusted-proxy': {
    meaning: 'reverse proxies whose X-Forwarded-For is believed, one hop each',
    type: 'address or range',
    list: true,
    parse: parseAddressRange,
  },
  'default-verification': text('the [verification] used where an [auth] block names none; empty for none', 'name'),
  'default-storage': text('the [storage] used where an [auth] block names none', 'name'),
  'default-issuer': {
    meaning: 'the [issuer] used where an [auth] block names none',
    type: 'name',
    default: 'default',
    parse: String,
  },
} as const satisfies Record<string, Option<unknown>>

export const authOptions = {
  domain: {
    meaning: 'names the caller may have; * stays within a label, ** is any depth',
    type: 'pattern',
    list: true,
    parse: parseNamePattern,
  },
  'ip-address': {
    meaning: 'addresses the caller may have certificates for',
    type: 'address or range',
    list: true,
    parse: parseAddressRange,
  },
  wildcard: {
    meaning: 'yes: wildcard names may be had where a pattern begins with *.',
    type: 'yes or no',
    default: 'no',
    parse: parseYesNo,
  },
  'register-boxes': {
    meaning: 'yes: callers may have sealed boxes made for their names (POST /box/NAME)',
    type: 'yes or no',
    default: 'no',
    parse: parseYesNo,
  },
  'max-names': { meaning: 'names that one certificate may have', type: 'count', default: '100', parse: parseCount },
  verification: text('how names are proven (default: default-verification)', 'name'),
  storage: text('where certificates are kept (default: default-storage)', 'name'),
  issuer: text('who issues (default: default-issuer)', 'name'),
  profile: text('certificate profile to ask for, if the CA offers it'),
  metadata: {
    meaning:
      'no: certificates are only forwarded, and nothing that says who got which is written down (docs/gateway.md); wants a storage of type none',
    type: 'yes or no',
    default: 'yes',
    parse: parseYesNo,
  },
  probe: {
    meaning:
      'where it is looked after a host picked its certificate up, and daily, whether it is served: caller:443 is the address that picked it up; yes: its names at 443; :8443: its names there; host:port, smtp://host',
    type: 'place',
    list: true,
    parse: parseProbeTarget,
  },
} as const satisfies Record<string, Option<unknown>>

/** Whatever the issuer's type. */
export const issuerOptions = {
  fallback: text('the [issuer] to ask when this one cannot, for a reason that another can cure', 'name'),
} as const satisfies Record<string, Option<unknown>>

export const dnsApiOptions = {
  listener: {
    meaning: 'where ACME clients publish TXT values, in the formats of acme-dns and of lego httpreq (default: nowhere)',
    type: 'listener',
    list: true,
    parse: parseListener,
  },
} as const satisfies Record<string, Option<unknown>>

export const stateOptions = {
  url: {
    meaning:
      'sqlite:/path, or postgres://user@host/database for several servers on one state (default: state.db in $STATE_DIRECTORY, in /var/lib/acmems as root, in the XDG state folder otherwise); changing it needs a restart',
    type: 'URL',
    secret: true,
    parse: parseStateUrl,
  },
} as const satisfies Record<string, Option<unknown>>

export const loggingOptions = {
  level: {
    meaning: 'debug, info, warning or error',
    type: 'word',
    default: 'info',
    parse: oneOf('debug', 'info', 'warning', 'error'),
  },
  destination: {
    meaning: 'stdout, stderr or a file; changing it needs a restart',
    type: 'path',
    default: 'stdout',
    parse: String,
  },
  format: {
    meaning: 'auto (text on a terminal), text or json',
    type: 'word',
    default: 'auto',
    parse: oneOf('auto', 'text', 'json'),
  },
} as const satisfies Record<string, Option<unknown>>

export const setupOptions = {
  plugin: {
    meaning: 'a plugin of your own (JavaScript module), relative to this file',
    type: 'path',
    list: true,
    parse: String,
  },
  'include-path': {
    meaning: "acmems' search path for Python plugins: has no meaning here",
    type: 'path',
    list: true,
    parse: String,
  },
} as const satisfies Record<string, Option<unknown>>

/** The earliest acmems' section. */
export const listenersOptions = {
  http: {
    meaning: "the earliest acmems' word for the listeners of http01",
    type: 'listener',
    list: true,
    parse: parseTcpListener,
  },
  mgmt: {
    meaning: "the earliest acmems' word for [mgmt] listener",
    type: 'listener',
    list: true,
    parse: parseListener,
  },
} as const satisfies Record<string, Option<unknown>>

export type MgmtValues = OptionValues<typeof mgmtOptions>
export type DnsApiValues = OptionValues<typeof dnsApiOptions>
export type AuthValues = OptionValues<typeof authOptions>
export type LoggingValues = OptionValues<typeof loggingOptions>

function oneOf<const Words extends readonly string[]>(...words: Words): (text: string) => Words[number] {
  return (value) => {
    const word = words.find((candidate) => candidate === value.toLowerCase())
    if (word === undefined) throw new Error(`${JSON.stringify(value)} is none of ${words.join(', ')}`)
    return word
  }
}

/** Of `managed NAME`; undefined for what is none. */
export function managedTlsName(text: string): string | undefined {
  return /^managed\s+(\S+)$/.exec(text)?.[1]
}

/** @returns the name of the certificate */
function parseManagedTls(text: string): string {
  const name = managedTlsName(text)
  if (name === undefined) throw new Error(`${JSON.stringify(text)} is not "managed NAME", the name of a [certificate]`)
  return name
}

function parseStateUrl(text: string): string {
  if (!/^(sqlite:.|postgres(ql)?:\/\/.)/.test(text))
    throw new Error('write sqlite:/path/to/state.db or postgres://user@host/database')
  return text
}
