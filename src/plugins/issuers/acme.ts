import { X509Certificate } from 'node:crypto'
import type { Authorization } from '../../acme/authorization.ts'
import { keyAuthorization } from '../../acme/key-authorization.ts'
import { asProblemError, ProblemError } from '../../acme/problem.ts'
import { fetchAuthorization } from '../../acme-client/authorizations.ts'
import { downloadChain } from '../../acme-client/certificates.ts'
import { answerChallenge } from '../../acme-client/challenges.ts'
import {
  type ChosenChallenge,
  nextStep,
  noProgress,
  type OrderProgress,
  type Step,
} from '../../acme-client/order-flow.ts'
import { createOrder, fetchOrder, finalizeOrder, type OrderReply } from '../../acme-client/orders.ts'
import type { AcmeTransport } from '../../acme-client/transport.ts'
import type {
  Advance,
  ChallengeSolver,
  ChallengeTask,
  Grant,
  IssuedChain,
  Issuer,
  IssuerContext,
  Progress,
} from '../../plugin-api.ts'
import type { AccountHolder, UsableAccount } from './acme-account.ts'

export type AcmeIssuerSettings = {
  readonly directoryUrl: string
  readonly profile: string | undefined
  readonly preferredChain: string | undefined
}

const firstPollMs = 30
const longestPollMs = 10_000
const answerLifetimeMs = 24 * 3_600_000

/** The issuer that speaks ACME to a CA: nextStep says what, this does it. */
export function createAcmeIssuer(
  settings: AcmeIssuerSettings,
  transport: AcmeTransport,
  holder: AccountHolder,
): Issuer {
  async function advance(
    grant: Grant,
    saved: Progress | undefined,
    resumed: boolean,
    context: IssuerContext,
  ): Promise<Advance> {
    const account = await holder.account(context)
    const progress = saved === undefined ? noProgress : restoreProgress(saved)
    const run: Run = { grant, account, transport, context, settings }
    try {
      if (resumed && progress.order !== undefined && progress.chainPem === undefined)
        return settle(run, progress, again(await refresh(run, progress)))
      return settle(run, progress, await perform(run, progress, nextStepOf(run, progress)))
    } catch (error) {
      const problem = asProblemError(error)
      if (problem.code === 'accountDoesNotExist' && !progress.accountLost) {
        // Its orders went with the account: find or make it again, and begin anew.
        context.log.warn('the CA does not know our account any more', { account: account.accountUrl })
        holder.forget()
        await cleanUp(run, progress, progress.chosen)
        return settle(run, progress, again({ ...noProgress, accountLost: true }))
      }
      if (!progress.cleaned && (problem.retry.when === 'never' || problem.retry.when === 'newOrder'))
        await cleanUp(run, progress, progress.chosen)
      throw error
    }
  }

  return {
    key: `acme:${settings.directoryUrl}`,
    advance,
    async prepare(context) {
      await holder.account(context)
    },
  }
}

type Run = {
  readonly grant: Grant
  readonly account: UsableAccount
  readonly transport: AcmeTransport
  readonly context: IssuerContext
  readonly settings: AcmeIssuerSettings
}

function nextStepOf({ grant, context }: Run, progress: OrderProgress): Step {
  const solvable = context.solvers.map((solver) => solver.type)
  return nextStep(progress, grant.csr.identifiers, solvable, context.clock.nowMs())
}

