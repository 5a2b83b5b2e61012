import { asProblemError, type ProblemError } from '../acme/problem.ts'
import type { RenewalInfoReply } from '../acme/renewal-info.ts'
import type { IssuanceEvent, Issuer, PluginContext } from '../plugin-api.ts'
import { ownTurnAtMs } from './host-window.ts'
import type { Issuance } from './issue.ts'
import { type IssueRequest, meansInOrder } from './kept.ts'
import { needOf } from './need.ts'
import { type CertificateRegister, isInUse, type Need, type OrderRecords, type RegisterEntry } from './records.ts'
import {
  afterFailure,
  afterOutage,
  afterRenewalInfo,
  forgetFuture,
  isUrgent,
  type RenewalPlan,
  randomShareOf,
  urgentAtMs,
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
  /**
   * Who keeps the key makes the request that follows: with a new key. `replaced`: the entry is of no use any more;
   * undefined: the same request is made again.
   */
  successorOf?(entry: RegisterEntry): Promise<IssueRequest | 'replaced' | undefined>
  /** There is a new certificate for this block. */
  succeeded?(entry: Pick<RegisterEntry, 'block'>): void
  /** Nobody may, or will, go on with this order: what it left outside is undone. */
  abandon(need: Need, why?: string): Promise<void>
  tell(event: IssuanceEvent): void
}

export interface Renewals {
  /** Looks at what is due now, a handful at most. @returns how many there were */
  lookAtDue(): Promise<number>
  /** Looks at this one, whether it is due or not. */
  lookAt(entry: RegisterEntry): Promise<void>
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
const longestUnchangedPauseMs = 6 * 3_600_000
const maxQuestionsAtOnce = maxAtOnce / 2
const questionSpreadMs = 60_000
const longestSilenceMs = 30 * 60_000

/** Renews ahead of need, and goes on with what was left behind. */
export function createRenewals(parts: RenewalParts): Renewals {
  const { issuance, register, orders, context } = parts
  const { clock, log } = context
  let asking = 0
  /** Issuers that did not answer a question, and until when they are left alone. */
  const silences = new Map<string, { readonly failures: number; readonly untilMs: number }>()

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
    // Whoever wanted it would have come back; a certificate would go nowhere.
    if (need.unrecorded === true) return await parts.abandon(need)
    const request = requestOrRefusal(need)
    const means = request && meansInOrder(request.means).find(({ issuer }) => issuer.key === need.issuerKey)
    if (request === undefined || means === undefined) {
      await parts.abandon(need)
      return
    }
    const wasAway = (await issuance.awayUntilMs(means.issuer)) > clock.nowMs()
    try {
      await issuance.resume(request, need.replacedSerial)
      if (await orders.isUnattended(need.id, clock.nowMs())) await leave(need, means.issuer, wasAway)
      else log.info('an order that was left behind is finished', { names: need.names })
      parts.succeeded?.(need)
    } catch (error) {
      if (context.signal.aborted) return
      const { retry, message: reason } = asProblemError(error)
      const resumeAtMs = retry.when === 'notBefore' ? retry.atMs : clock.nowMs() + goOnAgainMs
      await orders.postpone(need.id, clock.nowMs(), resumeAtMs)
      log.warn('an order that was left behind does not get on', { names: need.names, reason })
    }
  }

  /** The certificate came from another issuer, and nobody touched this order. Looking at it at once would never end. */
  async function leave(need: Need, issuer: Issuer, wasAway: boolean): Promise<void> {
    const [awayUntilMs, nowMs] = [await issuance.awayUntilMs(issuer), clock.nowMs()]
    // In the past: it was away meanwhile, and nobody has tried it since.
    if (wasAway || awayUntilMs > 0) await orders.postpone(need.id, nowMs, Math.max(awayUntilMs, nowMs))
    else await parts.abandon(need, 'another issuer gave the certificate')
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
    if (!isInUse(entry) && entry.plan.asked !== true) {
      await register.savePlan(entry.id, undefined, undefined)
      return
    }
    const request = requestOrReason(entry)
    if (typeof request === 'string') {
      log.warn('a certificate is not renewed any more', { names: entry.names, reason: request })
      await register.savePlan(entry.id, undefined, undefined, request)
      return
    }
    await lookAtUsed(entry, request)
  }

  function requestOrReason(entry: RegisterEntry): IssueRequest | string {
    try {
      const request = parts.requestOf(entry)
      const isSame = needOf(request, request.means).id === entry.id
      return isSame ? request : 'its block names another issuer or profile now'
    } catch (error) {
      return asProblemError(error).message
    }
  }

