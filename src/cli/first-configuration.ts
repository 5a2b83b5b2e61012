import { isIP } from 'node:net'
import { join } from 'node:path'
import { type Identifier, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import { acmeOptions, stagingDirectoryUrl } from '../plugins/issuers/acme-plugin.ts'
import { parseTcpListener } from '../plugins/option-values.ts'

/** What a first configuration needs to know. */
export type FirstAnswers = {
  readonly server: Identifier
  readonly listeners: readonly string[]
  /** Its directory. */
  readonly ca: string
  readonly emails: readonly string[]
  readonly termsAreAccepted: boolean
}

/** What can be said in place of a directory's address. */
export const knownCas: Readonly<Record<string, string>> = {
  letsencrypt: 'https://acme-v02.api.letsencrypt.org/directory',
  'letsencrypt-staging': stagingDirectoryUrl,
}

export const usualListeners = '0.0.0.0:1313 [::]:1313'
const usualPort = '1313'

/** @throws Error with a sentence for whoever answered */
export function readServerName(text: string): Identifier {
  const server = isIP(text) === 0 ? parseDnsName(text) : parseIpAddress(text)
  if (server.value.startsWith('*.')) throw new Error(`${text} is a wildcard, and no name of a server`)
  if (server.type === 'dns' && !server.value.includes('.'))
    throw new Error(`${text} is known in your own network at most; a CA wants a name like acmems.example.org`)
  return server
}

/** Addresses with blanks between. @throws Error with a sentence for whoever answered */
export function readListeners(text: string): string[] {
  const listeners = text.split(/\s+/).filter(Boolean).map(parseTcpListener)
  if (listeners.length === 0) throw new Error(`give an address and a port, like ${usualListeners}`)
  return [...new Set(listeners)]
}

/** @throws Error with a sentence for whoever answered */
export function readCa(text: string): string {
  const url = knownCas[text.toLowerCase()] ?? text
  if (!URL.canParse(url)) throw new Error(`${text} is none of ${Object.keys(knownCas).join(', ')}, and no address`)
  return acmeOptions['acme-server'].parse(url)
}

/** Mail addresses with blanks between, or nothing. @throws Error with a sentence for whoever answered */
export function readEmails(text: string): string[] {
  const words = text.split(/\s+/).filter(Boolean)
  for (const word of words) acmeOptions.contact.parse(word)
  return words
}

/** The configuration, which a server can start with as it is. @param stateFolder where it keeps what it knows, whoever runs it */
export function firstConfiguration(answers: FirstAnswers, stateFolder: string): string {
  const { server, listeners, ca, emails, termsAreAccepted } = answers
  return `# Written by acmems init. acmems config-reference lists everything that can stand here.

[state]
url = sqlite:${join(stateFolder, 'state.db')}

[mgmt]
${listeners.map((listener) => `listener = ${listener}`).join('\n')}
tls = managed acmems
# What hosts call this server: signed requests must be for it.
public-name = ${publicNameOf(answers)}

# The server's own certificate. Until the CA has issued it, a self-signed one stands in.
[certificate "acmems"]
${server.type === 'dns' ? 'domain' : 'ip-address'} = ${server.value}
directory = ${join(stateFolder, 'tls')}
reuse-key = yes
verification = http

[account]
acme-server = ${ca}
${emails.map((email) => `contact = ${email}\n`).join('')}${termsAreAccepted ? 'accept-terms-of-service = yes' : '# accept-terms-of-service = yes   # not yet: acmems register shows them'}

# Port 80 of every name must lead here: docs/reverse-proxies.md. Without a web server: listener = 0.0.0.0:80
[verification "http"]
type = http01
listener = 0.0.0.0:1380
listener = [::]:1380

# Who may have what. acmems enroll hosts makes the line that lets a host in.
# [auth "hosts"]
# enroll = yes
# domain = *.example.org
`
}

function publicNameOf({ server, listeners }: FirstAnswers): string {
  const host = server.value.includes(':') ? `[${server.value}]` : server.value
  const port = /:(\d+)$/.exec(listeners[0] ?? '')?.[1] ?? usualPort
  return port === '443' ? host : `${host}:${port}`
}
