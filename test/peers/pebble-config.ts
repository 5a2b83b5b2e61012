// What a test may want of Pebble, and how Pebble is told. Its defaults are rude on purpose and are kept.
import type { TlsIdentity } from './tls-identity.ts'

export type PebbleOptions = {
  /** The port at which it asks for http-01 answers; a free one otherwise. */
  readonly httpPort?: number
  /** The port at which it asks for tls-alpn-01 answers; a free one otherwise. */
  readonly tlsPort?: number
  /** `host:port` of the DNS that it asks, instead of challtestsrv. */
  readonly dnsServer?: string
  /** Per cent of good nonces that it refuses. */
  readonly nonceReject?: number
  /** Per cent of valid authorizations that it puts into a new order again. */
  readonly authzReuse?: number
  /** Whether it waits a random time before it validates, as a busy CA does. */
  readonly sleep?: boolean
  /** The wait is a whole number of seconds below this, so 1 means none; Pebble's own is 5. */
  readonly sleepTimeSeconds?: number
  /** Says valid to every challenge without asking anybody. */
  readonly alwaysValid?: boolean
  readonly alternateRoots?: number
  /** Intermediates between leaf and root. */
  readonly chainLength?: number
  readonly strict?: boolean
  /** Makes external account binding a must: key id -> base64url HMAC key. */
  readonly eab?: Readonly<Record<string, string>>
  /** Since 2.10 (before, not in the directory and ignored). An order that names none gets one of them at random. */
  readonly profiles?: Readonly<Record<string, { readonly description: string; readonly validityPeriodSeconds: number }>>
  /**
   * In seconds. Absent or 0 (as here by default): Pebble sends no Retry-After at all, and a client is on its own. More:
   * 2.6 and later send it with a pending authorization and a processing order, also in the answer to finalize, never
   * with a challenge; at random as seconds or as an HTTP date. Asking earlier is not punished. 2.4.0 never sends it.
   */
  readonly retryAfter?: { readonly authz: number; readonly order: number }
  /** Names refused with rejectedIdentifier, also everything below them. */
  readonly domainBlocklist?: readonly string[]
  /** What it is called in CAA records, which it tells in its directory (since 2.10) and looks for. */
  readonly caaIdentities?: readonly string[]
  /** Of every certificate, or of those of the profile `default` where there are profiles. */
  readonly validityPeriodSeconds?: number
  /** Of its CA's keys. Here `ecdsa` when nothing is said: two or more RSA keys cost half a second at every start. */
  readonly keyAlgorithm?: 'rsa' | 'ecdsa'
}

export type PebblePorts = {
  readonly acme: number
  readonly management: number
  readonly http: number
  readonly tls: number
}

/** The JSON configuration. Every version ignores keys that it does not know, so one text serves all. */
export function renderPebbleConfig(options: PebbleOptions, ports: PebblePorts, identity: TlsIdentity): string {
  const { validityPeriodSeconds, profiles } = options
  const ownProfiles = Object.entries(profiles ?? {}).map(
    ([name, { description, validityPeriodSeconds: validityPeriod }]) =>
      [name, { description, validityPeriod }] as const,
  )
  const defaultProfile =
    validityPeriodSeconds === undefined
      ? []
      : [['default', { description: 'the usual', validityPeriod: validityPeriodSeconds }] as const]
  const allProfiles = [...defaultProfile, ...ownProfiles]
  return JSON.stringify({
    pebble: {
      listenAddress: `127.0.0.1:${ports.acme}`,
      managementListenAddress: `127.0.0.1:${ports.management}`,
      certificate: identity.certificateFile,
      privateKey: identity.keyFile,
      httpPort: ports.http,
      tlsPort: ports.tls,
      ocspResponderURL: '',
      externalAccountBindingRequired: options.eab !== undefined,
      externalAccountMACKeys: options.eab ?? {},
      domainBlocklist: options.domainBlocklist ?? [],
      ...(options.caaIdentities === undefined ? {} : { caaIdentities: options.caaIdentities }),
      ...(options.retryAfter === undefined ? {} : { retryAfter: options.retryAfter }),
      keyAlgorithm: options.keyAlgorithm ?? 'ecdsa',
      ...(allProfiles.length === 0 ? {} : { profiles: Object.fromEntries(allProfiles) }),
      // Before there were profiles, the one validity had a key of its own.
      ...(validityPeriodSeconds === undefined ? {} : { certificateValidityPeriod: validityPeriodSeconds }),
    },
  })
}

/** Pebble takes the rest from its environment. */
export function makePebbleEnv(options: PebbleOptions): Record<string, string> {
  const flag = (name: string, value: number | boolean | undefined): [string, string][] =>
    value === undefined || value === false ? [] : [[name, value === true ? '1' : String(value)]]
  return Object.fromEntries([
    ...flag('PEBBLE_WFE_NONCEREJECT', options.nonceReject ?? 5),
    ...flag('PEBBLE_AUTHZREUSE', options.authzReuse ?? 50),
    ...flag('PEBBLE_VA_NOSLEEP', options.sleep !== true),
    ...flag('PEBBLE_VA_SLEEPTIME', options.sleepTimeSeconds),
    ...flag('PEBBLE_VA_ALWAYS_VALID', options.alwaysValid),
    ...flag('PEBBLE_ALTERNATE_ROOTS', options.alternateRoots),
    ...flag('PEBBLE_CHAIN_LENGTH', options.chainLength),
  ])
}
