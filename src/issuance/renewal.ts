const dayMs = 24 * 3_600_000
const acmemsDefaultMs = 14 * dayMs
const shortLivedMs = 10 * dayMs

export type Validity = { readonly notBeforeMs: number; readonly notAfterMs: number }

/**
 * From when on is a kept certificate to be replaced? When a third of its lifetime is left (half of a short-lived
 * one), but not before acmems' 14 days: an order that acmems would not have made is not made either.
 * @param renewWithinMs the operator's word; one that reaches beyond the whole lifetime is none, because a new order
 *   for every request is not what anybody can have meant
 */
export function renewalDueAtMs({ notBeforeMs, notAfterMs }: Validity, renewWithinMs: number | undefined): number {
  const lifetimeMs = notAfterMs - notBeforeMs
  if (renewWithinMs !== undefined && renewWithinMs < lifetimeMs) return notAfterMs - renewWithinMs
  const share = lifetimeMs < shortLivedMs ? lifetimeMs / 2 : lifetimeMs / 3
  return notAfterMs - Math.min(share, acmemsDefaultMs)
}
