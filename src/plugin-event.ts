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
  | (EventCommon & { readonly kind: 'request.rejected'; readonly reason: string })
  | (EventCommon & {
      readonly kind: 'issuance.failed'
      readonly block: string
      readonly code: string
      readonly reason: string
    })
