import { asProblemError, ProblemError } from '../acme/problem.ts'
import type { IssuanceEvent, Issuer, PluginContext } from '../plugin-api.ts'
import type { Issuance } from './issue.ts'
import { type IssueRequest, meansInOrder } from './kept.ts'
import { needOf } from './need.ts'
import { type CertificateRegister, isInUse, type Need, type OrderRecords, type RegisterEntry } from './records.ts'
import {
  afterFailure,
  afterOutage,
  afterRenewalInfo,
  dueAtMs,
  forgetFuture,
  isUrgent,
  type RenewalPlan,
  randomShareOf,
  wakeAtMs,
} from './renewal-plan.ts'

/** What is known of a request that nobody makes at the moment. */
export type StoredRequest = Pick<Need, 'block' | 'postedBytes' | 'remoteAddress'>

export type RenewalParts = {
  readonly issuance: Issuance
  readonly register: CertificateRegister
  readonly orders: OrderRecords
  readonly context: PluginContext
  /** Today's configuration decides again. @throws ProblemError when the block does not cover it any more */
  requestOf(stored: StoredRequest): IssueRequest
  /** Nobody may go on with this order: what it left outside is undone. */
  abandon(need: Need): Promise<void>
  tell(event: IssuanceEvent): void
}

export interface Renewals {
  /** Looks at what is due now, a handful at most. @returns how many there were */
  lookAtDue(): Promise<number>
  /** Again and again, until the context's signal. Never rejects. */
  run(): Promise<void>
}

const pauseMs = 5000
/** Renewals that run at once: hosts that wait come between them. */
const maxAtOnce = 8
/** So long an entry is ours; what crashes in it is looked at again after it. */
const takenForMs = 15 * 60_000
const clockWaitMs = 3_600_000
const goOnAgainMs = 60_000

