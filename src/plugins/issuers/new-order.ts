import { sameIdentifiers } from '../../acme/identifier.ts'
import type { Order } from '../../acme/order.ts'
import { asProblemError, ProblemError } from '../../acme/problem.ts'
import type { RateBucket } from '../../acme/rate-limit.ts'
import { fetchAccount, listOrders } from '../../acme-client/accounts.ts'
import { createOrder, fetchOrder, type NewOrder } from '../../acme-client/orders.ts'
import type { AcmeTransport } from '../../acme-client/transport.ts'
import type { Grant, IssuerContext, RateLedger } from '../../plugin-api.ts'
import { certificateId } from '../../x509/certificate-id.ts'
import type { UsableAccount } from './acme-account.ts'
import { bucketsOf, limitMeanings, type OrderBuckets, type RateLimits, reserveForUrgent } from './rate-limits.ts'

/** What is needed to place an order. */
export type OrderPlace = {
  readonly issuerKey: string
  readonly profile: string | undefined
  readonly limits: RateLimits
  readonly rates: RateLedger
  /** By key and names: did a request for an order leave whose outcome is not known? */
  readonly sent: Map<string, boolean>
}

export type Placing = {
  readonly place: OrderPlace
  readonly grant: Grant
  readonly account: UsableAccount
  readonly transport: AcmeTransport
  readonly context: IssuerContext
  /** The CA's time, as far as it is known. */
  readonly caNowMs: number
}

/** What must be given back when no certificate, or no failure, comes of an order. */
export type TakenRates = { readonly certificates: readonly RateBucket[]; readonly failures: readonly RateBucket[] }

export type PlacedOrder = { readonly order: Order; readonly taken: TakenRates; readonly note: string }

const maxOrderPages = 100
const maxOrdersLookedAt = 20
const maxSent = 10_000

/**
 * RFC 8555 §7.4, with `replaces` (RFC 9773 §5) and the profile where the CA knows them, and within its rate limits.
 * @param maybePlaced an earlier attempt may have placed it and never got the answer
 */
export async function placeOrder(placing: Placing, maybePlaced: boolean): Promise<PlacedOrder> {
  const { place, grant, account, context } = placing
  const none: TakenRates = { certificates: [], failures: [] }
  const lost = maybePlaced && mayBeLost(place, grant) ? await findLostOrder(placing) : undefined
  if (lost !== undefined) return { order: lost, taken: none, note: `order found again: ${lost.url} (${lost.status})` }
  const replaces = await replacedCertificate(placing)
  const exempt = replaces !== undefined ? 'asked by the CA' : context.predecessorDer ? 'same names' : 'nothing'
  const buckets = bucketsOf(place.limits, place.issuerKey, account.accountUrl, grant.csr.identifiers, exempt)
  await refuseIfTold(placing)
  await takeRates(placing, buckets)
  const profile = await offeredProfile(placing)
  const plain: NewOrder = {
    identifiers: grant.csr.identifiers,
    ...(profile === undefined ? {} : { profile }),
  }
  const taken: TakenRates = { certificates: buckets.certificates, failures: buckets.failures }
  try {
    noteSent(place, grant, true)
    const order = await createWith(placing, plain, replaces)
    noteSent(place, grant, false)
    return { order, taken, note: `order made: ${order.url} (${order.status})` }
  } catch (error) {
    const problem = asProblemError(error)
    if (isDefinite(problem)) noteSent(place, grant, false)
    // A CA that says that there is nothing left knows better than our ledger.
    const unused = problem.code === 'rateLimited' ? [] : [...buckets.orders, ...taken.certificates]
    // What the CA said is not hidden by a ledger that cannot be written.
    const tell = (cause: unknown) => context.log.warn('the rate ledger could not be written', { error: cause })
    await ratesFor(placing)
      .giveBack([...unused, ...taken.failures])
      .catch(tell)
    await noteRefusal(placing, problem).catch(tell)
    throw asOwnAffair(problem)
  }
}

/** Only a request that left and was not plainly refused can have made an order; what another process did, nobody knows. */
function mayBeLost({ sent }: OrderPlace, grant: Grant): boolean {
  return sent.get(sentKey(grant)) ?? true
}

/** @param isOpen a request for an order is under way, or its outcome is not known */
export function noteSent({ sent }: OrderPlace, grant: Grant, isOpen: boolean): void {
  if (sent.size >= maxSent) sent.clear()
  sent.set(sentKey(grant), isOpen)
}

function sentKey({ csr }: Grant): string {
  return `${csr.publicKeyHash} ${csr.identifiers.map(({ value }) => value).join(' ')}`
}

/** The CA has understood the request and made nothing of it. */
function isDefinite({ retry, code }: ProblemError): boolean {
  return retry.when === 'never' || code === 'rateLimited'
}

