import { X509Certificate } from 'node:crypto'
import { believedNowMs } from '../../acme/believed-time.ts'
import { asProblemError } from '../../acme/problem.ts'
import { deactivateAuthorization } from '../../acme-client/authorizations.ts'
import {
  type ChosenChallenge,
  nextStep,
  noProgress,
  type OrderProgress,
  type Step,
} from '../../acme-client/order-flow.ts'
import { fetchRenewalInfo } from '../../acme-client/renewal-info.ts'
import { revokeCertificate } from '../../acme-client/revocations.ts'
import type { AcmeTransport, Signer } from '../../acme-client/transport.ts'
import type { Advance, Grant, IssuedChain, Issuer, IssuerContext, Progress, RateLedger } from '../../plugin-api.ts'
import { certificateId } from '../../x509/certificate-id.ts'
import type { AccountHolder, UsableAccount } from './acme-account.ts'
import { noteSent, type OrderPlace, ratesFor } from './new-order.ts'
import { again, cleanUp, type Performed, perform, type Run, refresh } from './order-steps.ts'
import type { RateLimits } from './rate-limits.ts'
import { hasLook } from './visibility.ts'

export type AcmeIssuerSettings = {
  readonly directoryUrl: string
  readonly profile: string | undefined
  readonly preferredChain: string | undefined
  readonly limits: RateLimits
}

/** The issuer that speaks ACME to a CA: nextStep says what, this does it. */
export function createAcmeIssuer(
  settings: AcmeIssuerSettings,
  transport: AcmeTransport,
  holder: AccountHolder,
  rates: RateLedger,
): Issuer {
  const key = `acme:${settings.directoryUrl}`
  const place: OrderPlace = {
    issuerKey: key,
    profile: settings.profile,
    limits: settings.limits,
    rates,
    sent: new Map(),
  }

  async function advance(
    grant: Grant,
    saved: Progress | undefined,
    resumed: boolean,
    context: IssuerContext,
  ): Promise<Advance> {
    if (saved === undefined && !resumed) noteSent(place, grant, false)
    const account = await holder.account(context)
    const progress = saved === undefined ? noProgress : restoreProgress(saved)
    const run: Run = { grant, account, transport, context, place, caNowMs: await caNowMs(transport, context) }
    try {
      if (resumed && progress.order !== undefined && progress.chainPem === undefined)
        return await settle(run, settings, progress, await refresh(run, progress))
      return await settle(run, settings, progress, await perform(run, progress, nextStepOf(run, progress), resumed))
    } catch (error) {
      const problem = asProblemError(error)
      if (problem.code === 'accountDoesNotExist' && !progress.accountLost) {
        // Its orders went with the account: find or make it again, and begin anew.
        context.log.warn('the CA does not know our account any more', { account: account.accountUrl })
        holder.forget()
        await cleanUp(run, progress, progress.chosen)
        return await settle(
          run,
          settings,
          progress,
          again({ ...noProgress, accountLost: true }, 'the CA forgot our account'),
        )
      }
      if (problem.retry.when === 'never' || problem.retry.when === 'newOrder') {
        if (!progress.cleaned) await cleanUp(run, progress, progress.chosen)
        await giveBackAfterFailure(run, progress)
        await giveUpOrder(run, progress)
      }
      throw error
    }
  }

  async function abandon(saved: Progress, context: IssuerContext): Promise<void> {
    const progress = restoreProgress(saved)
    const account = await holder.account(context)
    // Which of several of one type presented it is not known any more; undoing what is not there is no failure.
    for (const solver of context.solvers)
      await cleanUp(
        { account, context: { ...context, solvers: [solver] }, caNowMs: context.clock.nowMs() },
        progress,
        progress.chosen,
      )
    await deactivateOpen(transport, account, progress, context)
  }

  return {
    key,
    advance,
    abandon,
    async renewalInfo(certificateDer, context) {
      const id = certificateId(certificateDer)
      return id === undefined ? undefined : await fetchRenewalInfo(transport, id, context)
    },
    async revoke({ certificateDer, reason, key: certificateKey }, context) {
      const signer: Signer = certificateKey === undefined ? await holder.account(context) : { key: certificateKey }
      await revokeCertificate(transport, signer, certificateDer, reason, context)
    },
    timeMs: (context) => transport.timeMs(context),
    async prepare(context) {
      await holder.account(context)
    },
  }
}

/** Stopped before the CA was told of any answer: to the CA, such an order would stay open for days. */
async function giveUpOrder({ transport, account, context }: Run, progress: OrderProgress): Promise<void> {
  const { order, answered } = progress
  if (order?.status !== 'pending' || answered.length > 0) return
  // Where that cannot be found out, it stays open.
  const inUse = await context.isOrderInUse?.(order.url).catch(() => true)
  if (inUse !== true) await deactivateOpen(transport, account, progress, context)
}

