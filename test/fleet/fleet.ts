// A fleet on a clock of its own: the real decisions (renewal-plan.ts, outage.ts, the arithmetic of rate-limit.ts, the
// buckets of rate-limits.ts) in a shell that does what renewals.ts and issue.ts do, with events in place of waiting.
import { ProblemError } from '../../src/acme/problem.ts'
import { isOutage, nextOutage, outageProblem } from '../../src/issuance/outage.ts'
import type { Outage } from '../../src/issuance/records.ts'
import {
  afterFailure,
  afterOutage,
  afterRenewalInfo,
  dueAtMs,
  isUrgent,
  planRenewal,
  type RenewalPlan,
  wakeAtMs,
} from '../../src/issuance/renewal-plan.ts'
import { bucketsOf, type RateLimits } from '../../src/plugins/issuers/rate-limits.ts'
import type { CaCertificate, CaOrder, SimulatedCa } from './ca.ts'
import { createEventHeap } from './event-heap.ts'
import { type FleetGroup, type Member, makeMembers } from './members.ts'
import { createMemoryLedger } from './memory-ledger.ts'
import { createTally, type FleetReport } from './tally.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
/** As in renewals.ts and new-order.ts. */
const pauseMs = 5000
const maxAtOnce = 8
const reserveForUrgent = 0.2

export type FleetOptions = {
  readonly startMs: number
  readonly days: number
  readonly groups: readonly FleetGroup[]
  readonly cas: readonly SimulatedCa[]
  readonly limits: RateLimits
  /**
   * `ordered`: the hosts ask for their first certificates one after another.
   * `preloaded`: every certificate is there and somewhere in its life.
   */
  readonly start: 'ordered' | 'preloaded'
  readonly firstOrderEveryMs: number
  readonly random: () => number
  /** How long a question for renewal information takes, and how long to find that the CA does not answer. */
  readonly pollMs: number
  readonly awayMs: number
}

const unreachable = new ProblemError('serverInternal', 'the CA cannot be reached', { retry: { when: 'backoff' } })

