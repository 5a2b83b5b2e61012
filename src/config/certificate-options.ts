import { type Identifier, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import type { Option, OptionValues } from '../plugin-api.ts'
import { parseAbsolutePath, parseDays, parseSeconds, parseYesNo } from '../plugins/option-values.ts'
import { parseProbeTarget } from '../probe/probe-target.ts'
import { type CsrDigest, csrDigests, type KeyUsageName, keyUsages } from '../x509/csr-draft.ts'
import { type KeyType, keyTypes } from '../x509/private-key.ts'

const text = (meaning: string, type = 'text'): Option<string> => ({ meaning, type, parse: String })
const path = (meaning: string): Option<string> => ({ meaning, type: 'path', parse: parseAbsolutePath })

/** `[certificate "name"]`: a certificate that this machine keeps for itself, or for another that cannot ask. */
export const certificateOptions = {
  domain: { meaning: 'a name of the certificate', type: 'name', list: true, parse: parseDnsName },
  'ip-address': { meaning: 'an address of the certificate', type: 'address', list: true, parse: parseIpAddress },
  'key-type': { meaning: keyTypes.join(', '), type: 'word', default: 'ec-256', parse: parseKeyType },
  'reuse-key': {
    meaning: 'yes: a renewal keeps the key; no: every certificate has a key of its own',
    type: 'yes or no',
    default: 'no',
    parse: parseYesNo,
  },
  directory: path('a link to a folder of all files, changed as one: privkey.pem, cert.pem, chain.pem, fullchain.pem'),
  key: path('where the private key goes'),
  certificate: path('where the certificate goes'),
  chain: path('where the certificates of the CA go, without the first'),
  fullchain: path('where the certificate and those of the CA go'),
  pkcs12: path('where all of it goes as one PKCS #12 file; needs pkcs12-password'),
  'pkcs12-password': { ...text('the password of the PKCS #12 file'), secret: true },
  owner: { meaning: 'whose the files are: user or user:group', type: 'user', parse: parseOwner },
  mode: { meaning: 'mode of the files without the key', type: 'octal', default: '0644', parse: parseMode },
  'key-mode': { meaning: 'mode of the files with the key', type: 'octal', default: '0600', parse: parseMode },
  hook: text(
    'what /bin/sh runs after the files changed; once for all certificates that name it; what it is about is in ACMEMS_CERTIFICATES, ACMEMS_NAMES, …',
    'command',
  ),
  check: text('what /bin/sh runs before the hook: if it fails, the former files come back', 'command'),
  'hook-timeout': { meaning: 'how long hook or check may take', type: 'seconds', default: '120', parse: parseSeconds },
  'ca-file': path('roots in PEM: a certificate that leads to none of them is not installed'),
  recipient: path('a public key in PEM: the private key is sealed to it, and the box is fetched from /box/NAME'),
  auth: text('the [auth] block whose callers may fetch the box', 'name'),
  box: {
    meaning: 'a sealed box of this name is fetched from the issuer, another acmems, which has made the key',
    type: 'name',
    parse: parseBoxName,
  },
  'box-key': path('the private key that the box is sealed to (default: the one that requests are signed with)'),
  'box-interval': {
    meaning: 'how often to look whether there is a newer box, 60 at least; more often once it should be there',
    type: 'seconds',
    default: '3600',
    parse: parseInterval,
  },
  subject: text('the subject of the request, like /CN=www.example.org/O=Example (default: none)'),
  'key-usage': { meaning: keyUsages.join(', '), type: 'word', list: true, parse: parseKeyUsage },
  'must-staple': {
    meaning: 'yes: ask for TLS feature status_request',
    type: 'yes or no',
    default: 'no',
    parse: parseYesNo,
  },
  digest: { meaning: `of the request's signature: ${csrDigests.join(', ')}`, type: 'word', parse: parseDigest },
  'renew-within': { meaning: 'renew when less than this is left', type: 'days', parse: parseDays },
  verification: text('how names are proven (default: default-verification)', 'name'),
  issuer: text('who issues (default: default-issuer)', 'name'),
  profile: text('certificate profile to ask for, if the CA offers it'),
  probe: {
    meaning:
      'where it is looked after the hook, and daily, whether the certificate is served: host:port, smtp://host, name@host:port; yes: its names at 443; with a recipient also caller:port',
    type: 'place',
    list: true,
    parse: parseProbeTarget,
  },
} as const satisfies Record<string, Option<unknown>>

export type CertificateValues = OptionValues<typeof certificateOptions>

export type Owner = { readonly user: string; readonly group: string | undefined }

/** Every name and address. */
export function identifiersOf(values: CertificateValues): Identifier[] {
  return [...values.domain, ...values['ip-address']]
}

/** It stands in a URL, where it must need no escapes. */
function parseBoxName(value: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(value))
    throw new Error(`${JSON.stringify(value)} is no name of letters, digits, dots, hyphens and underscores`)
  return value
}

function parseInterval(value: string): number {
  const seconds = parseSeconds(value)
  if (seconds < 60) throw new Error(`${JSON.stringify(value)} is less than 60 seconds`)
  return seconds
}

function parseKeyType(value: string): KeyType {
  return oneOf(value, keyTypes)
}

function parseDigest(value: string): CsrDigest {
  return oneOf(value, csrDigests)
}

/** One, or several with commas between, as openssl has them. */
function parseKeyUsage(value: string): readonly KeyUsageName[] {
  return value.split(',').map((word) => oneOf(word.trim(), keyUsages))
}

function oneOf<Word extends string>(value: string, words: readonly Word[]): Word {
  const word = words.find((candidate) => candidate.toLowerCase() === value.toLowerCase())
  if (word === undefined) throw new Error(`${JSON.stringify(value)} is none of ${words.join(', ')}`)
  return word
}

function parseMode(value: string): number {
  if (!/^0?[0-7]{3}$/.test(value)) throw new Error(`${JSON.stringify(value)} is no mode like 0640`)
  return Number.parseInt(value, 8)
}

/** A user without a group means the user's own. @throws Error when it is neither */
export function parseOwner(value: string): Owner {
  const match = /^([A-Za-z0-9_][\w.$-]{0,31})?(?::([A-Za-z0-9_][\w.$-]{0,31}))?$/.exec(value)
  if (match?.[1] === undefined) throw new Error(`${JSON.stringify(value)} is no user or user:group`)
  return { user: match[1], group: match[2] }
}
