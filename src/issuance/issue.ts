import { createHash } from 'node:crypto'
import { asProblemError, ProblemError, type Retry } from '../acme/problem.ts'
import type {
  CertificateStorage,
  ChallengeSolver,
  Grant,
  IssuedChain,
  Issuer,
  KeptRequest,
  PluginContext,
  Progress,
} from '../plugin-api.ts'
import { type Chain, ChainError, checkChain, checkValidity, parseChain } from '../x509/chain.ts'
import { createCheckedChains } from './checked-chains.ts'
import { LeaseLostError, type Need, type OrderRecords } from './records.ts'
import { renewalDueAtMs } from './renewal.ts'

/** A certificate that may be handed out, and where it came from. */
export type CertificateRecord = { readonly chain: Chain; readonly source: 'kept' | 'issued' }

/** How this grant is fulfilled: chosen by name from the configuration of the moment. */
export type Means = {
  readonly issuer: Issuer
  readonly solvers: readonly ChallengeSolver[]
  readonly storage: CertificateStorage
}

export type IssueRequest = { readonly grant: Grant; readonly postedBytes: Uint8Array; readonly means: Means }

export interface Issuance {
  /** The one way to a certificate. @throws ProblemError when there is none to be had */
  issue(request: IssueRequest): Promise<CertificateRecord>
  /** How many needs are being worked on. */
  readonly inFlight: number
}

const leaseMs = 60_000
/** How long one caller waits; what is not done by then goes on when the next one asks. */
const patienceMs = 120_000
const longestShortWaitMs = 10_000
const maxFailedSteps = 6
const firstBackoffMs = 250
const otherHolderPollMs = 500
const maxSteps = 1000

