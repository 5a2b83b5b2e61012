import { isIP } from 'node:net'

/** What is spoken before TLS, and where it is by default. */
export const probePorts = { tls: 443, smtp: 25, imap: 143, pop3: 110, ldap: 389 } as const
export type ProbeScheme = keyof typeof probePorts

/** Where it is looked which certificate is served, as the configuration says it. */
export type ProbeTarget = {
  readonly scheme: ProbeScheme
  readonly port: number
  /** `names`: at each name of the certificate; `caller`: at the address that picked it up. */
  readonly at: 'names' | 'caller' | { readonly host: string }
  /** What is asked for by name there (SNI); by default the host, where it is a name of the certificate, or the first. */
  readonly serverName: string | undefined
}

const pattern =
  /^(?:(?<scheme>[a-z0-9]+):\/\/)?(?:(?<name>[A-Za-z0-9.-]{1,253})@)?(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<host>[A-Za-z0-9.-]{1,253}))?(?::(?<port>\d{1,5}))?$/

/**
 * Reads `host:port`, `smtp://host`, `name@192.0.2.7:443`, `:8443` (each name of the certificate), `caller:443`; `yes` is
 * each name at 443, `no` nowhere.
 * @throws Error saying what can be written
 */
export function parseProbeTarget(value: string): ProbeTarget | 'no' {
  const word = value.toLowerCase()
  if (['no', 'false', 'off'].includes(word)) return 'no'
  if (['yes', 'true', 'on'].includes(word)) return { scheme: 'tls', port: 443, at: 'names', serverName: undefined }
  const refuse = (why: string) => new Error(`${JSON.stringify(value)} ${why}`)
  const parts = pattern.exec(value)?.groups
  if (value === '' || parts === undefined)
    throw refuse('is no place to look at; write www.example.org:443, smtp://mail.example.org, caller:443, yes or no')
  const scheme = parts.scheme ?? 'tls'
  if (!isScheme(scheme)) throw refuse(`begins with none of ${Object.keys(probePorts).join(', ')}`)
  if (parts.port === undefined && parts.scheme === undefined) throw refuse('needs a port, as in www.example.org:443')
  const port = Number(parts.port ?? probePorts[scheme])
  if (port < 1 || port > 65_535) throw refuse('has no usable port')
  if (parts.v6 !== undefined && isIP(parts.v6) !== 6) throw refuse('has no usable address')
  const host = parts.v6 ?? parts.host?.toLowerCase()
  const at = host === undefined ? 'names' : host === 'caller' ? host : { host }
  return { scheme, port, at, serverName: parts.name?.toLowerCase() }
}

function isScheme(text: string): text is ProbeScheme {
  return Object.hasOwn(probePorts, text)
}
