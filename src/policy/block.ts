import type { Identifier } from '../acme/identifier.ts'
import type { Credential } from '../plugin-api.ts'

/** An `[auth "name"]` block. *Who* (all of its credentials) and *what* (the names it covers) belong together. */
export type Block = {
  readonly name: string
  readonly credentials: readonly Credential[]
  covers(identifier: Identifier): boolean
  readonly maxNames: number
  /** Its callers may register sealed boxes. */
  readonly registersBoxes?: boolean
  readonly issuer: string
  readonly verification: string | undefined
  readonly storage: string
  readonly profile: string | undefined
  /** Nothing about its requests is written down for longer than they take. */
  readonly unrecorded?: true
}
