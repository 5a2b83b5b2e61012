import type { RenewalPlan } from '../../src/issuance/renewal-plan.ts'
import type { CaCertificate } from './ca.ts'

export type FleetGroup = {
  readonly name: string
  readonly count: number
  readonly lifetimeMs: number
  readonly namesPerDomain: number
  /** Indices of `cas`: the issuer, then what stands in for it. */
  readonly cas: readonly number[]
}

/** One certificate of the fleet. */
export type Member = {
  readonly index: number
  readonly group: FleetGroup
  readonly names: number
  readonly domain: number
  /** Undefined until the first is issued. */
  certificate: CaCertificate | undefined
  /** From which of the CAs. */
  ca: number
  plan: RenewalPlan
}

const noPlan: RenewalPlan = { ownAtMs: 0, backstopAtMs: 0, checkAtMs: 0, checkFailures: 0, failures: 0, retryAtMs: 0 }

/** Names of one group are spread over registered domains of their own; in the order of a shuffle, not by group. */
export function makeMembers(groups: readonly FleetGroup[]): Member[] {
  const drafts = groups.flatMap((group, number) =>
    Array.from({ length: group.count }, (_, place) => ({
      group,
      domain: number * 1_000_000 + Math.floor(place / group.namesPerDomain),
      order: ((place + 0.5) / group.count + number / 1e6) % 1,
    })),
  )
  drafts.sort((one, other) => one.order - other.order)
  return drafts.map(({ group, domain }, index) => ({
    index,
    group,
    names: index,
    domain,
    certificate: undefined,
    ca: -1,
    plan: noPlan,
  }))
}
