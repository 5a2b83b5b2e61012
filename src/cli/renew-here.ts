import { asProblemError } from '../acme/problem.ts'
import { certificateBlockName } from '../config/certificate-block.ts'
import { afterFailure, randomShareOf, wakeAtMs } from '../issuance/renewal-plan.ts'
import { releaseDeadHolders } from '../order-holder.ts'
import { isAlive } from '../process-id.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import type { Desk } from './open-installation.ts'
import type { Renewal, TellProgress } from './renewal-watch.ts'

const maxAtOnce = 4

/** Renews without a server: answers the CA's questions itself for as long as it takes. */
export async function renewHere(desk: Desk, entries: readonly StoredEntry[], tell: TellProgress): Promise<Renewal[]> {
  const { state, clock, context, holder } = desk
  desk.stopOnSignal()
  const { createIssuanceOver } = await import('../certificate-work.ts')
  const { createResponders } = await import('../responders.ts')
  const { createStoredAnswers } = await import('../stored-answers.ts')
  const runtime = await desk.openRuntime()
  await releaseDeadHolders(state.orders, holder, isAlive)
  const issuance = createIssuanceOver(desk)
  const responders = createResponders(createStoredAnswers(desk), desk.context)
  await responders.change(runtime.responderSetup)
  try {
    const waiting = [...entries]
    const done: Renewal[] = []
    const work = async () => {
      for (let entry = waiting.shift(); entry !== undefined; entry = waiting.shift()) done.push(await renew(entry))
    }
    await Promise.all(Array.from({ length: maxAtOnce }, work))
    return done
  } finally {
    await responders.close()
  }

  async function renew(entry: StoredEntry): Promise<Renewal> {
    const managed = desk.config.certificates.find(({ name }) => certificateBlockName(name) === entry.block)
    if (managed !== undefined) {
      const reason = `this machine keeps its key, too: run "acmems renew ${managed.name} --force"`
      return { entry, outcome: 'failed', reason }
    }
    // A server that starts when we were stopped goes on with it.
    await state.register.askRenewal(entry.id, clock.nowMs())
    tell(entry, 'asking the CA')
    try {
      const { chain } = await issuance.renew(runtime.requestOf(entry), entry.serial, false)
      await endAsking(entry)
      return { entry, outcome: 'renewed', serial: chain.leaf.serial, notAfterMs: chain.leaf.notAfterMs }
    } catch (error) {
      if (context.signal.aborted) throw context.signal.reason
      const { message: reason, retry } = asProblemError(error)
      const plan = { ...entry.plan, asked: true as const }
      const notBeforeMs = retry.when === 'notBefore' ? retry.atMs : 0
      const next = afterFailure(plan, entry, clock.nowMs(), randomShareOf(context), notBeforeMs)
      await state.register.savePlan(entry.id, next, wakeAtMs(next, entry.notAfterMs), reason)
      return { entry, outcome: 'failed', reason }
    }
  }

  /** Where the configuration names another issuer by now, the new certificate is another entry. */
  async function endAsking(former: StoredEntry): Promise<void> {
    const entry = await state.register.find(former.id)
    if (entry?.serial !== former.serial) return
    await state.register.savePlan(former.id, former.plan, undefined)
  }
}