/** Steps that touch nothing outside need no saving of their own: they are taken along with the one before. */
function settle(run: Run, before: OrderProgress, outcome: Performed): Advance {
  let { progress } = outcome
  const { notBeforeMs } = outcome
  if (notBeforeMs !== undefined)
    return { outcome: 'again', progress, notBeforeMs, recoverable: isRecoverable(before, progress) }
  for (;;) {
    const step = nextStepOf(run, progress)
    const solverOf = ({ challenge }: ChosenChallenge) => run.context.solvers.find(({ type }) => type === challenge.type)
    if (step.do === 'choose') progress = { ...progress, chosen: step.chosen }
    else if (step.do === 'waitUntilVisible' && !step.challenges.some((chosen) => solverOf(chosen)?.waitUntilVisible))
      progress = { ...progress, visible: true }
    else if (step.do === 'succeed')
      return {
        outcome: 'done',
        chain: preferChain(run, { chainPem: step.chainPem, alternatesPem: progress.alternatesPem ?? [] }),
      }
    else return { outcome: 'again', progress, recoverable: isRecoverable(before, progress) }
  }
}

/** Everything but the order's address and what was chosen to be presented is read again from the CA. */
function isRecoverable(before: OrderProgress, after: OrderProgress): boolean {
  return (
    before.order?.url === after.order?.url &&
    before.chosen.length === after.chosen.length &&
    before.accountLost === after.accountLost
  )
}

type Performed = { readonly progress: OrderProgress; readonly notBeforeMs?: number }

async function perform(run: Run, progress: OrderProgress, step: Step): Promise<Performed> {
  const { grant, account, transport, context } = run
  switch (step.do) {
    case 'createOrder': {
      const profile = await chooseProfile(run)
      const request = { identifiers: grant.csr.identifiers, ...(profile === undefined ? {} : { profile }) }
      return again({ ...progress, order: (await createOrder(transport, account, request, context)).order })
    }
    case 'loadAuthorizations':
      return again({ ...progress, authorizations: await loadAuthorizations(run, step.urls) })
    case 'inspect': {
      // Why the order failed is worth one look; when even that fails, the order's own words must do.
      const authorizations = await loadAuthorizations(run, step.urls).catch(() => progress.authorizations)
      return again({ ...progress, authorizations, inspected: true })
    }
    case 'choose':
      return again({ ...progress, chosen: step.chosen })
    case 'present':
      await Promise.all(
        step.challenges.map((chosen) =>
          withSolver(run, progress, chosen, (solver, task) => solver.present(task, context)),
        ),
      )
      return again({
        ...progress,
        presented: [...progress.presented, ...step.challenges.map(({ challenge }) => challenge.url)],
      })
    case 'waitUntilVisible':
      await Promise.all(
        step.challenges.map((chosen) =>
          withSolver(run, progress, chosen, async (solver, task) => solver.waitUntilVisible?.(task, context)),
        ),
      )
      return again({ ...progress, visible: true })
    case 'answer': {
      await Promise.all(step.challenges.map((challenge) => answerChallenge(transport, account, challenge, context)))
      const answered = [...progress.answered, ...step.challenges.map(({ url }) => url)]
      return again({ ...progress, answered, polls: 0 }, context.clock.nowMs() + firstPollMs)
    }
    case 'poll':
      return afterLooking(run, progress, await fetchOrder(transport, account, step.order.url, context))
    case 'finalize':
      return afterLooking(
        run,
        progress,
        await finalizeOrder(transport, account, step.order, grant.csr.der, context),
        true,
      )
    case 'download': {
      const chain = await downloadChain(transport, account, step.url, context)
      return again({ ...progress, ...chain })
    }
    case 'cleanUp':
      await cleanUp(run, progress, step.challenges)
      return again({ ...progress, cleaned: true })
    case 'succeed':
      return again(progress)
    case 'fail':
      throw new ProblemError(step.code, step.reason, { retry: step.retry })
    default:
      return step satisfies never
  }
}

function again(progress: OrderProgress, notBeforeMs?: number): Performed {
  return { progress, ...(notBeforeMs === undefined ? {} : { notBeforeMs }) }
}