/** Renews ahead of need, and goes on with what was left behind. */
export function createRenewals(parts: RenewalParts): Renewals {
  const { issuance, register, orders, context } = parts
  const { clock, log } = context

  /** Takes what is due, and says how to do it. */
  async function take(max: number): Promise<(() => Promise<void>)[]> {
    const nowMs = clock.nowMs()
    const unattended = await orders.unattended(nowMs, max)
    const due = await register.takeDue(nowMs, nowMs + takenForMs, max - unattended.length)
    return [...unattended.map((need) => () => goOn(need)), ...due.map((entry) => () => lookAt(entry))]
  }

  async function lookAtDue(): Promise<number> {
    const taken = await take(maxAtOnce)
    await Promise.all(taken.map((act) => act()))
    return taken.length
  }

  async function run(): Promise<void> {
    const working = new Set<Promise<void>>()
    while (!context.signal.aborted) {
      const free = maxAtOnce - working.size
      const taken = await take(free).catch((error: unknown) => {
        if (!context.signal.aborted) log.error('renewals cannot be looked at; they are again later', { error })
        return []
      })
      for (const act of taken) {
        const work = act()
          .catch((error: unknown) => log.error('a renewal could not be looked at', { error }))
          .finally(() => working.delete(work))
        working.add(work)
      }
      if (taken.length < free) await clock.sleep(pauseMs, context.signal).catch(() => undefined)
      else await Promise.race(working)
    }
    await Promise.all(working)
  }

  async function goOn(need: Need): Promise<void> {
    const request = requestOrRefusal(need)
    const issuers = request === undefined ? [] : meansInOrder(request.means)
    if (request === undefined || !issuers.some(({ issuer }) => issuer.key === need.issuerKey)) {
      await parts.abandon(need)
      return
    }
    try {
      await issuance.resume(request)
      log.info('an order that was left behind is finished', { names: need.names })
    } catch (error) {
      if (context.signal.aborted) return
      const { retry, message: reason } = asProblemError(error)
      const resumeAtMs = retry.when === 'notBefore' ? retry.atMs : clock.nowMs() + goOnAgainMs
      await orders.postpone(need.id, clock.nowMs(), resumeAtMs)
      log.warn('an order that was left behind does not get on', { names: need.names, reason })
    }
  }

  function requestOrRefusal(stored: StoredRequest): IssueRequest | undefined {
    try {
      return parts.requestOf(stored)
    } catch (error) {
      log.warn('what was asked for before is not allowed any more', { reason: asProblemError(error).message })
      return undefined
    }
  }

  async function lookAt(entry: RegisterEntry): Promise<void> {
    try {
      if (!isInUse(entry) && entry.plan.asked !== true) {
        await register.savePlan(entry.id, undefined, undefined)
        return
      }
      await lookAtUsed(entry)
    } catch (error) {
      if (context.signal.aborted) return
      const problem = asProblemError(error)
      log.warn('a certificate is not renewed any more', { names: entry.names, reason: problem.message })
      await register.savePlan(entry.id, undefined, undefined, problem.message)
    }
  }

  async function lookAtUsed(entry: RegisterEntry): Promise<void> {
    const request = parts.requestOf(entry)
    if (needOf(request, request.means).id !== entry.id)
      throw new ProblemError('serverInternal', 'its block names another issuer or profile now')
    const kept = await issuance.findKept(request)
    const issuer = kept?.issuer ?? request.means.issuer
    let plan = forgetFuture(entry.plan, clock.nowMs())
    if (kept !== undefined && plan.checkAtMs <= clock.nowMs())
      plan = await askCa(entry, plan, issuer, kept.chain.leaf.x509.raw)
    const nowMs = await issuance.trustedNowMs(issuer)
    if (dueAtMs(plan) > nowMs) {
      const wakeMs = wakeAtMs(plan, entry.notAfterMs)
      // Only a clock of ours that runs ahead makes something due that is not.
      await register.savePlan(entry.id, plan, wakeMs > clock.nowMs() ? wakeMs : clock.nowMs() + clockWaitMs)
      return
    }
    await register.savePlan(entry.id, plan, clock.nowMs() + takenForMs)
    await renew(entry, plan, request, nowMs)
  }

  async function askCa(entry: RegisterEntry, plan: RenewalPlan, issuer: Issuer, der: Uint8Array): Promise<RenewalPlan> {
    const reply = await issuer.renewalInfo?.(der, context)
    const next = afterRenewalInfo(plan, reply, clock.nowMs(), randomShare())
    const { info } = next
    if (info !== undefined && (info.startMs !== plan.info?.startMs || info.endMs !== plan.info.endMs)) {
      log.info('the CA says when to renew', {
        names: entry.names,
        start: new Date(info.startMs).toISOString(),
        end: new Date(info.endMs).toISOString(),
        ...(info.explanationUrl === undefined ? {} : { explanation: info.explanationUrl }),
      })
    }
    if (reply !== undefined && reply.outcome !== 'window')
      log.debug('the CA does not say when to renew', { names: entry.names, reason: reply.reason })
    return next
  }

  async function renew(entry: RegisterEntry, plan: RenewalPlan, request: IssueRequest, nowMs: number): Promise<void> {
    const common = { names: entry.names, block: entry.block, remoteAddress: entry.remoteAddress }
    try {
      const urgent = plan.asked === true || isUrgent(entry, nowMs)
      const { chain } = await issuance.renew(request, entry.serial, !urgent)
      const { serial, notAfterMs } = chain.leaf
      log.info('renewed', { names: entry.names, serial, replaced: entry.serial })
      parts.tell({ kind: 'certificate.issued', atMs: clock.nowMs(), ...common, serial, notAfterMs })
    } catch (error) {
      if (context.signal.aborted) return
      const problem = asProblemError(error)
      const next = planAfter(problem, plan, entry)
      await register.savePlan(entry.id, next, wakeAtMs(next, entry.notAfterMs), problem.message)
      log.warn('a renewal failed', {
        names: entry.names,
        reason: problem.message,
        again: new Date(next.retryAtMs).toISOString(),
        goodUntil: new Date(entry.notAfterMs).toISOString(),
      })
      parts.tell({
        kind: 'issuance.failed',
        atMs: clock.nowMs(),
        ...common,
        code: problem.code,
        reason: problem.message,
      })
    }
  }

  function planAfter({ code, retry }: ProblemError, plan: RenewalPlan, entry: RegisterEntry): RenewalPlan {
    // A CA that is away, and a limit that is used up, say themselves when to come back.
    if (retry.when === 'notBefore' && (code === 'serverInternal' || code === 'rateLimited'))
      return afterOutage(plan, retry.atMs, randomShare())
    const notBeforeMs = retry.when === 'notBefore' ? retry.atMs : 0
    return afterFailure(plan, entry, clock.nowMs(), randomShare(), notBeforeMs)
  }

  function randomShare(): number {
    return randomShareOf(context)
  }

  return { lookAtDue, run }
}
