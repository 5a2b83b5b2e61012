import { asProblemError, ProblemError, type Retry } from '../acme/problem.ts'
import type { IssuedChain, PluginContext } from '../plugin-api.ts'
import { type Chain, ChainError, checkChain, checkValidity, parseChain } from '../x509/chain.ts'
import { type AliasOf, discreetLog, unknownAlias } from './discretion.ts'
import { type IssueRequest, type Kept, type Means, pauseSolvers } from './kept.ts'
import {
  LeaseLostError,
  type Need,
  type OrderOutcome,
  type OrderRecord,
  type OrderRecords,
  unclaimedMs,
  unwritableState,
} from './records.ts'

/** A certificate that may be handed out, and where it came from. */
export type CertificateRecord = { readonly chain: Chain; readonly source: 'kept' | 'issued' }

/** One need at one issuer, and what is to be known about it. */
export type Task = {
  readonly request: IssueRequest
  readonly means: Means
  readonly need: Need
  /** What the new certificate will replace. */
  readonly kept: Kept | undefined
  readonly canWait: boolean
  /** The need was met meanwhile, by another server: that certificate. */
  findMet(): Promise<CertificateRecord | undefined>
  /** Is this very certificate kept for the request already? */
  isKept(chain: Chain): Promise<boolean>
  /** Keeps the certificate. false: it could not be kept. */
  keep(chain: Chain): Promise<boolean>
}

export type AttemptParts = {
  readonly orders: OrderRecords
  /** Names this process towards others on the same state. */
  readonly holder: string
  readonly context: PluginContext
  trustedNowMs(means: Means): Promise<number>
  isKeyBlocked(publicKeyHash: string): Promise<boolean>
  /** For what is said of needs that leave no record. */
  readonly aliasOf?: AliasOf
  /** Calls again and again until disposed of. */
  repeat(everyMs: number, act: () => void): Disposable
}

/** A failure, and how far the attempt had come. */
export class AttemptError extends Error {
  override readonly name = 'AttemptError'
  readonly problem: ProblemError
  readonly hadBegun: boolean
  constructor(problem: ProblemError, hadBegun: boolean) {
    super(problem.message, { cause: problem })
    this.problem = problem
    this.hadBegun = hadBegun
  }
}

const leaseMs = 60_000
/** How long one caller waits; what is not done by then goes on when the next one asks, or by itself. */
const patienceMs = 120_000
const longestShortWaitMs = 10_000
const maxFailedSteps = 6
const firstBackoffMs = 250
const otherHolderPollMs = 500
const maxSteps = 1000
const maxNotes = 100
const resumeDelaysMs = [15_000, 60_000, 600_000]
const longestResumeDelayMs = 3_600_000

