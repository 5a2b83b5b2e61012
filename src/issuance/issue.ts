import { asProblemError, ProblemError } from '../acme/problem.ts'
import type { Issuer, PluginContext } from '../plugin-api.ts'
import type { Chain } from '../x509/chain.ts'
import { AttemptError, type AttemptParts, type CertificateRecord, createAttempts, type Task } from './attempt.ts'
import { type AliasOf, discreetLog, unknownAlias } from './discretion.ts'
import {
  createKeptCertificateFinder,
  type IssueRequest,
  type Kept,
  type KeptCertificateFinder,
  keptRequest,
  type Means,
  meansInOrder,
  namesOf,
} from './kept.ts'
import { needOf } from './need.ts'
import { createOutageView, isCurableElsewhere, isOutage, nextOutage, outageProblem } from './outage.ts'
import type { BlockedKeys, CertificateRegister, OrderRecords, Outage, Outages } from './records.ts'
import { createRegistrar, type Occasion } from './registrar.ts'
import { randomShareOf } from './renewal-plan.ts'

export type { CertificateRecord } from './attempt.ts'
export type { IssueRequest, Means } from './kept.ts'

export interface Issuance {
  /** The one way to a certificate for a host that asks. @throws ProblemError when there is none to be had */
  issue(request: IssueRequest): Promise<CertificateRecord>
  /** Replaces the certificate with this serial, though it is still good. @throws ProblemError */
  renew(request: IssueRequest, serial: string, canWait: boolean): Promise<CertificateRecord>
  /** A certificate for a new request that follows this one: it replaces it at the CA (RFC 9773 §5). @throws ProblemError */
  succeed(request: IssueRequest, predecessor: Kept, canWait: boolean): Promise<CertificateRecord>
  /** Goes on with what a crash left behind. @throws ProblemError */
  resume(request: IssueRequest, replacedSerial?: string): Promise<CertificateRecord>
  /** Until when the issuer is left alone, because it is away; in the past when it is not. */
  awayUntilMs(issuer: Issuer): Promise<number>
  /** The best certificate that is kept for the request, due or not. */
  findKept(request: IssueRequest): Promise<Kept | undefined>
  trustedNowMs: KeptCertificateFinder['trustedNowMs']
  /** Somebody may have cured what kept an issuer from working. */
  retryIssuers(): Promise<void>
  /** How many needs are being worked on. */
  readonly inFlight: number
}

export type IssuanceParts = {
  readonly orders: OrderRecords
  readonly register: CertificateRegister
  readonly outages: Outages
  readonly blockedKeys: BlockedKeys
  /** Names this process towards others on the same state. */
  readonly holder: string
  readonly context: PluginContext
  /** For what is said of requests that leave no record. */
  readonly aliasOf?: AliasOf
  readonly repeat: AttemptParts['repeat']
}

