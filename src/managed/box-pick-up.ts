import type { KeyObject } from 'node:crypto'
import { asProblemError, ProblemError } from '../acme/problem.ts'
import { nextOutage } from '../issuance/outage.ts'
import type { Outage } from '../issuance/records.ts'
import { planRenewal, randomShareOf } from '../issuance/renewal-plan.ts'
import type { BoxSource, FetchedBox, PluginContext } from '../plugin-api.ts'
import { type Chain, ChainError, parseChain } from '../x509/chain.ts'
import { parsePrivateKey } from '../x509/private-key.ts'
import { openSealed } from '../x509/sealed-key-opener.ts'
import type { FileHolding, OpenedBox } from './file-holding.ts'
import type { Look, Step } from './managed.ts'
import { forgetTrouble, readMemory, type Trouble } from './memory.ts'

export type BoxPickUpParts = {
  readonly name: string
  readonly source: BoxSource
  readonly holding: FileHolding
  /** Where what we remember of it is. */
  readonly folder: string
  readonly intervalMs: number
  readonly context: PluginContext
  /** What the box is sealed to. @throws Error saying what to do */
  boxKey(): Promise<KeyObject>
}

/** A certificate whose key is made elsewhere: it comes in a sealed box, and is installed as others are. */
export interface BoxPickUp {
  /** @throws Error saying why it cannot be had or installed */
  look(wanted: BoxLook): Promise<Look | InstalledBox>
  /** Says what would be done, and why. undefined: nothing */
  plan(force: boolean): Promise<string | undefined>
  findInstalled(): Promise<Chain | undefined>
  /** When there is something to do again, as long as nothing happens. */
  nextLookAtMs(): number
}

export type BoxLook = {
  readonly force: boolean
  /** It failed before. */
  readonly waiting: Trouble | undefined
  /** Told what is being done. */
  readonly step: Step
  progress(text: string): void
}

export type InstalledBox = {
  readonly outcome: 'installed' | 'repaired'
  readonly chain: Chain
  readonly why: string
}

const shortestPauseMs = 60_000
/** Whoever makes it is at it, or should be. */
const duePauseMs = 10 * 60_000
/** A certificate that lives for hours is looked after in minutes. */
const lifetimeShare = 1 / 50
const lastLine = '-----END CMS-----'