async function deactivateOpen(
  transport: AcmeTransport,
  account: UsableAccount,
  { authorizations }: OrderProgress,
  context: IssuerContext,
): Promise<void> {
  for (const { url, status } of authorizations)
    if (status === 'pending') await deactivateAuthorization(transport, account, url, context)
}

function nextStepOf({ grant, context, caNowMs: nowMs }: Run, progress: OrderProgress): Step {
  const solvable = context.solvers.map((solver) => solver.type)
  return nextStep(progress, grant.csr.identifiers, solvable, nowMs)
}

/** An order's times are the CA's: they are not judged by a clock of ours that is far from its own. */
async function caNowMs(transport: AcmeTransport, context: IssuerContext): Promise<number> {
  const ownMs = context.clock.nowMs()
  return believedNowMs(ownMs, await transport.timeMs(context).catch(() => undefined))
}

/** Steps that touch nothing outside need no saving of their own: they are taken along with the one before. */
async function settle(
  run: Run,
  settings: AcmeIssuerSettings,
  before: OrderProgress,
  outcome: Performed,
): Promise<Advance> {
  let { progress } = outcome
  const { notBeforeMs, note } = outcome
  const orderUrl = progress.order?.url
  const told = {
    ...(note === undefined ? {} : { note }),
    ...(orderUrl === undefined ? {} : { orderUrl }),
  }
  const saved = () => ({ outcome: 'again' as const, progress, recoverable: isRecoverable(before, progress), ...told })
  if (notBeforeMs !== undefined) return { ...saved(), notBeforeMs }
  for (;;) {
    const step = nextStepOf(run, progress)
    const solverOf = ({ challenge }: ChosenChallenge) => run.context.solvers.find(({ type }) => type === challenge.type)
    if (step.do === 'choose') progress = { ...progress, chosen: step.chosen }
    else if (step.do === 'waitUntilVisible' && !step.challenges.some((chosen) => hasLook(solverOf(chosen))))
      progress = { ...progress, visible: true }
    else if (step.do === 'succeed') {
      await giveBackAfterSuccess(run, progress)
      const chain = { chainPem: step.chainPem, alternatesPem: progress.alternatesPem ?? [] }
      return { outcome: 'done', chain: preferChain(settings, chain) }
    } else return saved()
  }
}

/** The names were validated: nothing failed, and what had failed before is over. */
async function giveBackAfterSuccess(run: Run, { taken }: OrderProgress): Promise<void> {
  const failures = taken?.failures ?? []
  try {
    const rates = ratesFor(run)
    await rates.giveBack(failures.filter(({ limit }) => limit === 'failures'))
    await rates.refill(failures.filter(({ limit }) => limit !== 'failures'))
  } catch (error) {
    // What is not given back comes back with time; the certificate that is there would not.
    run.context.log.warn('the rate ledger could not be written', { error })
  }
}

/** The order was made, and the names that failed have failed; for the rest nothing was used. */
async function giveBackAfterFailure(run: Run, { taken, authorizations }: OrderProgress): Promise<void> {
  if (taken === undefined) return
  const failed = new Set(
    authorizations.filter(({ status }) => status === 'invalid').map(({ identifier }) => identifier.value),
  )
  const unused = taken.failures.filter(({ subject }) => !failed.has(subject))
  await ratesFor(run)
    .giveBack([...taken.certificates, ...unused])
    .catch((error: unknown) => run.context.log.warn('the rate ledger could not be written', { error }))
}

/** Everything but the order's address and what was chosen to be presented is read again from the CA. */
function isRecoverable(before: OrderProgress, after: OrderProgress): boolean {
  return (
    before.order?.url === after.order?.url &&
    before.chosen.length === after.chosen.length &&
    before.accountLost === after.accountLost
  )
}

/** A preference that no chain meets never fails an issuance: the CA's own choice is then the answer. */
function preferChain({ preferredChain: wanted }: AcmeIssuerSettings, chain: IssuedChain): IssuedChain {
  if (wanted === undefined) return chain
  const leadsTo = (pem: string) => {
    const last = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)?.at(-1)
    return last !== undefined && issuerOf(last).includes(`CN=${wanted}`)
  }
  const preferred = [chain.chainPem, ...chain.alternatesPem].find(leadsTo)
  return preferred === undefined ? chain : { ...chain, chainPem: preferred }
}

function issuerOf(pem: string): string {
  try {
    return new X509Certificate(pem).issuer
  } catch {
    return ''
  }
}

/** Our own writing, read back: another version's is not understood, and the order is then begun anew. */
function restoreProgress(saved: Progress): OrderProgress {
  return { ...noProgress, ...(saved as Partial<OrderProgress>) }
}