/** Runs the fleet to the end of its days. */
export function simulateFleet(options: FleetOptions): FleetReport {
  const { startMs, groups, cas, limits, random } = options
  const endMs = startMs + options.days * dayMs
  const members = makeMembers(groups)
  /** Of every certificate, side by side: what is looked at most often. */
  const endsAtMs = new Float64Array(members.length)
  const tally = createTally(startMs, options.days, groups)
  const ledger = createMemoryLedger()
  const outages = new Map<number, Outage>()
  /** When each certificate is to be looked at; those whose time has come wait in `due`, the nearest end first. */
  const wakes = createEventHeap()
  const due = createEventHeap()
  const events = createEventHeap()
  const acts = new Map<number, () => void>()
  let lastAct = 0
  const pollsUntilMs: number[] = []
  let renewing = 0
  let nowMs = startMs
  let sleptAtMs: number | undefined
  let nextTakeAtMs = startMs

  // Time ----------------------------------------------------------------------------------------

  function at(atMs: number, act: () => void): void {
    lastAct = (lastAct + 1) % 1_000_000_000
    acts.set(lastAct, act)
    events.push(atMs, lastAct)
  }

  function wake(member: Member, atMs: number): void {
    wakes.push(atMs, member.index)
    // The shell sleeps five seconds at a time; those in which there is nothing to do are left out.
    if (sleptAtMs !== undefined)
      nextTakeAtMs = Math.min(nextTakeAtMs, sleptAtMs + pauseMs * Math.max(1, Math.ceil((atMs - sleptAtMs) / pauseMs)))
  }

  function take(): void {
    for (let place = pollsUntilMs.length - 1; place >= 0; place--) {
      if ((pollsUntilMs[place] ?? 0) > nowMs) continue
      pollsUntilMs[place] = pollsUntilMs.at(-1) ?? 0
      pollsUntilMs.pop()
    }
    const free = maxAtOnce - renewing - pollsUntilMs.length
    while (wakes.firstAtMs <= nowMs) {
      const index = wakes.pop()
      due.push(endsAtMs[index] ?? 0, index)
    }
    tally.backlog(due.size, nowMs)
    let taken = 0
    sleptAtMs = undefined
    for (; taken < free && due.size > 0; taken++) {
      const member = members[due.pop()]
      if (member?.certificate !== undefined) lookAt(member, member.certificate)
    }
    if (taken < free) {
      sleptAtMs = nowMs
      nextTakeAtMs = nowMs + pauseMs * Math.max(1, Math.ceil((wakes.firstAtMs - nowMs) / pauseMs))
    } else nextTakeAtMs = renewing + pollsUntilMs.length < maxAtOnce ? nowMs + 1 : Math.min(Infinity, ...pollsUntilMs)
  }

  /** What ends makes room: the shell looks for more at once, unless it sleeps. */
  function endRenewal(): void {
    renewing -= 1
    if (sleptAtMs === undefined) nextTakeAtMs = Math.min(nextTakeAtMs, nowMs)
  }

  // renewals.ts ---------------------------------------------------------------------------------

  function lookAt(member: Member, certificate: CaCertificate): void {
    let atMs = nowMs
    if (member.plan.checkAtMs <= nowMs) {
      const ca = caOf(member.ca)
      atMs += ca.isAway(nowMs) ? options.awayMs : options.pollMs
      member.plan = afterRenewalInfo(member.plan, ca.renewalInfo(certificate, nowMs), atMs, random())
    }
    if (dueAtMs(member.plan) > atMs) {
      pollsUntilMs.push(atMs)
      wake(member, Math.max(atMs, wakeAtMs(member.plan, certificate.notAfterMs)))
      return
    }
    renewing += 1
    const begin = () => {
      const canWait = !isUrgent(certificate, nowMs)
      const failed = (problem: ProblemError) => {
        endRenewal()
        member.plan = planAfter(problem, member.plan, certificate)
        wake(member, wakeAtMs(member.plan, certificate.notAfterMs))
      }
      obtain(member, canWait, [], endRenewal, failed)
    }
    if (atMs === nowMs) begin()
    else at(atMs, begin)
  }

  function planAfter({ code, retry }: ProblemError, plan: RenewalPlan, certificate: CaCertificate): RenewalPlan {
    if (retry.when === 'notBefore' && (code === 'serverInternal' || code === 'rateLimited'))
      return afterOutage(plan, retry.atMs, random())
    return afterFailure(plan, certificate, nowMs, random(), retry.when === 'notBefore' ? retry.atMs : 0)
  }

  // issue.ts ------------------------------------------------------------------------------------

  /** Asks one CA after another. */
  function obtain(
    member: Member,
    canWait: boolean,
    failures: readonly ProblemError[],
    done: () => void,
    failed: (problem: ProblemError) => void,
  ): void {
    const number = member.group.cas[failures.length]
    if (number === undefined) {
      const { retry, code, message } = failures.find((one) => one.retry.when !== 'never') ?? unreachable
      failed(new ProblemError(code, message, { retry }))
      return
    }
    const next = (problem: ProblemError) => obtain(member, canWait, [...failures, problem], done, failed)
    const outage = outages.get(number)
    if (outage !== undefined && outage.untilMs > nowMs) next(outageProblem(outage))
    else if (caOf(number).isAway(nowMs)) probe(number, outage, next)
    else place(member, number, canWait, next, done)
  }

  function probe(number: number, known: Outage | undefined, next: (problem: ProblemError) => void): void {
    caOf(number).counts.ordersWhileAway += 1
    at(nowMs + options.awayMs, () => {
      if (!isOutage(unreachable, false)) return next(unreachable)
      const outage = nextOutage(known, String(number), unreachable, nowMs, random())
      outages.set(number, outage)
      next(outageProblem(outage))
    })
  }

  // new-order.ts --------------------------------------------------------------------------------

  function place(
    member: Member,
    number: number,
    canWait: boolean,
    next: (problem: ProblemError) => void,
    done: () => void,
  ): void {
    const replaces = member.ca === number ? member.certificate : undefined
    const identifiers = [{ type: 'dns', value: `host${member.names}.domain${member.domain}.example` } as const]
    const exempt = replaces === undefined ? 'nothing' : 'asked by the CA'
    const buckets = bucketsOf(limits, String(number), 'account', identifiers, exempt)
    const failures = [...buckets.failures.values()]
    const wanted = [...buckets.orders, ...buckets.certificates, ...failures]
    const retryAtMs = ledger.take(wanted, canWait ? reserveForUrgent : 0, nowMs)
    if (retryAtMs !== undefined) {
      tally.held(member.group)
      next(new ProblemError('rateLimited', 'used up', { retry: { when: 'notBefore', atMs: retryAtMs } }))
      return
    }
    const order: CaOrder = { names: member.names, domain: member.domain, replaces }
    tally.order(nowMs)
    // What comes between our book-keeping and the CA's: a connection, a nonce, a signature.
    at(nowMs + 50 + 450 * random(), () => {
      const refusedUntilMs = caOf(number).order(order, nowMs)
      if (refusedUntilMs !== undefined) {
        ledger.giveBack(wanted)
        next(new ProblemError('rateLimited', 'refused', { retry: { when: 'notBefore', atMs: refusedUntilMs } }))
        return
      }
      at(nowMs + 2000 + 6000 * random(), () => {
        ledger.giveBack(failures)
        outages.delete(number)
        keep(member, number, caOf(number).issue(order, member.group.lifetimeMs, nowMs))
        done()
      })
    })
  }

  // registrar.ts --------------------------------------------------------------------------------

  function keep(member: Member, number: number, certificate: CaCertificate): void {
    const former = member.certificate
    const revokedForMs = former !== undefined && caOf(member.ca).isRevoked(former, nowMs)
    tally.issued(member.group, number, former, revokedForMs, nowMs)
    member.certificate = certificate
    endsAtMs[member.index] = certificate.notAfterMs
    member.ca = number
    member.plan = planRenewal(certificate, undefined, nowMs, random())
    wake(member, wakeAtMs(member.plan, certificate.notAfterMs))
  }

  function caOf(number: number): SimulatedCa {
    const ca = cas[number]
    if (ca === undefined) throw new Error(`there is no CA ${number}`)
    return ca
  }

  /** A host asks, and asks again when it was told to. */
  function ask(member: Member): void {
    obtain(
      member,
      false,
      [],
      () => undefined,
      ({ retry }) => at(Math.max(nowMs + 1000, retry.when === 'notBefore' ? retry.atMs : 0), () => ask(member)),
    )
  }

  /** In the first half of its life, or a little more: as a fleet stands on an ordinary day. */
  function preload(member: Member): void {
    const { lifetimeMs } = member.group
    const ageMs = random() * (lifetimeMs < 10 * dayMs ? 0.5 : 0.65) * lifetimeMs
    const [number = 0] = member.group.cas
    const certificate = caOf(number).issue({ ...member, replaces: undefined }, lifetimeMs, startMs - ageMs)
    member.certificate = certificate
    endsAtMs[member.index] = certificate.notAfterMs
    member.ca = number
    const planned = planRenewal(certificate, undefined, startMs, random())
    // They were asked about before, at some time in the last six hours.
    member.plan = { ...planned, checkAtMs: startMs + 6 * hourMs * random() }
    wakes.push(wakeAtMs(member.plan, certificate.notAfterMs), member.index)
  }

  for (const [place, member] of members.entries()) {
    if (options.start === 'preloaded') preload(member)
    else at(startMs + place * options.firstOrderEveryMs, () => ask(member))
  }
  const limit = () => Math.min(nextTakeAtMs, events.firstAtMs)
  for (nowMs = limit(); nowMs < endMs; nowMs = limit()) {
    if (events.firstAtMs <= nextTakeAtMs) {
      const id = events.pop()
      const act = acts.get(id)
      acts.delete(id)
      act?.()
    } else take()
  }
  for (const { group, certificate } of members) tally.atEnd(group, certificate, endMs)
  return tally.report(cas.map(({ counts }) => counts))
}
