import { isIP } from 'node:net'
import { Command } from 'commander'
import { isWildcard, parseDnsName } from '../acme/identifier.ts'
import { accountThumbprint } from '../acme-client/account-identity.ts'
import type { AuthBlock, Config } from '../config/config.ts'
import { type DnsServer, formatDnsServer } from '../dns/exchange.ts'
import { readRegistrationAt } from '../plugins/issuers/account-directory.ts'
import { coversName } from '../policy/name-pattern.ts'
import { openCaDesk } from './ca-desk.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { createLookAt, type Published } from './published-records.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'
import { type CaView, type WantedRecord, wantedRecords, zoneLine } from './wanted-records.ts'

type Flags = ConfigFlags & {
  readonly config: readonly string[]
  readonly resolver?: string
  readonly check: boolean
  readonly json: boolean
}

type NameView = {
  readonly name: string
  readonly block: string | undefined
  readonly issuer: string
  readonly verification: string | undefined
  readonly method: string | undefined
  readonly records: readonly (WantedRecord & { readonly line: string; readonly published?: Published })[]
}

/** Challenges that a type of verification answers, where the type says so; every DNS provider answers dns-01. */
const methods: Readonly<Record<string, string>> = {
  http01: 'http-01',
  tlsalpn01: 'tls-alpn-01',
  'dns01-server': 'dns-01',
}

/** `acmems dns-records`: what to publish for a name, and what is there. */
export function dnsRecordsCommand(): Command {
  return withConfigFlags(new Command('dns-records'))
    .summary('show which DNS records to publish for names, and what is there')
    .description(
      'Show the DNS records that an administrator should publish for names: the CNAME that delegates their proof to our\nDNS server, the CAA record for our account (RFC 8657), and what drafts offer; and look what is there now.\nExit code 1: a needed record is missing, or a CAA record forbids us.',
    )
    .argument('<name...>', 'names as in a certificate, *.example.org for a wildcard')
    .option('--config <file>', 'a configuration file; repeat it for more', collect, [])
    .option('--resolver <address[:port]>', "ask this DNS resolver (default: the verification's, else the system's)")
    .option('--no-check', 'do not look what is there')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems dns-records www.example.org --config /etc/acmems/acmems.ini\n  acmems dns-records example.org "*.example.org" --resolver 192.0.2.53 --json --config /etc/acmems/acmems.ini',
    )
    .action(showDnsRecords)
}

function collect(value: string, former: string[]): string[] {
  return [...former, value]
}

async function showDnsRecords(names: string[], flags: Flags): Promise<void> {
  const config = await readConfig(flags.config, flags)
  const cas = new Map<string, Promise<CaView>>()
  const views: NameView[] = []
  for (const name of names) views.push(await viewName(name, config, cas, flags))
  if (flags.json) printJson(views)
  else process.stdout.write(views.map(formatName).join('\n'))
  if (views.some(({ records }) => records.some(isWrong))) process.exitCode = 1
}

function isWrong({ published, need, type }: NameView['records'][number]): boolean {
  return published?.ok === false && (need === 'needed' || type === 'CAA')
}

async function viewName(
  text: string,
  config: Config,
  cas: Map<string, Promise<CaView>>,
  flags: Flags,
): Promise<NameView> {
  const identifier = readName(text)
  const block = config.blocks.find(({ values }) => coversName(values.domain, values.wildcard, identifier))
  const issuer = block?.issuer ?? config.defaultIssuer
  const { verification, method, zone, resolver } = verificationOf(config, block)
  const ca = await (cas.get(issuer) ?? remember(cas, issuer, viewCa(config, issuer)))
  const question = { ...ca, wildcard: isWildcard(identifier), method }
  const lookAt = flags.check ? createLookAt(withPort(flags.resolver) ?? resolver) : undefined
  const records = await Promise.all(
    wantedRecords(identifier, ca, method, zone).map(async (record) => {
      const published = await lookAt?.(record, question)
      return { ...record, line: zoneLine(record), ...(published && { published }) }
    }),
  )
  return { name: identifier.value, block: block?.name, issuer, verification, method, records }
}

export function readName(text: string) {
  try {
    return parseDnsName(text.replace(/\.$/, ''))
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : `${text} is no name`)
  }
}

function remember(cas: Map<string, Promise<CaView>>, issuer: string, view: Promise<CaView>): Promise<CaView> {
  cas.set(issuer, view)
  return view
}

function verificationOf(config: Config, block: AuthBlock | undefined) {
  return readVerification(config, block === undefined ? config.defaultVerification : block.verification)
}

/** What a verification answers, and by what names. */
export function readVerification(config: Config, verification: string | undefined) {
  const chosen = verification === undefined ? undefined : config.verifications.get(verification)
  const method = chosen?.plugin.kind === 'dns' ? 'dns-01' : methods[chosen?.plugin.name ?? '']
  const { zone, resolver } = chosen?.options ?? {}
  const [server] = Array.isArray(resolver) ? (resolver as readonly DnsServer[]) : []
  return {
    verification,
    method,
    zone: chosen?.plugin.name === 'dns01-server' && typeof zone === 'string' ? zone : undefined,
    resolver:
      typeof resolver === 'string' ? resolver : server && isIP(server.host) !== 0 ? formatDnsServer(server) : undefined,
  }
}

/** The account as it was registered; the CA is asked for what it offers, and may be away. */
async function viewCa(config: Config, issuerName: string): Promise<CaView> {
  const none: CaView = { identities: [], persist: undefined, accountUrl: undefined, thumbprint: undefined }
  if (config.issuers.get(issuerName)?.plugin.name !== 'acme') return none
  await using desk = await openCaDesk(config, issuerName)
  const { settings, transport, context, openKey } = desk
  const registration = await readRegistrationAt(settings.folder, settings.directoryUrl)
  const key = await openKey(settings.keyLocation ?? `file:${settings.folder.keyFile}`).catch(() => undefined)
  const directory = await transport.directory(context).catch((error: unknown) => {
    context.log.warn('the CA cannot be asked what it offers', { error })
    return undefined
  })
  if (registration === undefined)
    context.log.warn('there is no account yet: the records are without it; see acmems register', { issuer: issuerName })
  return {
    identities: directory?.caaIdentities ?? [],
    persist: directory?.persist,
    accountUrl: registration?.uri,
    thumbprint: key === undefined ? undefined : await accountThumbprint(key),
  }
}

function withPort(resolver: string | undefined): string | undefined {
  if (resolver === undefined) return undefined
  if (/^\[[0-9a-fA-F:.]+\](:\d{1,5})?$|^\d+\.\d+\.\d+\.\d+(:\d{1,5})?$/.test(resolver)) return resolver
  if (/^[0-9a-fA-F:]+$/.test(resolver)) return `[${resolver}]`
  throw new UsageError(
    `${JSON.stringify(resolver)} is no address of a resolver; write 192.0.2.53 or [2001:db8::53]:5353`,
  )
}

function formatName({ name, block, issuer, verification, method, records }: NameView): string {
  const how = verification === undefined ? 'no verification' : `verification "${verification}" (${method ?? 'its own'})`
  const who = block === undefined ? 'no auth block covers it' : `auth block "${block}"`
  const lines = records.flatMap(({ line, need, why, published }) => [
    `  ${line}`,
    `    ${need}: ${why}`,
    ...(published === undefined ? [] : [`    ${published.finding}`]),
  ])
  const nothing = records.length === 0 ? ['  nothing to publish'] : []
  return `${[`${name}: ${who}, issuer "${issuer}", ${how}`, ...lines, ...nothing].join('\n')}\n`
}
