import type { KeyObject } from 'node:crypto'
import type { Identifier } from './acme/identifier.ts'
import type { PluginContext } from './plugin-context.ts'

/** A sealed key and its certificate as one PEM text, and what the next question says to get it only if it is another. */
export type FetchedBox = { readonly pem: string; readonly etag: string | undefined }

/** A box that the issuer is to make, and to keep up from then on. */
export type BoxOrder = {
  readonly name: string
  readonly identifiers: readonly Identifier[]
  readonly keyType: string
  readonly recipientPem: string
}

/** Keys that the issuer makes, and seals to this machine together with their certificates. */
export interface BoxSource {
  /** undefined: it still is the one with this ETag. @throws ProblemError */
  pickUp(name: string, etag: string | undefined, context: PluginContext): Promise<FetchedBox | undefined>
  /** What boxes are sealed to, unless somebody names another key. @throws ProblemError */
  recipientKey(): Promise<KeyObject>
  /** The same again with other names changes it. @throws ProblemError */
  register(order: BoxOrder, context: PluginContext): Promise<void>
}
