import type { CertificateSection } from '../config/config.ts'
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
