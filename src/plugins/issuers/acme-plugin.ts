import { join } from 'node:path'
import { createTransport } from '../../acme-client/transport.ts'
import type { HttpClient, Issuer, Option, Plugin } from '../../plugin-api.ts'
import { parseYesOr } from '../option-values.ts'
import { accountDirectory } from './account-directory.ts'
import { createAcmeIssuer } from './acme.ts'
import { type AccountSettings, createAccountHolder } from './acme-account.ts'
import { rateLimitOptions, rateLimitsOf } from './rate-limits.ts'

export const stagingDirectoryUrl = 'https://acme-staging-v02.api.letsencrypt.org/directory'

const text = (meaning: string, type = 'text'): Option<string> => ({ meaning, type, parse: String })

export const acmeOptions = {
  'acme-server': {
    meaning: "the CA's directory",
    type: 'URL',
    default: stagingDirectoryUrl,
    parse: parseDirectoryUrl,
  },
  dir: text('folder of account.pem and registration.json (default: "account" beside the state)', 'path'),
  'accept-terms-of-service': {
    meaning: "yes, or the address of the CA's terms that you agree to; the account is then made at first start",
    type: 'yes or URL',
    list: true,
    parse: parseYesOr((value) => new URL(value).href),
  },
  contact: {
    meaning: 'where the CA may write to',
    type: 'mail address',
    list: true,
    parse: parseContact,
  },
  'eab-kid': text('external account binding: key identifier, as the CA gave it'),
  'eab-hmac-key': {
    meaning: 'external account binding: MAC key (base64url)',
    type: 'text',
    secret: true,
    parse: parseBase64Url,
  },
  key: text(
    'where the account key is: file:/path, accountd:/socket, exec:ssh -T host acmems accountd --stdio, or ssh-agent:KEY (default: account.pem in dir)',
    'key location',
  ),
  'ca-file': text("PEM file with the roots to trust for the CA's own TLS certificate", 'path'),
  profile: text('certificate profile to ask for, if the CA offers it'),
  'preferred-chain': text('common name of the root that the chain should lead to, if the CA offers it'),
  ...rateLimitOptions,
} as const satisfies Record<string, Option<unknown>>

/** `type = acme`: a CA that speaks RFC 8555. */
export const acmeIssuer: Plugin<'issuer', typeof acmeOptions> = {
  kind: 'issuer',
  name: 'acme',
  meaning: 'a CA that speaks ACME (RFC 8555)',
  options: acmeOptions,
  check(options) {
    accountSettings(options, '')
  },
  async create(options, setup) {
    const http = await setup.httpClient(options['ca-file'])
    const transport = createTransport(options['acme-server'], setup.userAgent, () => setup.clock.nowMs())
    const settings = accountSettings(options, defaultAccountFolder(setup.stateFolder, setup.section))
    const issuer = createAcmeIssuer(
      {
        directoryUrl: options['acme-server'],
        profile: options.profile,
        preferredChain: options['preferred-chain'],
        limits: rateLimitsOf(options, options['acme-server']),
      },
      transport,
      createAccountHolder(settings, transport, (location) => setup.openAccountKey(location)),
      setup.rates,
    )
    return withHttpClient(issuer, http)
  },
}

/** The CA is reached with the client that trusts its `ca-file`, whatever client the caller has. */
function withHttpClient(issuer: Issuer, http: HttpClient): Issuer {
  const { renewalInfo, revoke, timeMs, prepare, abandon } = issuer
  return {
    key: issuer.key,
    advance: (grant, progress, resumed, given) => issuer.advance(grant, progress, resumed, { ...given, http }),
    ...(abandon && { abandon: (progress, given) => abandon(progress, { ...given, http }) }),
    ...(renewalInfo && { renewalInfo: (der, given) => renewalInfo(der, { ...given, http }) }),
    ...(revoke && { revoke: (revocation, given) => revoke(revocation, { ...given, http }) }),
    ...(timeMs && { timeMs: (given) => timeMs({ ...given, http }) }),
    ...(prepare && { prepare: (given) => prepare({ ...given, http }) }),
  }
}

export function defaultAccountFolder(stateFolder: string, issuerName: string): string {
  return join(stateFolder, issuerName === 'default' ? 'account' : `account-${issuerName}`)
}

export function accountSettings(
  options: {
    readonly 'acme-server': string
    readonly dir: string | undefined
    readonly key: string | undefined
    readonly 'accept-terms-of-service': readonly string[]
    readonly contact: readonly string[]
    readonly 'eab-kid': string | undefined
    readonly 'eab-hmac-key': string | undefined
  },
  defaultFolder: string,
): AccountSettings {
  const { 'eab-kid': kid, 'eab-hmac-key': macKey } = options
  if ((kid === undefined) !== (macKey === undefined))
    throw new Error('eab-kid and eab-hmac-key belong together: give both or none')
  return {
    directoryUrl: options['acme-server'],
    folder: accountDirectory(options.dir ?? defaultFolder),
    keyLocation: options.key,
    acceptedTerms: options['accept-terms-of-service'],
    contact: options.contact,
    binding: kid === undefined || macKey === undefined ? undefined : { kid, macKey },
  }
}

/** Retired ACME v1 addresses mean today's: what was configured then must go on working. */
function parseDirectoryUrl(value: string): string {
  const url = new URL(value)
  if (url.hostname === 'acme-v01.api.letsencrypt.org') return 'https://acme-v02.api.letsencrypt.org/directory'
  if (url.hostname === 'acme-staging.api.letsencrypt.org') return stagingDirectoryUrl
  // RFC 8555 §6.1 wants HTTPS; a test CA on this machine may do without.
  const loopback = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback))
    throw new Error('a CA is reached over https://')
  return url.href
}

function parseContact(value: string): string {
  const address = value.replace(/^mailto:/, '')
  if (!/^[^\s@,?]+@[^\s@,?]+$/.test(address)) throw new Error(`${JSON.stringify(value)} is no mail address`)
  return `mailto:${address}`
}

function parseBase64Url(value: string): string {
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(value)) throw new Error('not base64url')
  return value
}
