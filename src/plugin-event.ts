/** Of a request that is not recorded (`metadata = no`) names are keyed hashes, and address and reason are empty. */
type EventCommon = { readonly atMs: number; readonly names: readonly string[]; readonly remoteAddress: string }

/** What notifiers hear of. */
export type IssuanceEvent =
  | (EventCommon & {
      readonly kind: 'certificate.issued'
      readonly block: string
      readonly serial: string
      readonly notAfterMs: number
    })
  | (EventCommon & {
      readonly kind: 'certificate.installed'
      readonly block: string
      readonly serial: string
      readonly notAfterMs: number
    })
  /** Issued and not recorded. */
  | (EventCommon & { readonly kind: 'certificate.forwarded'; readonly block: string })
  /** Where it ought to be served, something else is, more than once. `certificate.served`: not any more. */
  | (EventCommon & {
      readonly kind: 'certificate.not-served' | 'certificate.served'
      readonly block: string
      readonly serial: string
      readonly place: string
      /** What is seen there. */
      readonly reason: string
    })
  | (EventCommon & { readonly kind: 'request.rejected'; readonly reason: string })
  | (EventCommon & {
      readonly kind: 'issuance.failed'
      readonly block: string
      readonly code: string
      readonly reason: string
    })
