import { ProblemError } from '../acme/problem.ts'
import type { Progress } from '../plugin-api.ts'
import type { RenewalPlan } from './renewal-plan.ts'

/**
 * One need for a certificate: the same request to the same issuer under the same profile is the same need,
 * whoever asks, however often.
 */
export type Need = {
  readonly id: string
  readonly issuerKey: string
  readonly names: readonly string[]
  readonly block: string
  /** What was asked with, to go on with after a restart when nobody asks again. */
  readonly postedBytes: Uint8Array
  readonly remoteAddress: string
  /** It is the renewal of this certificate: met by any other. */
  readonly replacedSerial?: string
  /** When it is over, nothing of it stays. */
  readonly unrecorded?: true
}

/** A need that leaves no record, and whose host does not come back for what was begun, is given up after this. */
export const unclaimedMs = 2 * 3_600_000

/** One line of an order's story. */
export type OrderStep = { readonly atMs: number; readonly note: string }

/** What survives of an issuance in progress. */
export type OrderRecord = {
  readonly need: Need
  readonly progress: Progress | undefined
  readonly orderUrl: string | undefined
  readonly steps: readonly OrderStep[]
  readonly attempts: number
  readonly beganAtMs: number
}

export type SavedStep = {
  readonly progress: Progress
  readonly orderUrl: string | undefined
  readonly steps: readonly OrderStep[]
  /** Nothing in it is needed that could not be asked for again: a power failure may take it. */
  readonly recoverable: boolean
}

export type OrderOutcome = {
  readonly outcome: 'issued' | 'failed' | 'abandoned'
  /** Of the certificate. */
  readonly serial?: string
  readonly reason?: string
}

/**
 * Issuances in progress. What is saved as not `recoverable` has survived a power failure when the call resolves, all
 * else a crash of the process. A lease keeps two processes on one state from working
 * on one need; a holder that died is waited for until its lease ends.
 */
export interface OrderRecords {
  /** Takes the need, new or left behind. undefined: another holder is at it. */
  claim(need: Need, holder: string, nowMs: number, leaseUntilMs: number): Promise<OrderRecord | undefined>
  /** Saves a step and lengthens the lease. @throws LeaseLostError */
  save(needId: string, holder: string, step: SavedStep, nowMs: number, leaseUntilMs: number): Promise<void>
  /** A step takes its time. @throws LeaseLostError */
  lengthen(needId: string, holder: string, leaseUntilMs: number): Promise<void>
  /** The need is met, or cannot be met this way: only the story is kept; of an unrecorded one nothing. */
  finish(record: OrderRecord, holder: string, outcome: OrderOutcome, nowMs: number): Promise<void>
  /** Lets go and keeps the progress: the next claim goes on from there, a resuming server not before `resumeAtMs`. */
  release(needId: string, holder: string, steps: readonly OrderStep[], nowMs: number, resumeAtMs: number): Promise<void>
  /** Nobody is working on it: not to be looked at before this, unless somebody asks. */
  postpone(needId: string, nowMs: number, resumeAtMs: number): Promise<void>
  /** Is this the order of another need? */
  isOrderInUse(orderUrl: string, needId: string): Promise<boolean>
  /** What nobody is working on and can be gone on with, the oldest first; unrecorded needs once they are unclaimed. */
  unattended(nowMs: number, max: number): Promise<Need[]>
  /** Is this one of them? */
  isUnattended(needId: string, nowMs: number): Promise<boolean>
}

/** A state that cannot be written now may be written later. */
export function unwritableState(cause: unknown): ProblemError {
  return new ProblemError('serverInternal', 'the state cannot be written here; ask again later', {
    retry: { when: 'backoff' },
    cause,
  })
}

/** Another holder has the need now: this one must not go on with it. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
}

/** A certificate that was issued and can be renewed: what is known of it, who uses it, what will become of it. */
export type RegisterEntry = {
  /** Of the need, at the issuer that the block names. */
  readonly id: string
  readonly block: string
  /** The `[issuer]` and `[storage]` that the block names. */
  readonly issuer: string
  readonly storage: string
  readonly profile: string | undefined
  readonly names: readonly string[]
  readonly postedBytes: Uint8Array
  readonly remoteAddress: string
  /** The key of the issuer that it came from: another than the block's, where that was down. */
  readonly issuedBy: string
  readonly serial: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly issuedAtMs: number
  /** When a host last asked for it, give or take some hours. */
  readonly askedAtMs: number
  /** A newer request of the same block for the same names came then. */
  readonly supersededAtMs?: number
  readonly revokedAtMs?: number
  /** When a host last asked when to replace it, give or take some hours. */
  readonly watchedAtMs?: number
  readonly plan: RenewalPlan
  readonly lastError?: string
}

/** Every certificate that we can renew. */
export interface CertificateRegister {
  /** A certificate was issued: replaces what was known under this id. Newer requests supersede older ones. */
  record(entry: RegisterEntry, supersedes: boolean): Promise<void>
  /** A host asked for it. false: it is not in the register. */
  noteAsked(id: string, nowMs: number): Promise<boolean>
  find(id: string): Promise<RegisterEntry | undefined>
  savePlan(id: string, plan: RenewalPlan | undefined, wakeAtMs: number | undefined, lastError?: string): Promise<void>
  /** Takes what is to be looked at now, the nearest end first; others do not get the same before `untilMs`. */
  takeDue(nowMs: number, untilMs: number, max: number): Promise<RegisterEntry[]>
}

/** What hosts ask of the register, who know a certificate and not its request. */
export interface WatchedCertificates {
  /** @param serial hexadecimal, upper case, as in the entries */
  findBySerial(serial: string): Promise<RegisterEntry | undefined>
  /** A host asked when to replace it. */
  noteWatched(id: string, nowMs: number): Promise<void>
}

/** An issuer that cannot be reached, or does not work. */
export type Outage = {
  readonly issuerKey: string
  readonly sinceMs: number
  readonly failures: number
  /** It is not tried before this. */
  readonly untilMs: number
  readonly reason: string
}

export interface Outages {
  find(issuerKey: string): Promise<Outage | undefined>
  save(outage: Outage): Promise<void>
  clear(issuerKey: string): Promise<void>
}

/** Keys that may not be certified any more (RFC 5280 keyCompromise). */
export interface BlockedKeys {
  has(publicKeyHash: string): Promise<boolean>
}

/** Is somebody using it, so that it must be renewed ahead of need? A request that nobody makes any more is not. */
export function isInUse(entry: RegisterEntry): boolean {
  if (entry.revokedAtMs !== undefined) return false
  const superseded = entry.supersededAtMs !== undefined && entry.askedAtMs <= entry.supersededAtMs
  return entry.askedAtMs >= entry.issuedAtMs && !superseded
}
