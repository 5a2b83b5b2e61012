import type { CertificateSection } from '../config/config.ts'
import type { Issuance } from '../issuance/issue.ts'
import type { IssueRequest } from '../issuance/kept.ts'
import type { RegisterEntry } from '../issuance/records.ts'
import type { StoredRequest } from '../issuance/renewals.ts'
import type { IssuanceEvent, PluginContext } from '../plugin-api.ts'
import type { BoxPickUp } from './box-pick-up.ts'
import type { Holding } from './holding.ts'
import type { Trouble } from './memory.ts'

/** A `[certificate]` that is kept up. */
export type Managed = {
  readonly section: CertificateSection
  /** Of its implicit auth block. */
  readonly block: string
  readonly holding: Holding
  /** What we remember of it is here. */
  readonly folder: string
  /** Where the key is made elsewhere, and comes with its certificate in a sealed box. */
  readonly pickUp?: BoxPickUp
}

/** What came of looking at it. */
export type Look =
  | { readonly outcome: 'in order' }
  | { readonly outcome: 'installed' | 'repaired'; readonly why: string; readonly serial: string }
  /** It failed before, and is tried again then. */
  | { readonly outcome: 'waiting'; readonly untilMs: number; readonly reason: string }
  | { readonly outcome: 'failed'; readonly reason: string; readonly retryAtMs?: number }
  /** Another process is at it. */
  | { readonly outcome: 'busy' }

/** What was being done when it failed. */
export type Step = { at: Trouble['at'] }

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

export interface Upkeep {
  /** Does what is to be done for it now. Never rejects. */
  lookAt(managed: Managed, wanted?: { readonly force?: boolean }): Promise<Look>
  /** Says what would be done, and why. undefined: nothing */
  plan(managed: Managed, wanted?: { readonly force?: boolean }): Promise<string | undefined>
  /** See runDueHooks. */
  runHooks(wanted?: { readonly now?: boolean }): Promise<string[]>
  /**
   * The request that takes the place of one in the register which is due: a new key, unless it is reused.
   * `replaced`: it is no certificate of today's any more; undefined: it is none of ours.
   */
  successorOf(entry: RegisterEntry): Promise<IssueRequest | 'replaced' | undefined>
  /** There may be something to do for the certificate of this block; without one, for all. `afresh`: whatever failed before. */
  wake(block?: string, wanted?: { readonly afresh?: boolean }): void
  /** Again and again, until the context's signal. Never rejects. */
  run(): Promise<void>
}
