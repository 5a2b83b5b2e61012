import { asProblemError, ProblemError } from '../acme/problem.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import { lockFolder } from '../folder-lock.ts'
import type { CertificateRecord } from '../issuance/issue.ts'
import type { IssueRequest, Kept } from '../issuance/kept.ts'
import type { RegisterEntry } from '../issuance/records.ts'
import { createTurns } from '../turns.ts'
import { type Chain, ChainError } from '../x509/chain.ts'
import { KeyLostError } from './file-holding.ts'
import type { HeldRequest } from './holding.ts'
import { runDueHooks } from './hook-runs.ts'
import type { Look, Managed, Step, Upkeep, UpkeepParts } from './managed.ts'
import { readMemory, setAsideDamaged, type Trouble, writeMemory } from './memory.ts'
import { isPausing, pauseAfter } from './pause.ts'
import { beginAloud, reasonOf } from './reason.ts'
import { assessSituation, type Situation } from './situation.ts'

export type { Look, Managed, Upkeep } from './managed.ts'

/** Nobody asks over the network: it stands where otherwise an address does. */
const remoteAddress = 'this machine'
const pauseMs = 2000
/** Files are looked at so often: somebody may have changed them, or taken them away. */
const lookEveryMs = 5 * 60_000
const maxAtOnce = 4
/** Hooks of what is done wait so long for what is still being worked on. */
const longestWorkMs = 30_000

