import { asProblemError, ProblemError } from '../acme/problem.ts'
import type { CertificateSection } from '../config/config.ts'
import type { Issuance } from '../issuance/issue.ts'
import type { IssueRequest, Kept } from '../issuance/kept.ts'
import type { RegisterEntry } from '../issuance/records.ts'
import type { StoredRequest } from '../issuance/renewals.ts'
import type { IssuanceEvent, PluginContext } from '../plugin-api.ts'
import { createTurns } from '../turns.ts'
import type { Chain } from '../x509/chain.ts'
import { KeyLostError } from './file-holding.ts'
import { lockFolder } from './folder-lock.ts'
import type { HeldRequest, Holding } from './holding.ts'
import { createHookRuns } from './hook-runs.ts'
import { readMemory, type Trouble, writeMemory } from './memory.ts'
import { pauseAfter } from './pause.ts'

/** A `[certificate]` that is kept up. */
export type Managed = {
  readonly section: CertificateSection
  /** Of its implicit auth block. */
  readonly block: string
  readonly holding: Holding
  /** What we remember of it is here. */
  readonly folder: string
}

export type UpkeepParts = {
  readonly issuance: Issuance
  readonly context: PluginContext
  /** Today's configuration. */
  certificates(): readonly Managed[]
  /** Today's configuration decides again. @throws ProblemError */
  requestOf(stored: StoredRequest): IssueRequest
  tell(event: IssuanceEvent): void
  /** Told what is being done, for whoever watches. */
  progress?(name: string, text: string): void
}

export type Look =
  | { readonly outcome: 'in order' }
  | { readonly outcome: 'installed' | 'repaired'; readonly why: string; readonly serial: string }
  /** It failed before, and is tried again then. */
  | { readonly outcome: 'waiting'; readonly untilMs: number; readonly reason: string }
  | { readonly outcome: 'failed'; readonly reason: string }
  /** Another process is at it. */
  | { readonly outcome: 'busy' }

export interface Upkeep {
  /** Does what is to be done for it now. Never rejects. */
  lookAt(managed: Managed, wanted?: { readonly force?: boolean }): Promise<Look>
  /** Says what would be done, and why. undefined: nothing */
  plan(managed: Managed, wanted?: { readonly force?: boolean }): Promise<string | undefined>
  /** Runs the hooks that are due, each once for all certificates that name it. @returns why some failed */
  runHooks(): Promise<string[]>
  /**
   * The request that takes the place of one in the register which is due: a new key, unless it is reused.
   * `replaced`: it is no certificate of today's any more; undefined: it is none of ours.
   */
  successorOf(entry: RegisterEntry): Promise<IssueRequest | 'replaced' | undefined>
  /** There may be something to do for the certificate of this block; without one, for all, whatever failed before. */
  wake(block?: string): void
  /** Again and again, until the context's signal. Never rejects. */
  run(): Promise<void>
}

/** Nobody asks over the network: it stands where otherwise an address does. */
const remoteAddress = 'this machine'
const pauseMs = 2000
/** Files are looked at so often: somebody may have changed them, or taken them away. */
const lookEveryMs = 5 * 60_000
const maxAtOnce = 4