/** RFC 8555 §7.5.1: never before the CA's Retry-After, and ever more rarely by ourselves. */
function afterLooking(
  run: Run,
  progress: OrderProgress,
  { order, retryAfterMs }: OrderReply,
  finalized = false,
): Performed {
  // Some CAs still say `ready` right after finalize: that is a wait, too.
  const waits = order.status === 'pending' || order.status === 'processing' || (finalized && order.status === 'ready')
  const looked = { ...progress, order, polls: waits ? progress.polls + 1 : 0 }
  if (!waits) return again(looked)
  const ownPaceMs = Math.min(firstPollMs * 2 ** progress.polls, longestPollMs)
  return again(looked, run.context.clock.nowMs() + Math.max(retryAfterMs ?? 0, ownPaceMs))
}

/** After a crash or a lost answer the CA's view counts: what it has not seen is done again, nothing else. */
async function refresh(run: Run, progress: OrderProgress): Promise<OrderProgress> {
  if (progress.order === undefined) return progress
  const { order } = await fetchOrder(run.transport, run.account, progress.order.url, run.context)
  return {
    ...progress,
    order,
    authorizations: [],
    presented: [],
    visible: false,
    answered: [],
    polls: 0,
    inspected: false,
    cleaned: false,
  }
}

function loadAuthorizations(run: Run, urls: readonly string[]): Promise<Authorization[]> {
  return Promise.all(urls.map((url) => fetchAuthorization(run.transport, run.account, url, run.context)))
}

async function chooseProfile(run: Run): Promise<string | undefined> {
  const wanted = run.grant.profile ?? run.settings.profile
  if (wanted === undefined) return undefined
  const { profiles } = await run.transport.directory(run.context)
  if (profiles.has(wanted)) return wanted
  run.context.log.warn('the CA does not offer the profile; ordering without it', {
    profile: wanted,
    offered: [...profiles.keys()],
  })
  return undefined
}

async function withSolver(
  run: Run,
  progress: OrderProgress,
  { identifier, wildcard, challenge }: ChosenChallenge,
  act: (solver: ChallengeSolver, task: ChallengeTask) => Promise<void>,
): Promise<void> {
  const solver = run.context.solvers.find(({ type }) => type === challenge.type)
  if (solver === undefined) return
  const nowMs = run.context.clock.nowMs()
  const expiresAtMs = Math.min(progress.order?.expiresAtMs ?? Number.POSITIVE_INFINITY, nowMs + answerLifetimeMs)
  await act(solver, {
    identifier,
    wildcard,
    challenge,
    keyAuthorization: keyAuthorization(challenge.token, run.account.thumbprint),
    expiresAtMs,
  })
}

/** Never fails an issuance: what could not be removed is logged, and expires by itself where it can. */
async function cleanUp(run: Run, progress: OrderProgress, challenges: readonly ChosenChallenge[]): Promise<void> {
  const results = await Promise.allSettled(
    challenges.map((chosen) => withSolver(run, progress, chosen, (solver, task) => solver.cleanUp(task, run.context))),
  )
  for (const [index, result] of results.entries()) {
    if (result.status === 'rejected') {
      run.context.log.warn('a challenge answer could not be removed', {
        name: challenges[index]?.identifier.value,
        error: result.reason,
      })
    }
  }
}

/** A preference that no chain meets never fails an issuance: the CA's own choice is then the answer. */
function preferChain(run: Run, chain: IssuedChain): IssuedChain {
  const wanted = run.settings.preferredChain
  if (wanted === undefined) return chain
  const leadsTo = (pem: string) => {
    const last = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)?.at(-1)
    return last !== undefined && new X509Certificate(last).issuer.includes(`CN=${wanted}`)
  }
  const preferred = [chain.chainPem, ...chain.alternatesPem].find(leadsTo)
  return preferred === undefined ? chain : { ...chain, chainPem: preferred }
}

/** Our own writing, read back: another version's is not understood, and the order is then begun anew. */
function restoreProgress(saved: Progress): OrderProgress {
  return { ...noProgress, ...(saved as Partial<OrderProgress>) }
}