/** Keeps managed certificates as they are wanted: orders, installs, repairs, tells. */
export function createUpkeep(parts: UpkeepParts): Upkeep {
  const { issuance, context } = parts
  const { clock, log } = context
  const turns = createTurns()
  /** By the clock that nobody sets. */
  const nextLookAtMs = new Map<string, number>()
  /** After a reload: somebody may have cured what failed. */
  const impatient = new Set<string>()
  const progress = (managed: Managed, text: string) => parts.progress?.(managed.section.name, text)

  function requestFor({ block }: Managed, { postedBytes }: HeldRequest): IssueRequest {
    return parts.requestOf({ block, postedBytes, remoteAddress })
  }

  async function findKept(managed: Managed, held: HeldRequest): Promise<Kept | undefined> {
    // What is not allowed any more is asked for anew, and that says why not.
    const request = await attempt(() => requestFor(managed, held))
    return request === undefined ? undefined : await issuance.findKept(request)
  }

  const assess = (managed: Managed, force: boolean) =>
    assessSituation(managed.holding, { force, findKept: (held) => findKept(managed, held) })

  async function lookAt(managed: Managed, { force = false } = {}): Promise<Look> {
    const { section, folder } = managed
    return await turns.take(section.name, async () => {
      const isFresh = impatient.delete(managed.block)
      const step: Step = { at: 'ordering' }
      try {
        await using lock = await lockFolder(folder)
        if (lock === undefined) return { outcome: 'busy' }
        try {
          return await lookLocked(managed, { force, isFresh, step })
        } catch (error) {
          return await noteTrouble(managed, error, step.at)
        }
      } catch (error) {
        return await noteTrouble(managed, error, step.at)
      }
    })
  }

  type Wanted = { readonly force: boolean; readonly isFresh: boolean; readonly step: Step }

  async function lookLocked(managed: Managed, { force, isFresh, step }: Wanted): Promise<Look> {
    const { folder, holding, section } = managed
    const aside = await setAsideDamaged(folder)
    if (aside !== undefined)
      log.warn('what was remembered of a certificate is damaged; it begins anew', { certificate: section.name, aside })
    await holding.tidy()
    const { trouble, placing, ...rest } = await readMemory(folder)
    const isPatient = trouble !== undefined && !force && !isFresh && placing !== true
    const waiting = isPatient && isPausing(trouble, clock.nowMs()) ? trouble : undefined
    if (managed.pickUp !== undefined) {
      const found = await managed.pickUp.look({ force, waiting, step, progress: (text) => progress(managed, text) })
      return 'chain' in found ? installed(managed, found.chain, found.outcome, found.why) : found
    }
    const situation = await assess(managed, force)
    const repaired = await repair(managed, situation, { waiting, step }).catch((error: unknown) => {
      // What replaces it anyhow may do better.
      if (situation.why === undefined) throw error
      step.at = 'ordering'
      return undefined
    })
    if (situation.why === undefined) {
      if (repaired === undefined && trouble !== undefined) await writeMemory(folder, rest)
      return repaired ?? { outcome: 'in order' }
    }
    // An order that was left behind may have been finished meanwhile.
    const isThere = waiting?.at === 'ordering' && (await isKept(managed, situation.next))
    if (waiting !== undefined && !isThere)
      return { outcome: 'waiting', untilMs: waiting.retryAtMs, reason: waiting.reason }
    return await getNext(managed, situation, { why: situation.why, force, step })
  }

  async function isKept(managed: Managed, next: HeldRequest | undefined): Promise<boolean> {
    return next?.changes.length === 0 && (await findKept(managed, next)) !== undefined
  }

  /** What is still good is put in place again, whether or not another can be had. */
  async function repair(
    managed: Managed,
    { current, next, kept, damage }: Situation,
    { waiting, step }: { readonly waiting: Trouble | undefined; readonly step: Step },
  ): Promise<Look | undefined> {
    if (damage === undefined || damage.keyIsLost || kept === undefined || current === undefined) return undefined
    if (waiting?.at === 'installing') return { outcome: 'waiting', untilMs: waiting.retryAtMs, reason: waiting.reason }
    // What is there to be installed comes in its place at once.
    if (await isKept(managed, next)) return undefined
    step.at = 'installing'
    progress(managed, `putting it in place again: ${damage.reason}`)
    await managed.holding.install(kept.chain, 'again')
    step.at = 'ordering'
    return installed(managed, kept.chain, 'repaired', damage.reason)
  }

  async function getNext(
    managed: Managed,
    situation: Situation,
    { why, force, step }: { readonly why: string; readonly force: boolean; readonly step: Step },
  ): Promise<Look> {
    const { holding } = managed
    let { next } = situation
    if (next !== undefined && next.changes.length > 0) {
      await holding.discard()
      next = undefined
    }
    next ??= await holding.begin()
    progress(managed, `asking for a certificate, because ${why}`)
    const request = requestFor(managed, next)
    const found = await obtain(request, situation, force)
    const install = async ({ chain, source }: CertificateRecord) => {
      if (source === 'issued') parts.tell({ kind: 'certificate.issued', ...factsOf(managed, chain) })
      step.at = 'installing'
      progress(managed, 'installing it')
      await holding.install(chain, 'next')
      return installed(managed, chain, 'installed', why)
    }
    try {
      return await install(found)
    } catch (error) {
      // What came for it before is no good, and somebody wants another one nevertheless.
      if (!force || found.source === 'issued' || !(error instanceof ChainError)) throw error
      step.at = 'ordering'
      return await install(await issuance.renew(request, found.chain.leaf.serial, false))
    }
  }

  async function obtain(request: IssueRequest, { kept, current }: Situation, force: boolean) {
    if (kept === undefined) return await issuance.issue(request)
    // A key that stays, and RSA signs the same request the same way.
    const isSame = current !== undefined && Buffer.from(current.postedBytes).equals(request.postedBytes)
    if (isSame && force) return await issuance.renew(request, kept.chain.leaf.serial, false)
    return await issuance.succeed(request, kept, !force)
  }

  function installed(managed: Managed, chain: Chain, outcome: 'installed' | 'repaired', why: string): Look {
    const facts = factsOf(managed, chain)
    const { names, serial } = facts
    log.info(`certificate ${outcome}`, { certificate: managed.section.name, names, serial, why })
    parts.tell({ kind: 'certificate.installed', ...facts })
    return { outcome, why, serial }
  }

  function factsOf({ block }: Managed, { leaf }: Chain) {
    const names = leaf.identifiers.map(({ value }) => value)
    const { serial, notAfterMs } = leaf
    return { atMs: clock.nowMs(), names, remoteAddress, block, serial, notAfterMs }
  }

  async function noteTrouble(managed: Managed, error: unknown, at: Trouble['at']): Promise<Look> {
    if (context.signal.aborted) return { outcome: 'failed', reason: 'stopped' }
    const problem = asProblemError(error)
    const reason = reasonOf(error)
    const { folder, section, block, holding } = managed
    let retryAtMs: number | undefined
    try {
      if (error instanceof KeyLostError) await holding.discard()
      const memory = await readMemory(folder)
      const pause = pauseAfter(memory.trouble, problem, context)
      await writeMemory(folder, { ...memory, trouble: { ...pause, reason, at } })
      retryAtMs = pause.retryAtMs
      const again = new Date(retryAtMs).toISOString()
      log.warn('a certificate cannot be had or installed', { certificate: section.name, reason, again })
    } catch (cause) {
      log.error('a certificate cannot be looked after', { certificate: section.name, reason, error: cause })
    }
    const names = identifiersOf(section.values).map(({ value }) => value)
    const common = { atMs: clock.nowMs(), names, remoteAddress, block }
    parts.tell({ kind: 'issuance.failed', ...common, code: problem.code, reason })
    return { outcome: 'failed', reason, ...(retryAtMs === undefined ? {} : { retryAtMs }) }
  }

  const runHooks = (wanted?: { readonly now?: boolean }) =>
    runDueHooks(
      {
        context,
        certificates: parts.certificates,
        progress,
        lock: ({ folder }) => lockFolder(folder),
        async findInstalled(managed) {
          if (managed.pickUp !== undefined) return await managed.pickUp.findInstalled()
          const current = await managed.holding.current()
          return current === undefined ? undefined : (await findKept(managed, current))?.chain
        },
      },
      wanted,
    )

  async function successorOf(entry: RegisterEntry): Promise<IssueRequest | 'replaced' | undefined> {
    const managed = parts.certificates().find(({ block }) => block === entry.block)
    if (managed === undefined) return undefined
    return await turns.take(managed.section.name, async () => {
      await using lock = await lockFolder(managed.folder)
      if (lock === undefined)
        throw new ProblemError('serverInternal', 'another process looks after this certificate now', {
          retry: { when: 'backoff' },
        })
      const { holding } = managed
      const [next, current] = [await holding.next(), await holding.current()]
      const isSame = (held: HeldRequest | undefined) =>
        held !== undefined && Buffer.from(held.postedBytes).equals(entry.postedBytes)
      if (isSame(next)) return undefined
      if (!isSame(current)) return 'replaced'
      const made = next !== undefined && next.changes.length === 0 ? next : await beginAloud(holding)
      return isSame(made) ? undefined : requestFor(managed, made)
    })
  }

  async function run(): Promise<void> {
    const working = new Set<Promise<void>>()
    let quietAtMs = clock.monotonicMs()
    while (!context.signal.aborted) {
      const due = parts.certificates().filter(({ block }) => (nextLookAtMs.get(block) ?? 0) <= clock.monotonicMs())
      for (const managed of due.slice(0, maxAtOnce - working.size)) {
        nextLookAtMs.set(managed.block, clock.monotonicMs() + lookEveryMs)
        const work = lookAt(managed)
          .then((look) => {
            const untilMs =
              look.outcome === 'waiting'
                ? look.untilMs
                : look.outcome === 'failed'
                  ? look.retryAtMs
                  : managed.pickUp?.nextLookAtMs()
            if (untilMs !== undefined && nextLookAtMs.has(managed.block))
              nextLookAtMs.set(managed.block, clock.monotonicMs() + Math.min(untilMs - clock.nowMs(), lookEveryMs))
          })
          .finally(() => working.delete(work))
        working.add(work)
      }
      // Those of one change come together; one that does not come to its end keeps nobody waiting for long.
      if (working.size === 0) quietAtMs = clock.monotonicMs()
      if (clock.monotonicMs() - quietAtMs > longestWorkMs || working.size === 0)
        await runHooks().catch((error: unknown) => log.error('hooks could not be run', { error }))
      await clock.sleep(pauseMs, context.signal).catch(() => undefined)
    }
    await Promise.all(working)
  }

  return {
    lookAt,
    runHooks,
    successorOf,
    run,
    async plan(managed, { force = false } = {}) {
      if (managed.pickUp !== undefined) return await managed.pickUp.plan(force)
      const { why, damage } = await assess(managed, force)
      if (why !== undefined) return `a certificate is asked for, because ${why}`
      return damage === undefined ? undefined : `it is put in place again: ${damage.reason}`
    },
    wake(block, { afresh = block === undefined } = {}) {
      for (const one of parts.certificates()) {
        if (block !== undefined && block !== one.block) continue
        nextLookAtMs.delete(one.block)
        if (afresh) impatient.add(one.block)
      }
    },
  }
}

async function attempt<T>(act: () => T): Promise<T | undefined> {
  try {
    return act()
  } catch {
    return undefined
  }
}
