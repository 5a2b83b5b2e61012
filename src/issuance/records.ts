import type { Progress } from '../plugin-api.ts'

/**
 * One need for a certificate: the same request to the same issuer under the same profile is the same need,
 * whoever asks, however often.
 */
export type Need = {
  readonly id: string
  readonly issuerKey: string
  readonly names: readonly string[]
  readonly block: string
}

/** What survives of an issuance in progress. */
export type OrderRecord = { readonly need: Need; readonly progress: Progress | undefined; readonly attempts: number }

/**
 * Issuances in progress. What is saved as not `recoverable` has survived a power failure when the call resolves, all
 * else a crash of the process. A lease keeps two processes on one state from working
 * on one need; a holder that died is waited for until its lease ends.
 */
export interface OrderRecords {
  /** Takes the need, new or left behind. undefined: another holder is at it. */
  claim(need: Need, holder: string, nowMs: number, leaseUntilMs: number): Promise<OrderRecord | undefined>
  /** Saves a step and lengthens the lease. @throws LeaseLostError */
  save(
    needId: string,
    holder: string,
    progress: Progress,
    nowMs: number,
    leaseUntilMs: number,
    recoverable?: boolean,
  ): Promise<void>
  /** The need is met, or cannot be met this way: nothing of the attempt is of use any more. */
  finish(needId: string, holder: string): Promise<void>
  /** Lets go and keeps the progress: the next claim goes on from there. */
  release(needId: string, holder: string, nowMs: number): Promise<void>
}

/** Another holder has the need now: this one must not go on with it. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
}
