import type { Kept } from '../issuance/kept.ts'
import { isOlder } from './chain-proof.ts'
import type { Damage, HeldRequest, Holding } from './holding.ts'

/** How it stands with a managed certificate. */
export type Situation = {
  readonly next: HeldRequest | undefined
  readonly current: HeldRequest | undefined
  /** Of the current request. */
  readonly kept: Kept | undefined
  /** Why there is a certificate to get; undefined: there is none. */
  readonly why: string | undefined
  readonly damage: Damage | undefined
}

export type Assessment = {
  /** It is wanted now, whether or not it is due. */
  readonly force: boolean
  /** What is kept for a request, and still good. */
  findKept(held: HeldRequest): Promise<Kept | undefined>
}

export async function assessSituation(holding: Holding, { force, findKept }: Assessment): Promise<Situation> {
  const next = await holding.next()
  const current = await holding.current()
  if (current === undefined)
    return { next, current, kept: undefined, why: 'there is none yet', damage: await holding.findDamage() }
  const kept = await findKept(current)
  const isAnother = kept !== undefined && kept.chain.leaf.serial !== current.serial
  const isTooOld = isAnother && isOlder(kept.chain, current.notBeforeMs)
  const isNewer = isAnother && !isTooOld
  const damage = isNewer
    ? { reason: 'a newer certificate was issued for its key', keyIsLost: false }
    : await holding.findDamage()
  return { next, current, kept, damage, why: whyNext() }

  function whyNext(): string | undefined {
    const { changes = [] } = current ?? {}
    if (changes.length > 0) return `${changes.join(' and ')} changed`
    if (kept === undefined) return 'it was revoked, or is over'
    if (damage?.keyIsLost === true) return `its key is lost: ${damage.reason}`
    if (isTooOld && damage !== undefined) return `${damage.reason}, and only an older certificate is kept`
    if (force) return 'it was asked for'
    return next === undefined ? undefined : 'it is due'
  }
}