/** A CA that does not take `replaces` is asked once without: it must not stand in the way of a renewal (RFC 9773 §5). */
async function createWith(placing: Placing, plain: NewOrder, replaces: string | undefined): Promise<Order> {
  const { account, transport, context } = placing
  try {
    const request = replaces === undefined ? plain : { ...plain, replaces }
    return (await createOrder(transport, account, request, context)).order
  } catch (error) {
    const { code, retry, message, isFromCa } = asProblemError(error)
    if (code === 'invalidProfile' && plain.profile !== undefined) {
      context.log.warn('the CA refuses the profile; ordering without it', { profile: plain.profile, reason: message })
      const { profile: _, ...rest } = plain
      return await createWith(placing, rest, replaces)
    }
    const refused =
      retry.when === 'never' && (code === 'alreadyReplaced' || code === 'malformed' || code === 'unauthorized')
    // Some CAs fail inside over a predecessor that they cannot find; where an answer was lost there may be an order.
    const mayBeReplaces = refused || (code === 'serverInternal' && isFromCa)
    if (replaces === undefined || !mayBeReplaces) throw error
    context.log.info('the CA does not take the order as a replacement; ordering without', { reason: message })
    return (await createOrder(transport, account, plain, context)).order
  }
}

async function replacedCertificate({ transport, context }: Placing): Promise<string | undefined> {
  if (context.predecessorDer === undefined) return undefined
  const { renewalInfoUrl } = await transport.directory(context)
  return renewalInfoUrl === undefined ? undefined : certificateId(context.predecessorDer)
}

async function offeredProfile({ place, grant, transport, context }: Placing): Promise<string | undefined> {
  const wanted = grant.profile ?? place.profile
  if (wanted === undefined) return undefined
  const { profiles } = await transport.directory(context)
  if (profiles.has(wanted)) return wanted
  context.log.warn('the CA does not offer the profile; ordering without it', {
    profile: wanted,
    offered: [...profiles.keys()],
  })
  return undefined
}

/**
 * The one hole in ACME: an order whose address never reached us. Where the account lists its orders (RFC 8555
 * §7.1.2.1) it is found there; where not, a CA that gives the same open order again closes it for us.
 */
async function findLostOrder({ grant, account, transport, context, caNowMs }: Placing): Promise<Order | undefined> {
  try {
    const { ordersUrl } = await fetchAccount(transport, account, context)
    if (ordersUrl === undefined) return undefined
    const urls = await listOrders(transport, account, ordersUrl, context, maxOrderPages)
    for (const url of urls.slice(-maxOrdersLookedAt).reverse()) {
      if (await context.isOrderInUse?.(url)) continue
      const { order } = await fetchOrder(transport, account, url, context)
      const open = order.status === 'pending' || order.status === 'ready'
      const lasting = order.expiresAtMs === undefined || order.expiresAtMs > caNowMs
      if (open && lasting && sameIdentifiers(order.identifiers, grant.csr.identifiers)) return order
    }
  } catch (error) {
    const problem = asProblemError(error)
    // A CA that cannot be asked now would not take an order either; one that will not tell leaves the hole open.
    if (problem.retry.when !== 'never' || problem.code === 'accountDoesNotExist') throw error
    context.log.debug('the CA does not list its orders', { reason: problem.message })
  }
  return undefined
}

/** Who is not recorded is counted under other names. */
export function ratesFor({ place, grant }: Pick<Placing, 'place' | 'grant'>): RateLedger {
  return grant.unrecorded === true ? (place.rates.unrecorded ?? place.rates) : place.rates
}

async function takeRates(placing: Placing, buckets: OrderBuckets): Promise<void> {
  const { context } = placing
  const wanted = [...buckets.orders, ...buckets.certificates, ...buckets.failures]
  const short = await ratesFor(placing).take(wanted, context.canWait === true ? reserveForUrgent : 0)
  if (short === undefined) return
  const { limit, subject, capacity, periodMs } = short.bucket
  const about = subject === '' || limit === 'orders' ? '' : ` (${subject})`
  throw new ProblemError(
    'rateLimited',
    `the CA's limit of ${capacity} ${limitMeanings[limit] ?? limit} in ${periodMs / 3_600_000} hours${about} is used up; it was not asked`,
    { retry: { when: 'notBefore', atMs: short.retryAtMs } },
  )
}

function namesKey({ grant }: Placing): string {
  return grant.csr.identifiers
    .map(({ value }) => value)
    .sort()
    .join(' ')
}

function toldBucket(placing: Placing): RateBucket {
  return { issuerKey: placing.place.issuerKey, limit: 'told', subject: namesKey(placing), capacity: 1, periodMs: 1 }
}

/** What the CA said about these names holds until it said; others go on. */
async function refuseIfTold(placing: Placing): Promise<void> {
  const untilMs = await ratesFor(placing).emptyUntil(toldBucket(placing))
  if (untilMs === undefined || untilMs <= placing.context.clock.nowMs()) return
  throw new ProblemError('rateLimited', 'the CA said that it takes no order for these names yet', {
    retry: { when: 'notBefore', atMs: untilMs },
  })
}

async function noteRefusal(placing: Placing, { code, retry }: ProblemError): Promise<void> {
  if (code === 'rateLimited' && retry.when === 'notBefore')
    await ratesFor(placing).empty(toldBucket(placing), retry.atMs)
}

/** RFC 8555 §7.3.6: what a CA says to a deactivated account is no fault of the host that asked. */
function asOwnAffair(problem: ProblemError): ProblemError {
  if (problem.code === 'unauthorized')
    return new ProblemError('userActionRequired', `the CA does not take our account's order: ${problem.message}`, {
      cause: problem,
    })
  return problem
}
