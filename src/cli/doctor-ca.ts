import { lookup } from 'node:dns/promises'
import type { Identifier } from '../acme/identifier.ts'
import { asProblemError } from '../acme/problem.ts'
import { availableAtMs } from '../acme/rate-limit.ts'
import type { Config } from '../config/config.ts'
import type { OptionValues } from '../plugin-api.ts'
import { readRegistrationAt } from '../plugins/issuers/account-directory.ts'
import type { acmeOptions } from '../plugins/issuers/acme-plugin.ts'
import { bucketsOf, limitMeanings, rateLimitsOf } from '../plugins/issuers/rate-limits.ts'
import { isPublicAddress } from '../self-check/public-address.ts'
import { openCaDesk } from './ca-desk.ts'
import type { DoctorFinding } from './doctor-finding.ts'
import type { Desk } from './open-installation.ts'
import { formatSecond } from './table.ts'

/** The CA as it is met now, and our account there. */
export type IssuerView = {
  readonly directoryUrl: string
  /** Why it cannot be asked. */
  readonly trouble: string | undefined
  readonly identities: readonly string[]
  readonly accountUrl: string | undefined
  readonly makesAccount: boolean
  /** It is not on the Internet, so it may get to what is not there either. */
  readonly isOwn: boolean
}

/** @returns undefined for an issuer that is no ACME CA: it asks nobody about names */
export async function viewIssuer(config: Config, issuer: string): Promise<IssuerView | undefined> {
  if (config.issuers.get(issuer)?.plugin.name !== 'acme') return undefined
  try {
    return await askIssuer(config, issuer)
  } catch (error) {
    // A file of roots that is not there, say.
    const directoryUrl = String(config.issuers.get(issuer)?.options['acme-server'])
    const trouble = error instanceof Error ? error.message : 'it cannot be opened'
    return { directoryUrl, trouble, identities: [], accountUrl: undefined, makesAccount: false, isOwn: false }
  }
}

async function askIssuer(config: Config, issuer: string): Promise<IssuerView> {
  await using desk = await openCaDesk(config, issuer)
  const { settings, transport, context } = desk
  const { directoryUrl } = settings
  const registration = await readRegistrationAt(settings.folder, directoryUrl).catch(() => undefined)
  const asked = await transport.directory(context).catch((error: unknown) => asProblemError(error))
  return {
    directoryUrl,
    trouble: asked instanceof Error ? asked.message : undefined,
    identities: asked instanceof Error ? [] : (asked.caaIdentities ?? []),
    accountUrl: registration?.uri,
    makesAccount: settings.acceptedTerms.length > 0,
    isOwn: await isInside(new URL(directoryUrl).hostname.replace(/^\[|\]$/g, '')),
  }
}

async function isInside(host: string): Promise<boolean> {
  const found = await lookup(host, { all: true }).catch(() => [])
  return found.length > 0 && found.every(({ address }) => !isPublicAddress(address))
}

export function judgeIssuer(
  issuer: string,
  view: IssuerView | undefined,
  fallback: string | undefined,
): DoctorFinding[] {
  if (view === undefined)
    return [{ topic: 'CA', verdict: 'note', says: `the issuer "${issuer}" is no ACME CA: it proves no names` }]
  const { directoryUrl, trouble, accountUrl, makesAccount } = view
  if (trouble !== undefined) {
    const says = `${directoryUrl} cannot be asked: ${trouble}`
    const advice =
      fallback === undefined
        ? 'see that this machine gets there, and that it trusts its certificate (ca-file)'
        : `the issuer "${fallback}" is asked in its place`
    return [{ topic: 'CA', verdict: fallback === undefined ? 'fails' : 'note', says, advice }]
  }
  if (accountUrl !== undefined)
    return [{ topic: 'CA', verdict: 'good', says: `${directoryUrl}, account ${accountUrl}` }]
  if (makesAccount)
    return [{ topic: 'CA', verdict: 'good', says: `${directoryUrl}; the account will be made when it is first needed` }]
  const says = `there is no account at ${directoryUrl}`
  return [{ topic: 'CA', verdict: 'fails', says, advice: 'make one: acmems register' }]
}

/** Is there room for an order of this one name? By the ledger of the state; the CA is not asked. */
export async function judgeLimits(
  { state, clock, config }: Desk,
  issuer: string,
  view: IssuerView,
  identifier: Identifier,
): Promise<DoctorFinding[]> {
  const nowMs = clock.nowMs()
  const issuerKey = `acme:${view.directoryUrl}`
  const options = config.issuers.get(issuer)?.options as OptionValues<typeof acmeOptions>
  const limits = rateLimitsOf(options, view.directoryUrl)
  const { orders, certificates, failures } = bucketsOf(
    limits,
    issuerKey,
    view.accountUrl ?? '',
    [identifier],
    'nothing',
  )
  const wanted = [...orders, ...certificates, ...failures]
  const stored = await state.rates.list(nowMs)
  const short = stored.flatMap(({ bucket, fullAtMs }): DoctorFinding[] => {
    const isWanted = wanted.some(({ limit, subject }) => limit === bucket.limit && subject === bucket.subject)
    const isTold = bucket.limit === 'told' && bucket.subject === identifier.value
    if (bucket.issuerKey !== issuerKey || (!isWanted && !isTold)) return []
    const freeAtMs = isTold ? fullAtMs : availableAtMs(bucket, fullAtMs, nowMs, 0)
    if (freeAtMs <= nowMs) return []
    const what = limitMeanings[bucket.limit] ?? bucket.limit
    const says = `${what} (${bucket.subject}): used up until ${formatSecond(freeAtMs)}`
    const advice = 'wait until then; "acmems limits" shows them all, "acmems orders list" what used them up'
    return [{ topic: 'limits', verdict: 'fails', says, advice }]
  })
  const outages = (await state.outages.list()).filter((one) => one.issuerKey === issuerKey && one.untilMs > nowMs)
  return [
    ...(short.length > 0 ? short : [{ topic: 'limits', verdict: 'good', says: 'there is room for an order' } as const]),
    ...outages.map(({ untilMs, reason }): DoctorFinding => {
      const says = `the CA did not work and is tried again at ${formatSecond(untilMs)}: ${reason}`
      return { topic: 'CA', verdict: 'note', says }
    }),
  ]
}