/** Works on a need until there is a certificate or a reason why not: claims it, takes one step after another, saves each. */
export function createAttempts(parts: AttemptParts): { obtain(task: Task): Promise<CertificateRecord> } {
  const { orders, holder, context } = parts
  const { clock, log } = context
  const veiled = discreetLog(log, parts.aliasOf ?? unknownAlias)
  const logOf = ({ need }: Task) => (need.unrecorded === true ? veiled : log)

  async function obtain(task: Task): Promise<CertificateRecord> {
    const deadlineMs = clock.nowMs() + patienceMs
    for (;;) {
      const record = await writing(orders.claim(task.need, holder, clock.nowMs(), clock.nowMs() + leaseMs))
      if (record !== undefined) {
        const outcome = await workUnlessMet(task, record, deadlineMs)
        if (outcome === 'begin anew') continue
        if (outcome !== 'lease lost') return outcome
      }
      // Another process on this state works on the same need: its result will be kept for both of us.
      if (clock.nowMs() >= deadlineMs)
        throw new AttemptError(busy('another server is still working on this certificate'), true)
      await clock.sleep(otherHolderPollMs, context.signal)
      const met = await task.findMet()
      if (met !== undefined) return met
    }
  }

  async function workUnlessMet(
    task: Task,
    record: OrderRecord,
    deadlineMs: number,
  ): Promise<CertificateRecord | 'lease lost' | 'begin anew'> {
    const run: Run = {
      task,
      record,
      steps: [...record.steps],
      orderUrl: record.orderUrl,
      hadBegun: record.progress !== undefined,
      deadlineMs,
    }
    // Between our look and our claim another may have finished; now that the need is ours, the look counts.
    const met = record.progress === undefined ? await task.findMet() : undefined
    if (met !== undefined) {
      await letGo(run, { outcome: 'abandoned', reason: 'the certificate was there already' })
      return met
    }
    try {
      return await work(run)
    } catch (error) {
      if (error instanceof LeaseLostError) return 'lease lost'
      const problem = asProblemError(error)
      // What was left behind by an earlier attempt had failed meanwhile; this caller has not had its own attempt yet.
      if (record.progress !== undefined && problem.retry.when === 'newOrder') return 'begin anew'
      throw new AttemptError(problem, run.hadBegun)
    }
  }

  async function work(run: Run): Promise<CertificateRecord> {
    const { task } = run
    using _ = parts.repeat(leaseMs / 3, () => {
      orders
        .lengthen(task.need.id, holder, clock.nowMs() + leaseMs)
        .catch((error: unknown) => log.debug('a lease could not be lengthened', { error }))
    })
    try {
      if (run.record.progress === undefined && (await parts.isKeyBlocked(task.request.grant.csr.publicKeyHash))) {
        throw new ProblemError(
          'badPublicKey',
          'the key of this request was reported as compromised: make a new key on the host',
        )
      }
      await using _solvers = { [Symbol.asyncDispose]: () => pauseSolvers(task.means) }
      const issued = await advanceToEnd(run)
      const chain = parseChain(issued.chainPem)
      checkChain(chain, task.request.grant.csr)
      checkValidity(chain, await parts.trustedNowMs(task.means))
      // An issuer that keeps certificates itself may have no other one yet: then nothing is new, and nothing entered.
      if (chain.leaf.serial === task.kept?.chain.leaf.serial && (await task.isKept(chain))) {
        await letGo(run, { outcome: 'abandoned', reason: 'the issuer gives out the certificate that is here already' })
        return { chain, source: 'kept' }
      }
      // What could not be kept stays in the order's progress: the next one who asks gets it from there.
      if (await task.keep(chain)) await letGo(run, { outcome: 'issued', serial: chain.leaf.serial })
      else await letGo(run, undefined)
      return { chain, source: 'issued' }
    } catch (error) {
      if (error instanceof LeaseLostError) throw error
      const problem = error instanceof ChainError ? wrongChain(error) : asProblemError(error)
      const spent = problem.retry.when === 'never' || problem.retry.when === 'newOrder'
      noteStep(run, `failed: ${problem.message}`)
      await letGo(
        run,
        spent && !context.signal.aborted ? { outcome: 'failed', reason: problem.message } : undefined,
        problem.retry,
      )
      throw problem
    }
  }

  function noteStep(run: Run, note: string): void {
    if (run.steps.length < maxNotes) run.steps.push({ atMs: clock.nowMs(), note })
  }

  /**
   * The outcome is there already: a state that cannot be written now must not hide it. The lease ends by itself.
   * @param outcome undefined: it is not over, and goes on later
   */
  async function letGo(run: Run, outcome: OrderOutcome | undefined, retry?: Retry): Promise<void> {
    const { record, steps, orderUrl, task } = run
    const nowMs = clock.nowMs()
    try {
      if (outcome !== undefined) await orders.finish({ ...record, steps, orderUrl }, holder, outcome, nowMs)
      else {
        const ownMs = nowMs + (resumeDelaysMs[record.attempts - 1] ?? longestResumeDelayMs) * (0.75 + randomShare() / 4)
        const laterMs = retry?.when === 'notBefore' ? Math.max(retry.atMs, ownMs) : ownMs
        const resumeAtMs = context.signal.aborted ? nowMs : laterMs
        const atMs = task.need.unrecorded === true ? nowMs + unclaimedMs : resumeAtMs
        await orders.release(task.need.id, holder, steps, nowMs, atMs)
      }
    } catch (error) {
      logOf(task).error('the state could not be written; this order is looked at again the next time', {
        names: task.need.names,
        error,
      })
    }
  }

  async function advanceToEnd(run: Run): Promise<IssuedChain> {
    const { task, record, deadlineMs } = run
    const { issuer, solvers } = task.means
    const predecessorDer = task.kept?.issuer.key === issuer.key ? task.kept.chain.leaf.x509.raw : undefined
    const issuerContext = {
      ...context,
      log: logOf(task),
      solvers,
      canWait: task.canWait,
      ...(predecessorDer === undefined ? {} : { predecessorDer }),
      isOrderInUse: (orderUrl: string) => orders.isOrderInUse(orderUrl, task.need.id),
    }
    let { progress } = record
    // Without progress, too: the first attempt may have made an order and died before it could say so.
    let resumed = record.attempts > 1
    let failures = 0
    /** How many steps were done since the beginning, or since all was looked at again. */
    let position = 0
    let failedAt = 0
    for (let count = 0; count < maxSteps; count++) {
      try {
        const advance = await issuer.advance(task.request.grant, progress, resumed, issuerContext)
        if (advance.outcome === 'done') return advance.chain
        progress = advance.progress
        run.hadBegun = true
        run.orderUrl = advance.orderUrl ?? run.orderUrl
        if (advance.note !== undefined) noteStep(run, advance.note)
        // What was done again after a failure is no success yet: what failed may fail again, and then more slowly.
        position = resumed ? 0 : position + 1
        if (position > failedAt) failures = 0
        resumed = false
        const waitMs = Math.max(0, (advance.notBeforeMs ?? 0) - clock.nowMs())
        const saved = {
          progress,
          orderUrl: run.orderUrl,
          steps: run.steps,
          recoverable: advance.recoverable ?? false,
        }
        await writing(orders.save(task.need.id, holder, saved, clock.nowMs(), clock.nowMs() + leaseMs + waitMs))
        if (advance.notBeforeMs !== undefined) await waitUntil(advance.notBeforeMs, deadlineMs)
      } catch (error) {
        if (error instanceof LeaseLostError) throw error
        failedAt = failures === 0 ? position : Math.max(failedAt, position)
        failures += 1
        const problem = asProblemError(error)
        await waitBeforeRetry(task, problem, failures, deadlineMs)
        noteStep(run, `again after: ${problem.message}`)
        resumed = true
      }
    }
    throw new ProblemError('serverInternal', 'the issuance does not come to an end', { retry: { when: 'newOrder' } })
  }

  /** @throws the problem itself when waiting is of no use, or would be longer than a caller waits */
  async function waitBeforeRetry(
    task: Task,
    problem: ProblemError,
    failures: number,
    deadlineMs: number,
  ): Promise<void> {
    const untilMs = retryAtMs(problem.retry, failures)
    const tooLate = untilMs === undefined || untilMs >= deadlineMs || untilMs - clock.nowMs() > longestShortWaitMs
    if (tooLate || failures >= maxFailedSteps || context.signal.aborted) throw problem
    logOf(task).debug('a step failed and is tried again', { reason: problem.message, failures })
    await clock.sleep(Math.max(0, untilMs - clock.nowMs()), context.signal)
  }

  function retryAtMs(retry: Retry, failures: number): number | undefined {
    switch (retry.when) {
      case 'never':
      case 'newOrder':
        return undefined
      case 'notBefore':
        return retry.atMs
      case 'backoff':
        // Full jitter: many that failed together do not come back together.
        return clock.nowMs() + firstBackoffMs * 2 ** (failures - 1) * (0.5 + randomShare() / 2)
      default:
        return retry satisfies never
    }
  }

  function randomShare(): number {
    return (context.randomBytes(1)[0] ?? 0) / 256
  }

  async function waitUntil(atMs: number, deadlineMs: number): Promise<void> {
    if (clock.nowMs() >= deadlineMs) throw busy('the CA has not finished yet; ask again, and it goes on from here')
    await clock.sleep(Math.max(0, Math.min(atMs, deadlineMs) - clock.nowMs()), context.signal)
  }

  return { obtain }
}

type Run = {
  readonly task: Task
  readonly record: OrderRecord
  readonly steps: { readonly atMs: number; readonly note: string }[]
  orderUrl: string | undefined
  hadBegun: boolean
  readonly deadlineMs: number
}

/** Nothing is begun that could not be remembered: without a state that can be written there is no order. */
async function writing<T>(write: Promise<T>): Promise<T> {
  try {
    return await write
  } catch (cause) {
    if (cause instanceof LeaseLostError) throw cause
    throw unwritableState(cause)
  }
}

function busy(reason: string): ProblemError {
  return new ProblemError('serverInternal', reason, { retry: { when: 'backoff' } })
}

function wrongChain(cause: ChainError): ProblemError {
  return new ProblemError('serverInternal', `the issuer sent a certificate that cannot be used: ${cause.message}`, {
    retry: { when: 'newOrder' },
    cause,
  })
}