export function createIssuance(parts: IssuanceParts): Issuance {
  const { register, context } = parts
  const { clock, log } = context
  const veiled = discreetLog(log, parts.aliasOf ?? unknownAlias)
  const outages = createOutageView(parts.outages, clock)
  /** By the issuer as it was made: a reload, which may have cured it, makes another. */
  const accountTroubles = new WeakMap<Issuer, Outage>()
  const registrar = createRegistrar(register, context)
  const finder = createKeptCertificateFinder(context)
  const running = new Map<string, { readonly occasion: Occasion; readonly result: Promise<CertificateRecord> }>()
  const attempts = createAttempts({
    orders: parts.orders,
    holder: parts.holder,
    context,
    ...(parts.aliasOf === undefined ? {} : { aliasOf: parts.aliasOf }),
    repeat: parts.repeat,
    trustedNowMs: ({ issuer }) => finder.trustedNowMs(issuer),
    isKeyBlocked: (publicKeyHash) => parts.blockedKeys.has(publicKeyHash),
  })

  async function issue(request: IssueRequest): Promise<CertificateRecord> {
    const kept = await finder.find(request)
    if (kept !== undefined && (kept.fresh || (await isLeftToOthers(request)))) return answerKept(request, kept)
    try {
      return await once(request, 'asked', () =>
        obtain(request, { occasion: 'asked', kept, canWait: kept !== undefined }),
      )
    } catch (error) {
      // A good certificate is never withheld because a better one cannot be had.
      if (kept === undefined) throw error
      log.warn('renewal failed; the kept certificate is answered', { names: namesOf(request.grant), error })
      await registrar.postpone(request, asProblemError(error))
      return answerKept(request, kept)
    }
  }

  async function renew(request: IssueRequest, serial: string, canWait: boolean): Promise<CertificateRecord> {
    const kept = await finder.find(request)
    if (kept !== undefined && kept.chain.leaf.serial !== serial) {
      await registrar.enter(request, kept.chain, kept.issuer.key, 'renewal')
      return { chain: kept.chain, source: 'kept' }
    }
    return await once(request, 'renewal', () =>
      obtain(request, { occasion: 'renewal', kept, canWait, replacedSerial: serial }),
    )
  }

  async function succeed(request: IssueRequest, predecessor: Kept, canWait: boolean): Promise<CertificateRecord> {
    const kept = await finder.find(request)
    if (kept?.fresh === true) return await answerKept(request, kept)
    return await once(request, 'asked', () => obtain(request, { occasion: 'asked', kept: predecessor, canWait }))
  }

  async function resume(request: IssueRequest, replacedSerial?: string): Promise<CertificateRecord> {
    const kept = await finder.find(request)
    const wish = { kept, canWait: kept !== undefined }
    if (replacedSerial === undefined)
      return await once(request, 'resume', () => obtain(request, { ...wish, occasion: 'resume' }))
    // Also where the new certificate is kept already: its order is left behind, and only who claims it can end it.
    return await once(request, 'renewal', () => obtain(request, { ...wish, occasion: 'renewal', replacedSerial }))
  }

  /** One at a time for one need, however many ask. */
  async function once(
    request: IssueRequest,
    occasion: Occasion,
    act: () => Promise<CertificateRecord>,
  ): Promise<CertificateRecord> {
    const { id } = needOf(request, request.means)
    const existing = running.get(id)
    // Who joins did not make it.
    if (existing !== undefined) return { chain: (await existing.result).chain, source: 'kept' }
    const result = act().finally(() => running.delete(id))
    running.set(id, { occasion, result })
    return await result
  }

  /** The timer is at it, or failed just now and comes back: a host with a good certificate need not wait for that. */
  async function isLeftToOthers(request: IssueRequest): Promise<boolean> {
    const { id } = needOf(request, request.means)
    if (running.get(id)?.occasion === 'renewal') return true
    const entry = await register.find(id).catch(() => undefined)
    return entry !== undefined && entry.plan.retryAtMs > clock.nowMs()
  }

  async function outageOf(issuer: Issuer): Promise<Outage | undefined> {
    return accountTroubles.get(issuer) ?? (await outages.find(issuer.key))
  }

  async function obtain(request: IssueRequest, wish: Wish): Promise<CertificateRecord> {
    const failures: ProblemError[] = []
    for (const means of meansInOrder(request.means)) {
      const outage = await outageOf(means.issuer)
      if (outage !== undefined && outage.untilMs > clock.nowMs()) {
        failures.push(outageProblem(outage))
        continue
      }
      try {
        const result = await attempts.obtain(taskOf(request, means, wish))
        if (outage !== undefined) await endOutage(means)
        if (request.grant.unrecorded === true) await giveUpOthers(request, means)
        return result
      } catch (error) {
        const problem = asProblemError(error instanceof AttemptError ? error.problem : error)
        const isAway = error instanceof AttemptError && isOutage(problem, error.hadBegun) && !context.signal.aborted
        failures.push(isAway ? await noteOutage(outage, means, problem, request) : problem)
        if (!isCurableElsewhere(problem)) break
        if (means.fallback !== undefined)
          logOf(request).warn('the issuer cannot; the next one is asked', {
            issuer: means.issuer.key,
            reason: problem.message,
          })
      }
    }
    throw mostTelling(failures)
  }

  /** @returns the problem, with the time when the issuer is tried again */
  async function noteOutage(
    known: Outage | undefined,
    { issuer }: Means,
    problem: ProblemError,
    request: IssueRequest,
  ): Promise<ProblemError> {
    // Others read the reason: of a request that leaves no record it says nothing.
    const told = request.grant.unrecorded === true ? problem.withMessage(`the issuer fails (${problem.code})`) : problem
    const next = nextOutage(known, issuer.key, told, clock.nowMs(), randomShareOf(context))
    // What is wrong with our account a person cures, who then starts us again or reloads.
    if (problem.code === 'userActionRequired') {
      accountTroubles.set(issuer, next)
      return problem
    }
    await outages
      .save(next)
      .catch((error: unknown) => log.error('an outage could not be written down', { error, issuer: issuer.key }))
    return new ProblemError(problem.code, problem.message, {
      retry: { when: 'notBefore', atMs: next.untilMs },
      cause: problem.cause ?? problem,
    })
  }

  /** What was begun at an issuer that could not: with the certificate there, nobody comes back for it. */
  async function giveUpOthers(request: IssueRequest, used: Means): Promise<void> {
    for (const other of meansInOrder(request.means)) {
      if (other === used) continue
      const nowMs = clock.nowMs()
      await parts.orders
        .postpone(needOf(request, other).id, nowMs, nowMs)
        .catch((error: unknown) => veiled.warn('an order could not be given up; it is later', { error }))
    }
  }

  function logOf({ grant }: IssueRequest): PluginContext['log'] {
    return grant.unrecorded === true ? veiled : log
  }

  async function endOutage({ issuer }: Means): Promise<void> {
    log.info('the issuer works again', { issuer: issuer.key })
    if (!accountTroubles.delete(issuer)) await outages.clear(issuer.key)
  }

  function taskOf(request: IssueRequest, means: Means, { occasion, kept, replacedSerial, canWait }: Wish): Task {
    const isMet = (found: Kept) =>
      replacedSerial === undefined ? found.fresh : found.chain.leaf.serial !== replacedSerial
    return {
      request,
      means,
      need: { ...needOf(request, means), ...(replacedSerial === undefined ? {} : { replacedSerial }) },
      kept,
      canWait,
      async findMet() {
        const found = await finder.findAtOnce(request)
        return found !== undefined && isMet(found) ? { chain: found.chain, source: 'kept' } : undefined
      },
      isKept: async (chain) => (await finder.find(request))?.chain.leaf.serial === chain.leaf.serial,
      keep: (chain) => keep(request, means, chain, occasion),
    }
  }

  /** The certificate is there: a disk that refuses it now is no reason to keep it from the caller. */
  async function keep(request: IssueRequest, means: Means, chain: Chain, occasion: Occasion): Promise<boolean> {
    try {
      await means.storage.keep(keptRequest(request, means.issuer), chain.pem, context)
    } catch (error) {
      logOf(request).error('an issued certificate could not be kept; it is answered, and kept at the next request', {
        names: namesOf(request.grant),
        error,
      })
      return false
    }
    await registrar.enter(request, chain, means.issuer.key, occasion)
    return true
  }

  async function answerKept(request: IssueRequest, kept: Kept): Promise<CertificateRecord> {
    await registrar.noteAsked(request, kept)
    return { chain: kept.chain, source: 'kept' }
  }

  return {
    issue,
    renew,
    succeed,
    resume,
    findKept: finder.find,
    trustedNowMs: finder.trustedNowMs,
    async awayUntilMs(issuer) {
      return (await outageOf(issuer))?.untilMs ?? 0
    },
    retryIssuers: () => outages.clearAll(),
    get inFlight() {
      return running.size
    },
  }
}

/** What is wanted, beside the request. */
type Wish = {
  readonly occasion: Occasion
  readonly kept: Kept | undefined
  readonly canWait: boolean
  /** Any other certificate will do; without it, one that is fresh. */
  readonly replacedSerial?: string
}

/** The first reason is the one of the issuer that was meant; where others were tried, it says so. */
function mostTelling(failures: readonly ProblemError[]): ProblemError {
  const [first, ...others] = failures
  if (first === undefined) return asProblemError(new Error('there is no issuer'))
  if (others.length === 0) return first
  const soonest = failures.reduce((best, next) => (retryAtMs(next) < retryAtMs(best) ? next : best))
  return soonest.withMessage(
    [first.message, ...others.map(({ message }) => `the fallback failed, too: ${message}`)].join('; '),
  )
}

function retryAtMs({ retry }: ProblemError): number {
  if (retry.when === 'notBefore') return retry.atMs
  return retry.when === 'backoff' ? 0 : Number.POSITIVE_INFINITY
}