/** Keeps managed certificates as they are wanted: orders, installs, repairs, tells. */
export function createUpkeep(parts: UpkeepParts): Upkeep {
  const { issuance, context } = parts
  const { clock, log } = context
  const turns = createTurns()
  const nextLookAtMs = new Map<string, number>()
  /** Not paused any more: somebody may have cured what was wrong. */
  const unpaused = new Set<string>()
  const progress = (managed: Managed, text: string) => parts.progress?.(managed.section.name, text)

  function requestFor({ block }: Managed, { postedBytes }: HeldRequest): IssueRequest {
    return parts.requestOf({ block, postedBytes, remoteAddress })
  }

  async function findKept(managed: Managed, current: HeldRequest): Promise<Kept | undefined> {
    // What is not allowed any more is asked for anew, and that says why not.
    const request = await attempt(() => requestFor(managed, current))
    return request === undefined ? undefined : await issuance.findKept(request)
  }

  type Situation = {
    readonly next: HeldRequest | undefined
    readonly current: HeldRequest | undefined
    readonly kept: Kept | undefined
    /** Why there is a certificate to get; undefined: there is none. */
    readonly why: string | undefined
    readonly damage: string | undefined
  }

  async function assess({ holding, ...managed }: Managed, force: boolean): Promise<Situation> {
    const next = await holding.next()
    const current = await holding.current()
    const kept = current === undefined ? undefined : await findKept({ holding, ...managed }, current)
    const isNewer = kept !== undefined && kept.chain.leaf.serial !== current?.serial
    const damage = isNewer
      ? { reason: 'a newer certificate was issued for its key', keyIsLost: false }
      : await holding.findDamage()
    const why =
      current === undefined
        ? 'there is none yet'
        : current.changes.length > 0
          ? `${current.changes.join(' and ')} changed`
          : kept === undefined
            ? 'it was revoked, or is over'
            : damage?.keyIsLost === true
              ? `its key is lost: ${damage.reason}`
              : force
                ? 'it was asked for'
                : next !== undefined
                  ? 'it is due'
                  : undefined
    return { next, current, kept, why, damage: damage?.reason }
  }

  async function lookAt(managed: Managed, { force = false } = {}): Promise<Look> {
    return await turns.take(managed.section.name, async () => {
      try {
        await using lock = await lockFolder(managed.folder)
        return lock === undefined ? { outcome: 'busy' } : await lookLocked(managed, force)
      } catch (error) {
        return await noteTrouble(managed, error)
      }
    })
  }

  async function lookLocked(managed: Managed, force: boolean): Promise<Look> {
    const { folder, holding } = managed
    const situation = await assess(managed, force)
    const { trouble } = await readMemory(folder)
    if (situation.why === undefined && situation.damage === undefined) return { outcome: 'in order' }
    const isPaused = trouble !== undefined && trouble.retryAtMs > clock.nowMs() && !force
    if (isPaused && !unpaused.delete(managed.block) && !(await cameMeanwhile(managed, situation.next, trouble)))
      return { outcome: 'waiting', untilMs: trouble.retryAtMs, reason: trouble.reason }
    if (situation.why !== undefined) return await getNext(managed, situation, situation.why, force)
    const chain = situation.kept?.chain
    if (chain === undefined) return { outcome: 'in order' }
    progress(managed, `putting it in place again: ${situation.damage}`)
    await holding.install(chain, 'again')
    return installed(managed, chain, 'repaired', situation.damage ?? '')
  }

  /** What was ordered before came meanwhile: an order that was left behind was finished. */
  async function cameMeanwhile(
    managed: Managed,
    next: HeldRequest | undefined,
    { wasThere }: Trouble,
  ): Promise<boolean> {
    return !wasThere && (await isThere(managed, next))
  }

  async function isThere(managed: Managed, next: HeldRequest | undefined): Promise<boolean> {
    return next !== undefined && next.changes.length === 0 && (await findKept(managed, next)) !== undefined
  }

  async function getNext(managed: Managed, situation: Situation, why: string, force: boolean): Promise<Look> {
    const { holding } = managed
    let { next } = situation
    if (next !== undefined && next.changes.length > 0) {
      await holding.discard()
      next = undefined
    }
    next ??= await holding.begin()
    progress(managed, `asking for a certificate, because ${why}`)
    const request = requestFor(managed, next)
    const { chain, source } = await obtain(request, situation, force)
    if (source === 'issued') parts.tell({ kind: 'certificate.issued', ...factsOf(managed, chain) })
    progress(managed, 'installing it')
    await holding.install(chain, 'next')
    return installed(managed, chain, 'installed', why)
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

  async function noteTrouble(managed: Managed, error: unknown): Promise<Look> {
    if (context.signal.aborted) return { outcome: 'failed', reason: 'stopped' }
    const problem = asProblemError(error)
    const reason = problem.code === 'serverInternal' && error instanceof Error ? error.message : problem.message
    const { folder, section, block, holding } = managed
    try {
      if (error instanceof KeyLostError) await holding.discard()
      const memory = await readMemory(folder)
      const pause = pauseAfter(memory.trouble, problem, context)
      const wasThere = await isThere(managed, await holding.next())
      await writeMemory(folder, { ...memory, trouble: { ...pause, reason, wasThere } })
      const again = new Date(pause.retryAtMs).toISOString()
      log.warn('a certificate cannot be had or installed', { certificate: section.name, reason, again })
    } catch (cause) {
      log.error('a certificate cannot be looked after', { certificate: section.name, reason, error: cause })
    }
    const names = [...section.values.domain, ...section.values['ip-address']].map(({ value }) => value)
    const common = { atMs: clock.nowMs(), names, remoteAddress, block }
    parts.tell({ kind: 'issuance.failed', ...common, code: problem.code, reason })
    return { outcome: 'failed', reason }
  }

  const runHooks = createHookRuns({ context, progress, findKept, certificates: parts.certificates })

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
      const made = next !== undefined && next.changes.length === 0 ? next : await holding.begin()
      return isSame(made) ? undefined : requestFor(managed, made)
    })
  }

  async function run(): Promise<void> {
    const working = new Set<Promise<void>>()
    while (!context.signal.aborted) {
      const due = parts.certificates().filter(({ block }) => (nextLookAtMs.get(block) ?? 0) <= clock.nowMs())
      for (const managed of due.slice(0, maxAtOnce - working.size)) {
        nextLookAtMs.set(managed.block, clock.nowMs() + lookEveryMs)
        const work = lookAt(managed)
          .then((look) => {
            if (look.outcome === 'waiting')
              nextLookAtMs.set(managed.block, Math.min(look.untilMs, clock.nowMs() + lookEveryMs))
            if (look.outcome === 'failed') nextLookAtMs.set(managed.block, clock.nowMs())
          })
          .finally(() => working.delete(work))
        working.add(work)
      }
      if (working.size === 0) await runHooks().catch((error: unknown) => log.error('hooks could not be run', { error }))
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
      const { why, damage } = await assess(managed, force)
      if (why !== undefined) return `a certificate is asked for, because ${why}`
      return damage === undefined ? undefined : `it is put in place again: ${damage}`
    },
    wake(block) {
      for (const managed of parts.certificates()) {
        if (block === undefined) unpaused.add(managed.block)
        if (block === undefined || block === managed.block) nextLookAtMs.delete(managed.block)
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