export function createBoxPickUp(parts: BoxPickUpParts): BoxPickUp {
  const { holding, folder, context, source } = parts
  const { clock } = context
  /** By the clock that never jumps. */
  let askAtMs = Number.NEGATIVE_INFINITY
  let outage: Outage | undefined

  async function look({ force, waiting, step, progress }: BoxLook): Promise<Look | InstalledBox> {
    const mended = await mend(waiting, step, progress)
    const wanted = await whyAsk(force)
    if (wanted === undefined) return mended ?? { outcome: 'in order' }
    if (waiting !== undefined)
      return mended ?? { outcome: 'waiting', untilMs: waiting.retryAtMs, reason: waiting.reason }
    progress(`asking for the box ${parts.name}`)
    const box = await ask(wanted.etag)
    if (box === undefined) {
      await forgetTrouble(folder)
      return mended ?? { outcome: 'in order' }
    }
    return await install(await open(box), wanted.why, step, progress)
  }

  /** What was being installed when we died is; what somebody took away or changed is put back. */
  async function mend(
    waiting: Trouble | undefined,
    step: Step,
    progress: BoxLook['progress'],
  ): Promise<InstalledBox | undefined> {
    const { placing, next, current } = await readMemory(folder)
    const damage = await holding.findDamage()
    const candidates = [
      ...(placing === true ? [{ box: next?.box, why: 'its installation was cut off' }] : []),
      ...(damage === undefined || waiting?.at === 'installing' ? [] : [{ box: current?.box, why: damage.reason }]),
    ]
    for (const { box, why } of candidates) {
      if (box === undefined) continue
      try {
        return { ...(await install(await open(box), why, step, progress)), outcome: 'repaired' }
      } catch (error) {
        // It is over, or no longer what is wanted: another one is.
        if (!(error instanceof ChainError)) throw error
        step.at = 'ordering'
      }
    }
    return undefined
  }

  /** undefined: it is not time to ask. */
  async function whyAsk(force: boolean): Promise<{ readonly why: string; readonly etag?: string } | undefined> {
    const held = await holding.current()
    const { current } = await readMemory(folder)
    if (held === undefined || current?.box === undefined) return { why: 'there is none yet' }
    if (held.changes.length > 0) return { why: `${held.changes.join(' and ')} changed` }
    if (force) return { why: 'it was asked for' }
    if (clock.monotonicMs() < askAtMs) return undefined
    // Where files are damaged, and cannot be mended by what we have, it is wanted once more.
    const isWhole = (await holding.findDamage()) === undefined
    const { etag } = current.box
    return { why: 'there is another box', ...(etag === undefined || !isWhole ? {} : { etag }) }
  }

  /** undefined: it is as it was. */
  async function ask(etag: string | undefined): Promise<FetchedBox | undefined> {
    try {
      const box = await source.pickUp(parts.name, etag, context)
      outage = undefined
      const { current } = await readMemory(folder)
      const isSame = box === undefined || (etag !== undefined && box.pem === current?.box?.pem)
      if (isSame) rest(current?.box)
      return isSame ? undefined : box
    } catch (error) {
      const problem = asProblemError(error)
      if (problem.code !== 'serverInternal' || context.signal.aborted) throw error
      // Away: that is no failure of this certificate's.
      outage = nextOutage(outage, parts.name, problem, clock.nowMs(), randomShareOf(context))
      const atMs = Math.max(outage.untilMs, clock.nowMs() + shortestPauseMs / 2)
      throw new ProblemError(problem.code, problem.message, { retry: { when: 'notBefore', atMs }, cause: error })
    }
  }

  function rest(box: FetchedBox | undefined): void {
    askAtMs = clock.monotonicMs() + (box === undefined ? shortestPauseMs : pauseMs(split(box).chain))
  }

  function pauseMs({ leaf }: Chain): number {
    const shareMs = (leaf.notAfterMs - leaf.notBeforeMs) * lifetimeShare
    const isDue = clock.nowMs() >= planRenewal(leaf, undefined, clock.nowMs(), 0).ownAtMs
    const longestMs = Math.min(parts.intervalMs, shareMs, isDue ? duePauseMs : Number.POSITIVE_INFINITY)
    // By chance a little earlier: hosts that were started together do not stay together.
    return Math.max(longestMs, shortestPauseMs) * (0.9 + randomShareOf(context) / 10)
  }

  function split({ pem }: FetchedBox): { readonly sealedPem: string; readonly chain: Chain } {
    const at = pem.indexOf(lastLine)
    if (at < 0) throw new ChainError(`the box ${parts.name} has no sealed key in it`)
    const end = at + lastLine.length
    return { sealedPem: pem.slice(0, end), chain: parseChain(pem.slice(end)) }
  }

  async function open(box: FetchedBox): Promise<OpenedBox> {
    const { sealedPem, chain } = split(box)
    const plain = openSealed(sealedPem, await parts.boxKey())
    try {
      return { box, chain, key: parsePrivateKey(plain) }
    } finally {
      plain.fill(0)
    }
  }

  async function install(
    opened: OpenedBox,
    why: string,
    step: Step,
    progress: BoxLook['progress'],
  ): Promise<InstalledBox> {
    await holding.adopt(opened)
    step.at = 'installing'
    progress(`installing it, because ${why}`)
    try {
      await holding.install(opened.chain, 'next')
    } catch (error) {
      // Its key is safe in the box; what is half in place is mended with it.
      if ((await readMemory(folder)).placing !== true) await holding.discard()
      throw error
    }
    step.at = 'ordering'
    rest(opened.box)
    return { outcome: 'installed', chain: opened.chain, why }
  }

  async function findInstalled(): Promise<Chain | undefined> {
    const { current } = await readMemory(folder)
    return current?.box === undefined ? undefined : split(current.box).chain
  }

  return {
    look,
    findInstalled,
    nextLookAtMs: () => clock.nowMs() + Math.max(askAtMs - clock.monotonicMs(), 0),
    async plan(force) {
      const damage = await holding.findDamage()
      if (damage !== undefined) return `it is put in place again: ${damage.reason}`
      const wanted = await whyAsk(force)
      const box = wanted === undefined ? undefined : await ask(wanted.etag)
      return box === undefined || wanted === undefined
        ? undefined
        : `the box ${parts.name} is installed, because ${wanted.why}`
    },
  }
}