/** @param holder names this process towards others on the same state */
export function createIssuance(orders: OrderRecords, holder: string, context: PluginContext): Issuance {
  const { clock, log } = context
  const running = new Map<string, Promise<CertificateRecord>>()
  const checkedChains = createCheckedChains()

  async function issue(request: IssueRequest): Promise<CertificateRecord> {
    const kept = await findKept(request)
    if (kept?.fresh === true) return { chain: kept.chain, source: 'kept' }
    const need = needOf(request)
    const existing = running.get(need.id)
    const attempt = existing ?? obtain(request, need).finally(() => running.delete(need.id))
    if (existing === undefined) running.set(need.id, attempt)
    try {
      return await attempt
    } catch (error) {
      // A good certificate is never withheld because a better one cannot be had.
      if (kept === undefined) throw error
      log.warn('renewal failed; the kept certificate is answered', { names: need.names, error })
      return { chain: kept.chain, source: 'kept' }
    }
  }

  async function findKept({
    grant,
    postedBytes,
    means,
  }: IssueRequest): Promise<{ chain: Chain; fresh: boolean } | undefined> {
    const pem = await means.storage.find(keptRequest(grant, postedBytes, means), context)
    if (pem === undefined) return undefined
    try {
      const chain = checkedChains.check(pem, grant.csr)
      checkValidity(chain, clock.nowMs())
      return { chain, fresh: clock.nowMs() < renewalDueAtMs(chain.leaf, means.storage.renewWithinMs) }
    } catch (error) {
      log.info('a kept certificate is of no use any more', {
        names: namesOf(grant),
        reason: error instanceof Error ? error.message : '',
      })
      return undefined
    }
  }

  async function obtain(request: IssueRequest, need: Need): Promise<CertificateRecord> {
    const deadlineMs = clock.nowMs() + patienceMs
    for (;;) {
      const record = await writing(orders.claim(need, holder, clock.nowMs(), clock.nowMs() + leaseMs))
      if (record !== undefined) {
        const outcome = await workUnlessKept(request, need, record.progress, deadlineMs)
        if (outcome === 'begin anew') continue
        if (outcome !== 'lease lost') return outcome
      }
      // Another process on this state works on the same need: its result will be kept for both of us.
      if (clock.nowMs() >= deadlineMs) throw busy('another server is still working on this certificate')
      await clock.sleep(otherHolderPollMs, context.signal)
      const kept = await findKept(request)
      if (kept?.fresh === true) return { chain: kept.chain, source: 'kept' }
    }
  }

  async function workUnlessKept(
    request: IssueRequest,
    need: Need,
    saved: Progress | undefined,
    deadlineMs: number,
  ): Promise<CertificateRecord | 'lease lost' | 'begin anew'> {
    // Between our look and our claim another may have finished; now that the need is ours, the look counts.
    const kept = saved === undefined ? await findKept(request) : undefined
    if (kept?.fresh === true) {
      await letGo(need, true)
      return { chain: kept.chain, source: 'kept' }
    }
    try {
      return await work(request, need, saved, deadlineMs)
    } catch (error) {
      if (error instanceof LeaseLostError) return 'lease lost'
      // What was left behind by an earlier attempt had failed meanwhile; this caller has not had its own attempt yet.
      if (saved !== undefined && error instanceof ProblemError && error.retry.when === 'newOrder') return 'begin anew'
      throw error
    }
  }

  async function work(
    request: IssueRequest,
    need: Need,
    saved: Progress | undefined,
    deadlineMs: number,
  ): Promise<CertificateRecord> {
    try {
      const issued = await advanceToEnd(request, need, saved, deadlineMs)
      const chain = parseChain(issued.chainPem)
      checkChain(chain, request.grant.csr)
      checkValidity(chain, clock.nowMs())
      await keep(request, chain)
      await letGo(need, true)
      return { chain, source: 'issued' }
    } catch (error) {
      if (error instanceof LeaseLostError) throw error
      const problem = error instanceof ChainError ? wrongChain(error) : asProblemError(error)
      const spent = problem.retry.when === 'never' || problem.retry.when === 'newOrder'
      await letGo(need, spent && !context.signal.aborted)
      throw problem
    }
  }

  /** The outcome is there already: a state that cannot be written now must not hide it. The lease ends by itself. */
  async function letGo(need: Need, finished: boolean): Promise<void> {
    try {
      if (finished) await orders.finish(need.id, holder)
      else await orders.release(need.id, holder, clock.nowMs())
    } catch (error) {
      log.error('the state could not be written; this order is looked at again the next time', {
        names: need.names,
        error,
      })
    }
  }

  async function advanceToEnd(
    { grant, means }: IssueRequest,
    need: Need,
    saved: Progress | undefined,
    deadlineMs: number,
  ): Promise<IssuedChain> {
    const issuerContext = { ...context, solvers: means.solvers }
    let progress = saved
    let resumed = saved !== undefined
    let failures = 0
    for (let steps = 0; steps < maxSteps; steps++) {
      try {
        const advance = await means.issuer.advance(grant, progress, resumed, issuerContext)
        if (advance.outcome === 'done') return advance.chain
        progress = advance.progress
        // Having re-read after a failure is no success yet: what failed may fail again, and then more slowly.
        if (!resumed) failures = 0
        resumed = false
        const waitMs = Math.max(0, (advance.notBeforeMs ?? 0) - clock.nowMs())
        await writing(
          orders.save(need.id, holder, progress, clock.nowMs(), clock.nowMs() + leaseMs + waitMs, advance.recoverable),
        )
        if (advance.notBeforeMs !== undefined) await waitUntil(advance.notBeforeMs, deadlineMs)
      } catch (error) {
        if (error instanceof LeaseLostError) throw error
        failures += 1
        await waitBeforeRetry(asProblemError(error), failures, deadlineMs)
        resumed = true
      }
    }
    throw new ProblemError('serverInternal', 'the issuance does not come to an end', { retry: { when: 'newOrder' } })
  }

  /** @throws the problem itself when waiting is of no use, or would be longer than a caller waits */
  async function waitBeforeRetry(problem: ProblemError, failures: number, deadlineMs: number): Promise<void> {
    const untilMs = retryAtMs(problem.retry, failures)
    const tooLate = untilMs === undefined || untilMs >= deadlineMs || untilMs - clock.nowMs() > longestShortWaitMs
    if (tooLate || failures >= maxFailedSteps || context.signal.aborted) throw problem
    log.debug('a step failed and is tried again', { reason: problem.message, failures })
    await clock.sleep(Math.max(0, untilMs - clock.nowMs()), context.signal)
  }

  function retryAtMs(retry: Retry, failures: number): number | undefined {
    switch (retry.when) {
      case 'never':
      case 'newOrder':
        return undefined
      case 'notBefore':
        return retry.atMs
      case 'backoff': {
        // Full jitter: many that failed together do not come back together.
        const share = (context.randomBytes(1)[0] ?? 0) / 255
        return clock.nowMs() + firstBackoffMs * 2 ** (failures - 1) * (0.5 + share / 2)
      }
      default:
        return retry satisfies never
    }
  }

  async function waitUntil(atMs: number, deadlineMs: number): Promise<void> {
    if (clock.nowMs() >= deadlineMs) throw busy('the CA has not finished yet; ask again, and it goes on from here')
    await clock.sleep(Math.max(0, Math.min(atMs, deadlineMs) - clock.nowMs()), context.signal)
  }

  /** The certificate is there: a disk that refuses it now is no reason to keep it from the caller. */
  async function keep({ grant, postedBytes, means }: IssueRequest, chain: Chain): Promise<void> {
    try {
      await means.storage.keep(keptRequest(grant, postedBytes, means), chain.pem, context)
    } catch (error) {
      log.error('an issued certificate could not be kept; it is answered, and ordered anew the next time', {
        names: namesOf(grant),
        error,
      })
    }
  }

  return {
    issue,
    get inFlight() {
      return running.size
    },
  }
}

function keptRequest(grant: Grant, postedBytes: Uint8Array, means: Means): KeptRequest {
  return { postedBytes, csr: grant.csr, issuerKey: means.issuer.key, profile: grant.profile }
}

function needOf({ grant, means }: IssueRequest): Need {
  const hash = createHash('sha256')
    .update(`${means.issuer.key}\0${grant.profile ?? ''}\0`)
    .update(grant.csr.der)
  return { id: hash.digest('hex'), issuerKey: means.issuer.key, names: namesOf(grant), block: grant.block }
}

function namesOf(grant: Grant): string[] {
  return grant.csr.identifiers.map(({ value }) => value)
}

/** Nothing is begun that could not be remembered: without a state that can be written there is no order. */
async function writing<T>(write: Promise<T>): Promise<T> {
  try {
    return await write
  } catch (cause) {
    if (cause instanceof LeaseLostError) throw cause
    throw new ProblemError('serverInternal', 'the state cannot be written here; ask again later', {
      retry: { when: 'backoff' },
      cause,
    })
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