  async function lookAtUsed(entry: RegisterEntry, request: IssueRequest): Promise<void> {
    const kept = await issuance.findKept(request)
    const issuer = kept?.issuer ?? request.means.issuer
    let plan = forgetFuture(entry.plan, clock.nowMs())
    if (kept !== undefined && plan.checkAtMs <= clock.nowMs())
      plan = await askCa(entry, plan, issuer, kept.chain.leaf.x509.raw)
    const nowMs = await issuance.trustedNowMs(issuer)
    const turnMs = ownTurnAtMs({ ...entry, plan })
    if (turnMs > nowMs) {
      const wakeMs = wakeAtMs(plan, entry.notAfterMs, turnMs)
      // Only a clock of ours that runs ahead makes something due that is not.
      await register.savePlan(entry.id, plan, wakeMs > clock.nowMs() ? wakeMs : clock.nowMs() + clockWaitMs)
      return
    }
    await register.savePlan(entry.id, plan, clock.nowMs() + takenForMs)
    await renew(entry, plan, request, nowMs)
  }

  async function askCa(entry: RegisterEntry, plan: RenewalPlan, issuer: Issuer, der: Uint8Array): Promise<RenewalPlan> {
    if (issuer.renewalInfo === undefined) return afterRenewalInfo(plan, undefined, clock.nowMs(), randomShare())
    if (asking >= maxQuestionsAtOnce) return { ...plan, checkAtMs: Math.round(clock.nowMs() + pauseMs * randomShare()) }
    const waitMs = await questionWaitMs(issuer)
    if (waitMs > 0) return { ...plan, checkAtMs: Math.round(clock.nowMs() + waitMs + randomShare() * questionSpreadMs) }
    asking += 1
    const reply = await issuer.renewalInfo(der, context).finally(() => {
      asking -= 1
    })
    noteAnswer(issuer, reply)
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

  /** A CA that is away is not asked by every certificate. */
  async function questionWaitMs(issuer: Issuer): Promise<number> {
    const untilMs = Math.max(silences.get(issuer.key)?.untilMs ?? 0, await issuance.awayUntilMs(issuer))
    return untilMs - clock.nowMs()
  }

  function noteAnswer({ key }: Issuer, reply: RenewalInfoReply | undefined): void {
    if (reply?.outcome !== 'temporary failure') {
      silences.delete(key)
      return
    }
    const failures = (silences.get(key)?.failures ?? 0) + 1
    const pauseMs = Math.min(questionSpreadMs * 2 ** Math.min(failures - 1, 10), longestSilenceMs)
    silences.set(key, { failures, untilMs: clock.nowMs() + Math.max(pauseMs, reply.retryAfterMs ?? 0) })
  }

  async function renew(entry: RegisterEntry, plan: RenewalPlan, request: IssueRequest, nowMs: number): Promise<void> {
    const common = { names: entry.names, block: entry.block, remoteAddress: entry.remoteAddress }
    try {
      const urgent = plan.asked === true || isUrgent(entry, nowMs)
      const successor = await parts.successorOf?.(entry)
      if (successor === 'replaced') return await register.savePlan(entry.id, undefined, undefined)
      const kept = successor === undefined ? undefined : await issuance.findKept(request)
      const { chain, source } =
        successor === undefined || kept === undefined
          ? await issuance.renew(request, entry.serial, !urgent)
          : await issuance.succeed(successor, kept, !urgent)
      if (successor !== undefined) await register.savePlan(entry.id, undefined, undefined)
      parts.succeeded?.(entry)
      const { serial, notAfterMs } = chain.leaf
      if (serial === entry.serial) {
        // What was running for the same need was met by it, or the issuer keeps it and has no other one yet.
        await register.savePlan(entry.id, plan, clock.nowMs() + (urgent ? goOnAgainMs : unchangedPauseMs(entry)))
        return
      }
      // Whoever made it told it.
      if (source !== 'issued') return
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
    if (retry.when === 'notBefore' && code === 'serverInternal') return afterOutage(plan, retry.atMs, randomShare())
    if (retry.when === 'notBefore' && code === 'rateLimited') {
      // What can wait is told when there is more than the reserve; once it is urgent it may have the reserve.
      const freeAtMs = isUrgent(entry, clock.nowMs()) ? retry.atMs : Math.min(retry.atMs, urgentAtMs(entry))
      return afterOutage(plan, freeAtMs, randomShare())
    }
    const notBeforeMs = retry.when === 'notBefore' ? retry.atMs : 0
    return afterFailure(plan, entry, clock.nowMs(), randomShare(), notBeforeMs)
  }

  /** Never so long that the rest of a short life would go by. */
  function unchangedPauseMs({ notBeforeMs, notAfterMs }: RegisterEntry): number {
    const pauseMs = Math.min((notAfterMs - notBeforeMs) / 100, longestUnchangedPauseMs)
    return Math.max(pauseMs * (0.75 + randomShare() / 4), goOnAgainMs)
  }

  function randomShare(): number {
    return randomShareOf(context)
  }

  return { lookAtDue, lookAt, run }
}
